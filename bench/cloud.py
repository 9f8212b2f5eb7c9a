"""(aws) Training jobs on SageMaker, of a local AWS in a process of its own, by the operator in another.

(i) From a job's change of state to the status that tells of it, by events: all jobs go through their states at about the same time.
(ii) Without events, with many jobs that run: what looking after them costs, and how soon a change is noticed that comes right after a
listing, when listings are furthest apart. (iii) Many objects at once before a quota of CreateTrainingJob: each job is made, once,
and the quota does not lie idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from local_aws import MACHINE, ROLE, Aws, local_aws
from millrace.api.v1alpha1.cloudaccount import KIND as CLOUD_ACCOUNT
from millrace.kube.resources import of_kind
from world import TRAINING_JOBS, Object, Operator, Raw, World, each, namespace, operator, until

CHANGING, RUNNING = 100, 500
LATENCY_BAR, NOTICE_BAR, CALLS_BAR, SHARE_BAR = 2.0, 60.0, 1.0, 0.95
PER_SECOND = 10.0
QUIET_SECONDS = 90.0
"""In which listings come to be as far apart as they get."""
STOPPED = 10
PHASES = ("Downloading", "Training", "Uploading", "Completed")
LONG = 36_000.0
ACCOUNTS = of_kind(CLOUD_ACCOUNT)
_LOOKS = ("sagemaker.DescribeTrainingJob.", "sagemaker.ListTrainingJobs.")


async def measure(world: World, objects: int) -> Object:
    """All three, each on an AWS of its own."""
    events = await _with_events(world)
    world.progress(f"(aws) {CHANGING} jobs by events: p99 {events['p99']:.2f} s")
    listing = await _without_events(world)
    world.progress(f"(aws) without events: {listing['callsPerSecond']:.2f} calls/s, noticed in {listing['noticedMost']:.1f} s")
    throttled = await _throttled(world, objects)
    met = {
        "latency": events["p99"] < LATENCY_BAR,
        "notice": listing["noticedMost"] < NOTICE_BAR,
        "calls": listing["callsPerSecond"] < CALLS_BAR,
        "once": throttled["made"] == objects and not throttled["twice"] and not throttled["failed"],
        "share": throttled["share"] > SHARE_BAR,
    }
    return {"objects": objects, "events": events, "listing": listing, "throttled": throttled, "met": met}


# -- what is there to measure on -----------------------------------------------------------------------------------


def _job(ns: str, name: str) -> Object:
    """A TrainingJob of an image."""
    spec = {
        "inputs": [{"name": "train", "uri": "s3://data/train/"}],
        "output": {"uri": "s3://data/models"},
        "sageMaker": {"algorithm": {"image": "repo/x:1"}, "roleARN": ROLE, "instanceTypes": [MACHINE]},
    }
    return _manifest(TRAINING_JOBS, ns, name, spec)


def _manifest(resource: Any, ns: str, name: str, spec: Object) -> Object:
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    return {**head, "metadata": {"name": name, "namespace": ns}, "spec": spec}


@dataclass(frozen=True)
class Scene:
    """Where something is measured."""

    ns: str
    statuses: Statuses
    running: Operator


@contextlib.asynccontextmanager
async def _account(world: World, aws: Aws, *, events: bool) -> AsyncIterator[Scene]:
    """A namespace with a Ready account, an operator, and a watch that follows the statuses."""
    spec: Object = {"region": "us-east-1", **({"events": {"managed": {}}} if events else {})}
    async with namespace(world) as ns, operator(ns, **aws.environment) as running:
        await world.client.create(ACCOUNTS, _manifest(ACCOUNTS, ns, "default", spec))
        await until(running.ready, "the operator is ready", timeout=60)
        await until(lambda: _ready(world, ns), "the account is Ready", timeout=60, every=0.2)
        async with _following(world, ns) as statuses:
            yield Scene(ns, statuses, running)


async def _ready(world: World, ns: str) -> bool:
    return _condition(await world.client.get(ACCOUNTS, ns, "default"), "Ready").get("status") == "True"


def _condition(obj: Object, type_: str) -> Object:
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in found if c["type"] == type_), {})


async def _post(world: World, ns: str, objects: int) -> None:
    sample = json.dumps(_job(ns, "sample-object"), separators=(",", ":"))
    names = (f"run-{n:05d}" for n in range(objects))
    await each(world.raw.send("POST", TRAINING_JOBS.path(ns), sample.replace("sample-object", n).encode()) for n in names)


class Statuses:
    """What a watch of our own saw of each object's summary: when, and what was told."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[float, str, str]]] = {}

    async def follow(self, raw: Raw, ns: str) -> None:
        """Until cancelled. The API server ends a watch whose reader falls behind: then what is missed is listed."""
        path = TRAINING_JOBS.path(ns)
        while True:
            page = json.loads(await raw.send("GET", path))
            for found in page["items"]:
                self._take(found)
            async for line in raw.lines(f"{path}?watch=1&resourceVersion={page['metadata']['resourceVersion']}"):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    break
                self._take(event["object"])

    def _take(self, found: Object) -> None:
        if said := _condition(found, "Succeeded"):
            self.told.setdefault(found["metadata"]["name"], []).append((time.time(), said["reason"], said["message"]))

    def reasons(self) -> Counter[str]:
        """How many objects' newest status has which reason."""
        return Counter(said[-1][1] for said in self.told.values())

    def first(self, name: str, since: float, rank: int) -> float | None:
        """When an object was first seen to be at least so far along PHASES."""
        return next((at for at, *said in self.told.get(name, ()) if at >= since and _rank(*said) >= rank), None)


