"""(a) Many TrainingJobs posted at once, until each has its Job, its Service and conditions; beside a raw client's same writes.

The raw client makes for each object what the operator makes (finalizer, Service, Job, status), one call after another with 50
objects in flight, on other TrainingJobs that no operator sees. It posts no Events; the operator does. Posting the objects is in
both figures.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace.engine.settings import Images, Settings
from millrace.kube import labels
from millrace_controllers.trainingjob.backends.kubernetes import layout, pod
from world import HOST, TRAINING_JOBS, Object, World, count, each, images, namespace, operator, training_job, until

BAR = 2.0
_UID = "01234567-89ab-4cde-8f01-23456789abcd"
_NAME = "sample-object"


class Bodies:
    """The operator's own manifests for a sample object, as text in which name and uid are replaced.

    What the raw client works on is paused, so that an operator that may serve the whole cluster keeps its hands off.
    """

    def __init__(self, ns: str, *, paused: bool) -> None:
        posted = training_job(ns, _NAME)
        posted["metadata"]["annotations"] = {labels.PAUSED: str(paused).lower()}
        self._posted = _text(posted)
        owner = training_job(ns, _NAME)
        owner["metadata"]["uid"] = _UID
        spec = TrainingJobSpec.model_validate(owner["spec"])
        names = images()
        settings = Settings(
            images=Images(names["operator"], names["trainer"], names["dataset"]), progress_url=f"http://{HOST}:8090/v1/progress"
        )
        self._service = _text(pod.service(owner, 1))
        self._job = _text(pod.job(owner, spec, 1, (), settings))
        self._status = _text({"metadata": {"uid": _UID}, "status": _status(owner, spec)})

    def posted(self, name: str) -> bytes:
        """The TrainingJob."""
        return self._posted.replace(_NAME, name).encode()

    def children(self, name: str, uid: str) -> tuple[bytes, bytes, bytes]:
        """Service, Job and status patch."""

        def own(text: str) -> bytes:
            short = text.replace(f"{_NAME}-{_UID[:6]}", f"{name}-{uid[:6]}")
            return short.replace(_UID, uid).replace(_NAME, name).encode()

        return own(self._service), own(self._job), own(self._status)


def _status(owner: Object, spec: TrainingJobSpec) -> Object:
    """What the operator's first status write says."""
    now, name = "2026-01-01T00:00:00Z", pod.attempt_name(owner, 1)
    told = {"reason": "Starting", "message": "Attempt 1 is being started", "lastTransitionTime": now, "observedGeneration": 1}
    digests = {"specDigest": layout.spec_digest(spec), "parametersDigest": layout.parameters_digest(spec)}
    conditions = [{"type": "Succeeded", "status": "Unknown", **told}, {"type": "Reconciling", "status": "True", **told}]
    fields = {"runID": "", "attempt": 1, "externalID": name, "startTime": now, "lineage": digests}
    return {**fields, "observedGeneration": 1, "conditions": conditions}


def _text(body: Object) -> str:
    return json.dumps(body, separators=(",", ":"))


async def raw_run(world: World, objects: int) -> Object:
    """Seconds that the raw client takes."""
    async with namespace(world) as ns:
        bodies = Bodies(ns, paused=True)
        begun = time.monotonic()
        await each(_made(world, ns, bodies, f"run-{n:05d}") for n in range(objects))
        return {"seconds": time.monotonic() - begun}


async def _made(world: World, ns: str, bodies: Bodies, name: str) -> None:
    path = TRAINING_JOBS.path(ns)
    metadata = json.loads(await world.raw.send("POST", path, bodies.posted(name)))["metadata"]
    service, job, status = bodies.children(name, metadata["uid"])
    finalizer = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": [labels.FINALIZER]}}
    merge = "application/merge-patch+json"
    await world.raw.send("PATCH", f"{path}/{name}", _text(finalizer).encode(), merge)
    await world.raw.send("POST", f"/api/v1/namespaces/{ns}/services", service)
    await world.raw.send("POST", f"/apis/batch/v1/namespaces/{ns}/jobs", job)
    await world.raw.send("PATCH", f"{path}/{name}/status", status, merge)


