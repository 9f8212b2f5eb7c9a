"""`make bench`: figures side by side with a raw client on the same cluster, in one run.

Each part is a module with `measure` and `rows`; everything goes to bench/results.json. Exit code 1 when a bar is missed. The
cluster is the one that KUBECONFIG names; MILLRACE_IMAGES_FILE says which images it holds.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import burst
import clients
import cloud
import idle
import report
import serving
import steps
import throughput
from world import Object, World, connected


class Chosen(argparse.Namespace):
    """The command line."""

    only: str
    objects: int
    idle: int
    rounds: int
    steps: int
    megabytes: int


Measure = Callable[[World, Chosen], Awaitable[Object]]
PARTS: dict[str, tuple[Measure, Callable[[Object], list[report.Row]]]] = {
    "a": (lambda world, o: burst.measure(world, o.objects, o.rounds), burst.rows),
    "bc": (lambda world, o: idle.measure(world, o.idle, min(200, o.idle)), idle.rows),
    "d": (lambda world, o: steps.measure(world, o.steps, o.rounds), steps.rows),
    "e": (lambda world, o: throughput.measure(world, o.megabytes, o.rounds), throughput.rows),
    "fg": (lambda world, o: serving.measure(world, o.rounds), serving.rows),
    "aws": (lambda world, o: cloud.measure(world, o.objects), cloud.rows),
    "clients": (lambda world, o: clients.measure(world, o.objects, o.rounds), clients.rows),
}


def parsed(arguments: list[str]) -> Chosen:
    """The command line; an unknown part is refused."""
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to measure, of {','.join(PARTS)}")
    parser.add_argument("--objects", type=int, default=1000, help="TrainingJobs posted at once (a, aws), Jobs posted (clients)")
    parser.add_argument("--idle", type=int, default=10_000, help="idle TrainingJobs (b, c)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of (a), (d), (e), (f) and clients")
    parser.add_argument("--steps", type=int, default=400, help="training steps of a run of (d)")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the csv of (e)")
    chosen = parser.parse_args(arguments, namespace=Chosen())
    if unknown := set(chosen.only.split(",")) - PARTS.keys():
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    return chosen


async def measured(chosen: Chosen) -> list[report.Row]:
    """Run the parts that were chosen; each one's figures are written as soon as they are there."""
    begun = time.monotonic()
    rows: list[report.Row] = []
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with connected(lambda text: print(f"[{time.monotonic() - begun:6.1f} s] {text}", flush=True)) as world:
        facts = report.machine((await world.client.raw("GET", "/version"))["gitVersion"])
        for name in chosen.only.split(","):
            measure, tabulate = PARTS[name]
            found = await measure(world, chosen)
            report.write(report.machine(facts["kubernetes"]) | {"load1": facts["load1"]}, {name: found})
            rows += tabulate(found)
            for row in tabulate(found):
                world.progress(f"{row[0]}: {row[1]}  {row[2]}{'' if row[3] is None else '  met' if row[3] else '  MISSED'}")
    report.show(facts, rows)
    return rows


def main() -> int:
    """0 when every bar was met."""
    rows = asyncio.run(measured(parsed(sys.argv[1:])))
    return 1 if any(met is False for *_, met in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