def _rank(reason: str, message: str) -> int:
    """How far a status says that its job is; -1 before the first phase."""
    if reason == "Succeeded":
        return len(PHASES) - 1
    return next((rank for rank, phase in enumerate(PHASES) if f": {phase}" in message), -1)


@contextlib.asynccontextmanager
async def _following(world: World, ns: str) -> AsyncIterator[Statuses]:
    statuses = Statuses()
    task = asyncio.create_task(statuses.follow(world.raw, ns))
    try:
        yield statuses
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _comes(statuses: Statuses, objects: int, reason: str, timeout: float) -> None:
    async def all_there() -> bool:
        return statuses.reasons()[reason] >= objects

    try:
        await until(all_there, f"{objects} objects are {reason}", timeout=timeout, every=0.2)
    except TimeoutError as late:
        raise TimeoutError(f"{late}, but {dict(statuses.reasons())}") from None


def _name(job: Object) -> str:
    """The object's, of which the training job's name is made."""
    return str(job["TrainingJobName"])[: len("run-00000")]


def _at(ordered: list[float], share: float) -> float:
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


# -- (i) -----------------------------------------------------------------------------------------------------------


async def _with_events(world: World) -> Object:
    """Seconds from each change to the status that tells of it (the last one: after the model was read back)."""
    cloud = local_aws(Starting=15, Downloading=5, Training=5, Uploading=5)
    async with cloud as aws, _account(world, aws, events=True) as scene:
        await _post(world, scene.ns, CHANGING)
        await _comes(scene.statuses, CHANGING, "Succeeded", timeout=240)
        by_phase = _latencies(await aws.jobs(), scene.statuses)
        cpu = scene.running.cpu_seconds()
    phases = {phase: _spread(taken) for phase, taken in by_phase.items()}
    taken = [seconds for some in by_phase.values() for seconds in some]
    return {"jobs": CHANGING, "changes": len(taken), **_spread(taken), "byPhase": phases, "cpuSeconds": cpu}


def _spread(taken: list[float]) -> Object:
    ordered = sorted(taken)
    return {"p50": _at(ordered, 0.5), "p99": _at(ordered, 0.99), "most": ordered[-1]}


def _latencies(jobs: list[Object], statuses: Statuses) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for job in jobs:
        for step in job["SecondaryStatusTransitions"]:
            if step["Status"] in PHASES:
                told = statuses.first(_name(job), step["StartTime"], PHASES.index(step["Status"]))
                assert told is not None, f"no status told that {job['TrainingJobName']} was {step['Status']}"
                found[step["Status"]].append(told - step["StartTime"])
    return found


# -- (ii) ----------------------------------------------------------------------------------------------------------


async def _without_events(world: World) -> Object:
    """Calls of a quiet time, from when all run; then some jobs are stopped right after a listing."""
    cloud = local_aws(Starting=1, Downloading=1, Training=LONG)
    async with cloud as aws, _account(world, aws, events=False) as scene:
        await _post(world, scene.ns, RUNNING)
        await _comes(scene.statuses, RUNNING, "Running", timeout=240)
        before, begun = await _looks(aws), time.monotonic()
        await asyncio.sleep(QUIET_SECONDS)
        calls, seconds = await _looks(aws) - before, time.monotonic() - begun
        world.progress(f"(aws) {sum(calls.values())} calls in {seconds:.0f} s for {RUNNING} jobs that run")
        noticed = sorted(await _noticed(aws, scene.statuses))
    figures = {"callsPerSecond": sum(calls.values()) / seconds, "seconds": seconds, "calls": dict(calls)}
    return {"jobs": RUNNING, **figures, "stopped": STOPPED, "noticedMedian": _at(noticed, 0.5), "noticedMost": noticed[-1]}


