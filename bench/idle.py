"""(b) and (c): what ten thousand idle TrainingJobs cost a running operator and one that starts.

The objects are suspended and settled. (b) is memory, CPU and writes over a quiet minute, and how soon a change of a spec is acted
on (status.observedGeneration follows). (c) is the time from the start of the process until it is ready and has acted on a change
that was made right after the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from world import TRAINING_JOBS, Object, Operator, Raw, World, each, namespace, operator, training_job, until

MEMORY_BAR, WRITES_BAR, CPU_BAR, ACTION_BAR, START_BAR = 400.0, 0, 5.0, 1.0, 30.0
QUIET_SECONDS = 60.0
_READS = {"get", "list"}


async def measure(world: World, objects: int, changes: int) -> Object:
    """Both parts, on one population."""
    async with namespace(world) as ns:
        async with operator(ns) as running:
            await until(running.ready, "the operator is ready", timeout=60)
            settled = await _populate(world, ns, running, objects)
            world.progress(f"(b) {objects} objects settled after {settled:.0f} s")
            idle = await _quiet(world, running)
            actions = await _changes(world, ns, objects, changes)
            memory = running.memory_mib("VmHWM")
        world.progress("(c) the operator is started anew")
        start = await _start(world, ns)
    return {"objects": objects, "settledSeconds": settled, **idle, "memoryMiB": memory, **actions, "start": start} | _judged(
        idle, actions, memory, start
    )


def _judged(idle: Object, actions: Object, memory: float, start: Object) -> Object:
    met = {
        "memory": max(memory, start["peakMemoryMiB"]) < MEMORY_BAR,
        "writes": idle["writes"] <= WRITES_BAR,
        "cpu": idle["cpuPercent"] < CPU_BAR,
        "action": actions["actionP99"] < ACTION_BAR,
        "start": start["seconds"] < START_BAR,
    }
    return {"met": met}


async def _populate(world: World, ns: str, running: Operator, objects: int) -> float:
    """Post suspended TrainingJobs; gives the seconds until the status of all is settled."""
    path, begun = TRAINING_JOBS.path(ns), time.monotonic()
    sample = json.dumps(training_job(ns, "sample-object", suspend=True), separators=(",", ":"))
    names = (f"idle-{n:05d}" for n in range(objects))
    await each(world.raw.send("POST", path, sample.replace("sample-object", name).encode()) for name in names)
    world.progress(f"(b) {objects} objects posted")
    # The operator's own count first: listing ten thousand objects again and again would be the load that is measured.
    await until(lambda: _wrote(running, objects), "as many status writes", timeout=1200, every=1)
    await until(lambda: _settled(world, ns, objects), "status of all", timeout=300, every=2)
    return time.monotonic() - begun


async def _wrote(running: Operator, objects: int) -> bool:
    return (await running.requests()).get(("patch_status", "trainingjobs"), 0) >= objects


async def _settled(world: World, ns: str, objects: int) -> bool:
    """Page by page, so that neither side holds all of them at once."""
    told = 0
    async for found in world.client.list_objects(TRAINING_JOBS, ns):
        told += bool((found.get("status") or {}).get("conditions"))
    return told >= objects


async def _quiet(world: World, running: Operator) -> Object:
    """A minute in which nothing happens. The Lease's renewals are no writes about objects."""
    await asyncio.sleep(10)
    before, cpu, begun = await running.requests(), running.cpu_seconds(), time.monotonic()
    await asyncio.sleep(QUIET_SECONDS)
    seconds = time.monotonic() - begun
    used, after = running.cpu_seconds() - cpu, await running.requests()
    made = {key: int(n - before.get(key, 0)) for key, n in after.items() if n > before.get(key, 0)}
    writes = sum(n for (verb, plural), n in made.items() if verb not in _READS and plural != "leases")
    world.progress(f"(b) quiet minute: {writes} writes, {used:.2f} s of CPU, {running.memory_mib():.0f} MiB")
    calls = {f"{verb} {plural}": n for (verb, plural), n in made.items()}
    return {"writes": writes, "cpuPercent": 100 * used / seconds, "quietCalls": calls}