async def operator_run(world: World, objects: int) -> Object:
    """Seconds from the first post until all is there; what it cost the operator."""
    async with namespace(world) as ns, operator(ns) as running:
        await until(running.ready, "the operator is ready", timeout=60)
        await asyncio.sleep(3)
        bodies, before = Bodies(ns, paused=False), running.cpu_seconds()
        begun = time.monotonic()
        await each(
            world.raw.send("POST", TRAINING_JOBS.path(ns), bodies.posted(name))
            for name in (f"run-{n:05d}" for n in range(objects))
        )
        posted = time.monotonic() - begun
        await until(lambda: _children(world, ns, objects), "all Jobs and Services", timeout=300)
        children = time.monotonic() - begun
        await until(lambda: _told(world, ns, objects), "conditions on all", timeout=300)
        seconds = time.monotonic() - begun
        used = running.cpu_seconds() - before
        calls = {f"{verb} {plural}": int(n) for (verb, plural), n in (await running.requests()).items()}
        figures = {"seconds": seconds, "postedSeconds": posted, "childrenSeconds": children}
        return {**figures, "cpuSeconds": used, "memoryMiB": running.memory_mib("VmHWM"), "calls": calls}


async def _children(world: World, ns: str, objects: int) -> bool:
    if await count(world, f"/apis/batch/v1/namespaces/{ns}/jobs") < objects:
        return False
    return await count(world, f"/api/v1/namespaces/{ns}/services") >= objects


async def _told(world: World, ns: str, objects: int) -> bool:
    found = json.loads(await world.raw.send("GET", TRAINING_JOBS.path(ns) + "?resourceVersion=0"))["items"]
    return sum(bool((o.get("status") or {}).get("conditions")) for o in found) >= objects


async def measure(world: World, objects: int, rounds: int) -> Object:
    """Interleaved: raw, operator, raw, operator, …"""
    raws: list[Object] = []
    ours: list[Object] = []
    for number in range(rounds):
        raws.append(await raw_run(world, objects))
        world.progress(f"(a) round {number + 1}: raw {raws[-1]['seconds']:.1f} s")
        ours.append(await operator_run(world, objects))
        world.progress(f"(a) round {number + 1}: operator {ours[-1]['seconds']:.1f} s, {ours[-1]['cpuSeconds']:.1f} s of CPU")
    ratio = _median(ours) / _median(raws)
    return {"objects": objects, "raw": raws, "operator": ours, "ratio": ratio, "bar": BAR, "met": ratio <= BAR}


def _median(runs: list[Object]) -> float:
    return statistics.median(r["seconds"] for r in runs)


def rows(found: Object) -> list[tuple[str, str, str, bool | None]]:
    """Table rows: what, figure, bar, met."""
    n, ours, raws = found["objects"], found["operator"], found["raw"]
    cpu, memory = statistics.median(r["cpuSeconds"] for r in ours), max(r["memoryMiB"] for r in ours)
    return [
        (f"(a) {n} TrainingJobs: raw client", _spread(raws), "", None),
        (f"(a) {n} TrainingJobs: operator, until Job, Service and status of all", _spread(ours), "", None),
        ("(a) operator / raw", f"{found['ratio']:.2f}", f"<= {BAR:g}", found["met"]),
        ("(a) operator's CPU, peak memory", f"{cpu:.1f} s, {memory:.0f} MiB", "", None),
    ]


def _spread(runs: list[Any]) -> str:
    seconds = sorted(r["seconds"] for r in runs)
    return f"{seconds[0]:.1f} / {statistics.median(seconds):.1f} / {seconds[-1]:.1f} s"
