"""The operator as processes of their own that die by SIGKILL at a call of the API, as a seed draws it.

`python chaos_operator.py one` runs one operator that is left in peace. `python chaos_operator.py nursery` reads orders from
standard input, one a line, and forks an operator for each, so that only the first pays for the imports: `calm`, or a seed that
draws after how many calls (reads and writes alike) it ends and on which side of the sending. Settings come from MILLRACE_*
variables. What happens is told in JSON lines on standard output; logs go to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from dataclasses import dataclass
from typing import Any

from millrace.engine.registry import controllers
from millrace.engine.runtime import Runtime
from millrace.engine.settings import from_environment
from millrace.kube import credentials
from millrace.kube.client import Client
from millrace.kube.resources import of_kind
from millrace.telemetry import logs

FIRST_LISTING = len({r for c in controllers() for r in (of_kind(c.kind), *c.children)})
"""Calls with which an operator begins: one for each resource that it watches."""
MOST_CALLS = FIRST_LISTING + 21


@dataclass(frozen=True)
class Fate:
    """The call at which the process ends (0: never) and the side of the sending."""

    call: int
    side: str


def drawn(seed: str) -> Fate:
    """One in ten dies while it lists what is there; the others later, in the middle of their work."""
    rng = random.Random(seed)
    listing = rng.random() < 0.1
    call = rng.randint(1, FIRST_LISTING) if listing else rng.randint(FIRST_LISTING + 1, MOST_CALLS)
    return Fate(call, rng.choice(("before", "after")))


class MortalClient(Client):
    """Counts its calls, and ends the process at one of them. With `trace` it tells of every call."""

    fate = Fate(0, "")
    trace = False
    calls = 0

    async def _call(self, verb: str, resource: Any, *rest: Any, **named: Any) -> Any:
        self.calls += 1
        mine, number = self.calls == self.fate.call, self.calls
        if self.trace:
            say(call=[verb, resource.plural])
        if mine and self.fate.side == "before":
            die(verb, resource.plural, "before", number)
        try:
            return await super()._call(verb, resource, *rest, **named)
        finally:
            if mine:
                die(verb, resource.plural, "after", number)


def say(**what: Any) -> None:
    """One line in one write, for nothing may be left in a buffer by one that dies."""
    os.write(1, (json.dumps(what) + "\n").encode())


def die(verb: str, plural: str, side: str, calls: int) -> None:
    """At once, without any `finally`."""
    say(boundary={"verb": verb, "resource": plural, "side": side, "calls": calls})
    os.kill(os.getpid(), signal.SIGKILL)


async def live(fate: Fate, *, trace: bool = False) -> None:
    """One operator until SIGTERM, or until its fate."""
    found = credentials.load()
    client = MortalClient(found)
    client.fate, client.trace = fate, trace
    runtime = Runtime(controllers(), from_environment(), found, client=client)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, runtime.stop)
    say(pid=os.getpid())
    await runtime.run()


def nursery() -> None:
    """Fork one operator after another, as ordered."""
    for line in sys.stdin:
        order = line.strip()
        child = os.fork()
        if child == 0:
            asyncio.run(live(Fate(0, "") if order == "calm" else drawn(order)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(ended=os.waitstatus_to_exitcode(status))


def main() -> None:
    """Choose by the first argument."""
    sys.stdout = sys.stderr  # standard output is for what happens; logs are configured for sys.stdout
    logs.configure("INFO")
    controllers()
    if sys.argv[1:] == ["nursery"]:
        nursery()
    else:
        asyncio.run(live(Fate(0, ""), trace=True))


if __name__ == "__main__":
    main()