class Follower:
    """A watch of our own that tells when an object's status has followed its spec."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, float]] = {}
        self.changed = asyncio.Event()

    async def follow(self, raw: Raw, ns: str, version: str) -> None:
        """Read the watch until cancelled."""
        path = f"{TRAINING_JOBS.path(ns)}?watch=1&resourceVersion={version}"
        async for line in raw.lines(path):
            found = json.loads(line)["object"]
            self.seen[found["metadata"]["name"]] = (
                int((found.get("status") or {}).get("observedGeneration") or 0),
                time.monotonic(),
            )
            self.changed.set()

    async def reached(self, name: str, generation: int, timeout: float) -> float:
        """When the status of an object told of a generation."""
        deadline = time.monotonic() + timeout
        while True:
            observed, at = self.seen.get(name, (-1, 0.0))
            if observed >= generation:
                return at
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), max(0.01, deadline - time.monotonic()))


@contextlib.asynccontextmanager
async def _following(world: World, ns: str) -> AsyncIterator[Follower]:
    page = json.loads(await world.raw.send("GET", f"{TRAINING_JOBS.path(ns)}?limit=1"))
    follower = Follower()
    task = asyncio.create_task(follower.follow(world.raw, ns, page["metadata"]["resourceVersion"]))
    await asyncio.sleep(0.5)
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _changes(world: World, ns: str, objects: int, changes: int) -> Object:
    """Change specs, ten a second, all over the population; seconds from the sending until the status followed."""
    async with _following(world, ns) as follower:
        tasks: list[asyncio.Task[tuple[float, float]]] = []
        for n in range(changes):
            name = f"idle-{n * objects // changes:05d}"
            tasks.append(asyncio.create_task(_change(world, ns, name, follower, 60)))
            await asyncio.sleep(0.1)
        taken = await asyncio.gather(*tasks)
    acted, answered = sorted(a for a, _ in taken), sorted(b for _, b in taken)
    found = {"actionMedian": acted[len(acted) // 2], "actionP99": _p99(acted), "actionMost": acted[-1]}
    return {"changes": changes, **found, "patchMedian": answered[len(answered) // 2], "patchP99": _p99(answered)}


def _p99(ordered: list[float]) -> float:
    return ordered[-(-99 * len(ordered) // 100) - 1]


async def _change(world: World, ns: str, name: str, follower: Follower, timeout: float) -> tuple[float, float]:
    """Seconds until the status followed, and until the API server had answered the change itself."""
    body = json.dumps({"spec": {"ttlSecondsAfterFinished": 100_000 + time.monotonic_ns() % 100_000}}).encode()
    begun = time.monotonic()
    answer: Any = json.loads(
        await world.raw.send("PATCH", f"{TRAINING_JOBS.path(ns)}/{name}", body, "application/merge-patch+json")
    )
    answered = time.monotonic() - begun
    return await follower.reached(name, answer["metadata"]["generation"], timeout) - begun, answered


async def _start(world: World, ns: str) -> Object:
    """A new process: ready, and a change made right after its start acted on."""
    async with _following(world, ns) as follower, operator(ns) as running:
        change = asyncio.create_task(_change(world, ns, "idle-00007", follower, 300))
        await until(running.ready, "the operator is ready", timeout=300)
        ready = time.monotonic() - running.started
        await change
        acted = time.monotonic() - running.started
        # The first passes over all objects are still under way; what they cost is told too.
        await asyncio.sleep(30)
        cpu, memory = running.cpu_seconds(), running.memory_mib("VmHWM")
    return {
        "seconds": max(ready, acted),
        "readySeconds": ready,
        "actedSeconds": acted,
        "cpuSeconds": cpu,
        "peakMemoryMiB": memory,
    }


def rows(found: Object) -> list[tuple[str, str, str, bool | None]]:
    """Table rows: what, figure, bar, met."""
    n, met, start = found["objects"], found["met"], found["start"]
    action = f"{found['actionMedian']:.3f} s median, {found['actionP99']:.3f} s p99"
    alone = f"{found['patchMedian']:.3f} s median, {found['patchP99']:.3f} s p99"
    began = f"{start['seconds']:.1f} s (peak {start['peakMemoryMiB']:.0f} MiB)"
    return [
        (
            f"(b) {n} idle objects: operator's peak memory",
            f"{found['memoryMiB']:.0f} MiB",
            f"< {MEMORY_BAR:g} MiB",
            met["memory"],
        ),
        ("(b) writes in a quiet minute", str(found["writes"]), f"{WRITES_BAR}", met["writes"]),
        ("(b) CPU in a quiet minute", f"{found['cpuPercent']:.1f} % of a core", f"< {CPU_BAR:g} %", met["cpu"]),
        (f"(b) spec change to action, {found['changes']} changes", action, f"p99 < {ACTION_BAR:g} s", met["action"]),
        ("(b) of which the API server's answer to the change itself", alone, "", None),
        (f"(c) start with {n} objects until a change is acted on", began, f"< {START_BAR:g} s", met["start"]),
    ]