async def _looks(aws: Aws) -> Counter[str]:
    """Describes and listings so far."""
    return Counter({name: n for name, n in (await aws.requests()).items() if name.startswith(_LOOKS)})


async def _listings(aws: Aws) -> int:
    return (await aws.requests()).get("sagemaker.ListTrainingJobs.200", 0)


async def _noticed(aws: Aws, statuses: Statuses) -> list[float]:
    """Stop some jobs right after a listing; seconds until each status says something else."""
    pages, before = -(-RUNNING // 100), await _listings(aws)

    async def listed() -> bool:
        return await _listings(aws) >= before + pages

    await until(listed, "a listing", timeout=90)
    stopped = {_name(job): job["TrainingJobName"] for job in (await aws.jobs())[:STOPPED]}
    begun = time.time()
    await each(aws.stop(job) for job in stopped.values())

    def told() -> list[float]:
        """When each was first said to be something else than running."""
        firsts = (next((at for at, reason, _ in statuses.told[n] if at > begun and reason != "Running"), None) for n in stopped)
        return [at - begun for at in firsts if at is not None]

    async def all_told() -> bool:
        return len(told()) == len(stopped)

    await until(all_told, "the statuses tell of it", timeout=180)
    return told()


# -- (iii) ---------------------------------------------------------------------------------------------------------


async def _throttled(world: World, objects: int) -> Object:
    """Post all at once; how much of the quota the creations used, from the first to the last."""
    async with local_aws(Starting=LONG) as aws:
        await aws.admin(
            "add_fault", "throttle", service="sagemaker", operation="CreateTrainingJob", per_second=PER_SECOND, burst=PER_SECOND
        )
        async with _account(world, aws, events=True) as scene:
            await _post(world, scene.ns, objects)
            await until(lambda: _made(aws, objects), "all jobs are made", timeout=5 * objects / PER_SECOND, every=1)
            await _comes(scene.statuses, objects, "Starting", timeout=60)
            jobs, requests = await aws.jobs(), await aws.requests()
            failed = objects - scene.statuses.reasons()["Starting"]
    begins = sorted(job["CreationTime"] for job in jobs)
    seconds = begins[-1] - begins[0]
    return {
        "made": len(jobs),
        "twice": len(jobs) - len({_name(job) for job in jobs}),
        "failed": failed,
        "seconds": seconds,
        "share": len(jobs) / (PER_SECOND + PER_SECOND * seconds),
        "refusals": sum(n for name, n in requests.items() if name.startswith("sagemaker.CreateTrainingJob.Throttling")),
        "requests": requests,
    }


async def _made(aws: Aws, objects: int) -> bool:
    return (await aws.requests()).get("sagemaker.CreateTrainingJob.200", 0) >= objects


def rows(found: Object) -> list[tuple[str, str, str, bool | None]]:
    """Table rows: what, figure, bar, met."""
    events, listing, throttled, met = found["events"], found["listing"], found["throttled"], found["met"]
    latency = f"{events['p50']:.2f} s p50, {events['p99']:.2f} s p99"
    noticed = f"{listing['noticedMedian']:.1f} s median, {listing['noticedMost']:.1f} s most"
    made = f"{throttled['made']} made, {throttled['twice']} twice, {throttled['failed']} failed"
    return [
        (
            f"(aws) {events['changes']} changes of {events['jobs']} jobs until status, by events",
            latency,
            f"p99 < {LATENCY_BAR:g} s",
            met["latency"],
        ),
        (
            f"(aws) {listing['jobs']} running jobs without events: looks",
            f"{listing['callsPerSecond']:.2f} calls/s",
            f"< {CALLS_BAR:g}",
            met["calls"],
        ),
        ("(aws) a change right after a listing until status", noticed, f"< {NOTICE_BAR:g} s", met["notice"]),
        (f"(aws) {found['objects']} objects before {PER_SECOND:g} creations a second", made, "all, once", met["once"]),
        ("(aws) share of that quota used", f"{100 * throttled['share']:.1f} %", f"> {100 * SHARE_BAR:g} %", met["share"]),
    ]
