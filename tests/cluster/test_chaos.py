"""The operator is killed again and again at the boundaries of its calls; the world must be that of one that never was.

MILLRACE_CHAOS_SEED draws where, MILLRACE_CHAOS_KILLS says how often. Lives of several shapes go on side by side as long as there
are kills left; everything that ever existed is recorded, so that what was made twice is seen even if it was taken away again.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from millrace.kube import labels
from millrace.kube.client import Client
from millrace.kube.resources import DEPLOYMENTS, JOBS, PODS, SERVICES
from support import cluster
from support.cluster import (
    DATASETS,
    MODEL_ENDPOINTS,
    TRAINING_JOBS,
    WRITE_MODEL,
    condition,
    eventually,
    gone,
    model_endpoint,
    reaches,
    training_job,
)
from support.processes import Process, environment, started
from support.recorder import Recorder, attempt_of, index_of, recording

KILLS = int(os.environ.get("MILLRACE_CHAOS_KILLS", "30"))
PATIENCE = 240.0
"""Seconds for one step of a life, under an operator that lives for a second or two at a time."""
IDLE = 12.0
"""Seconds after which an operator that has nothing to do is killed at rest, so that the next one is drawn."""
Object = dict[str, Any]
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600 + 20 * KILLS)]


@dataclass
class Tally:
    """What happened: kills by boundary, and what was found wrong."""

    seed: int
    begun: float = field(default_factory=time.monotonic)
    boundaries: collections.Counter[str] = field(default_factory=collections.Counter)
    at_rest: int = 0
    lives: collections.Counter[str] = field(default_factory=collections.Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.boundaries.total()

    @property
    def enough(self) -> bool:
        return self.kills >= KILLS

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.violations.append(f"{what}: {found!r} instead of {wanted!r}")

    def table(self) -> str:
        seconds = time.monotonic() - self.begun
        rows = [f"{count:5}  {name}" for name, count in sorted(self.boundaries.items(), key=lambda p: (-p[1], p[0]))]
        lives = ", ".join(f"{count} {shape}" for shape, count in sorted(self.lives.items()))
        head = f"seed {self.seed}: {self.kills} kills at a call and {self.at_rest} at rest in {seconds:.0f} s; lives: {lives}"
        return "\n".join([head, "kills  boundary", *rows, f"violations: {len(self.violations)}", *self.violations])


@dataclass(frozen=True)
class Stage:
    """What a life needs."""

    client: Client
    ns: str
    seen: Recorder
    tally: Tally

    async def submit(self, manifest: Object) -> Object:
        return await self.client.create(TRAINING_JOBS, manifest)

    async def succeeded(self, name: str) -> Object:
        return await reaches(self.client, TRAINING_JOBS, self.ns, name, "Succeeded", timeout=PATIENCE)

    async def runs(self, made: Object) -> None:
        """Wait for a running pod of the first attempt."""
        uid = made["metadata"]["uid"]

        async def check() -> bool:
            return any(p["status"].get("phase") == "Running" for p in self.seen.of(uid, "Pod", "train"))

        await eventually(check, f"a pod of {made['metadata']['name']} runs", timeout=PATIENCE)

    async def remove(self, resource: Any, name: str) -> None:
        await self.client.delete(resource, self.ns, name)
        await gone(self.client, resource, self.ns, name, timeout=PATIENCE)


# -- lives ---------------------------------------------------------------------------------------------------------------


async def plain(stage: Stage, name: str) -> None:
    """Two nodes, nothing happens."""
    made = await stage.submit(training_job(stage.ns, name, f"sleep 1; {WRITE_MODEL}", kubernetes={"nodes": 2}))
    await ends_well(stage, name, made, attempts=1, nodes=2)


async def failing_once(stage: Stage, name: str) -> None:
    """A rank of the first attempt fails."""
    script = f'[ "$MILLRACE_ATTEMPT" = 1 ] && exit 3; {WRITE_MODEL}'
    made = await stage.submit(training_job(stage.ns, name, script))
    await ends_well(stage, name, made, attempts=2, restarts=1)


async def suspended(stage: Stage, name: str) -> None:
    """Suspended in mid-run and resumed."""
    script = f'[ "$MILLRACE_ATTEMPT" = 1 ] && sleep 600; {WRITE_MODEL}'
    made = await stage.submit(training_job(stage.ns, name, script))
    await stage.runs(made)
    await stage.client.patch(TRAINING_JOBS, stage.ns, name, {"spec": {"suspend": True}})
    await reaches(stage.client, TRAINING_JOBS, stage.ns, name, "Suspended", timeout=PATIENCE)
    await nothing_left(stage, made["metadata"]["uid"], "a suspended run")
    await stage.client.patch(TRAINING_JOBS, stage.ns, name, {"spec": {"suspend": False}})
    await ends_well(stage, name, made, attempts=2)


async def deleted(stage: Stage, name: str) -> None:
    """Deleted in mid-run."""
    made = await stage.submit(training_job(stage.ns, name, "sleep 600"))
    await stage.runs(made)
    await stage.remove(TRAINING_JOBS, name)
    await nothing_left(stage, made["metadata"]["uid"], "a deleted run")
    history(stage, name, made["metadata"]["uid"], attempts=1, nodes=1, readers=[])


async def fed(stage: Stage, name: str) -> None:
    """A Dataset is generated and published; the run that reads it was there before."""
    inputs = [{"name": "train", "datasetRef": {"name": name, "split": "train"}}]
    script = f'test -s $(echo $MILLRACE_INPUTS | sed \'s/.*"path": *"\\([^"]*\\)".*/\\1/\') && {WRITE_MODEL}'
    made = await stage.submit(training_job(stage.ns, name, script, inputs=inputs))
    data = await stage.client.create(DATASETS, generated(stage.ns, name))
    done = await reaches(stage.client, DATASETS, stage.ns, name, "Published", timeout=PATIENCE)
    stage.tally.expect(f"{name}: rows", done["status"]["rows"], 200)
    await ends_well(stage, name, made, attempts=1)
    await stage.remove(DATASETS, name)
    await nothing_left(stage, data["metadata"]["uid"], "a deleted Dataset")
    for kind in ("Job", "Pod"):
        for role in ("worker", "verify"):
            stage.tally.expect(f"{name}: {kind}s in role {role}", len(stage.seen.of(data["metadata"]["uid"], kind, role)), 1)


def generated(ns: str, name: str) -> Object:
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "source": {"generated": {"name": "csv-table", "parameters": {"rows": "200"}}},
            "format": "csv",
            "split": {"train": "0.8", "validation": "0.2"},
            "publish": {"claim": {"name": "results", "path": f"data/{name}"}},
            "resources": {"cpu": "50m", "memory": "128Mi"},
        },
    }


async def served(stage: Stage, name: str) -> None:
    """An endpoint that is rolled over and deleted."""
    made = await stage.client.create(MODEL_ENDPOINTS, model_endpoint(stage.ns, name))
    uid, tally = made["metadata"]["uid"], stage.tally
    await reaches(stage.client, MODEL_ENDPOINTS, stage.ns, name, "Serving", timeout=PATIENCE)
    await stage.client.patch(MODEL_ENDPOINTS, stage.ns, name, {"spec": {"kubernetes": {"env": [{"name": "TWO", "value": "2"}]}}})

    async def rolled_over() -> Object | None:
        found = await stage.client.get(MODEL_ENDPOINTS, stage.ns, name)
        ready = condition(found, "Ready")
        return found if (ready["status"], ready["observedGeneration"]) == ("True", 2) else None

    done = await eventually(rolled_over, f"{name} is rolled over", timeout=PATIENCE)
    tally.expect(f"{name}: conditions", sorted(c["type"] for c in done["status"]["conditions"]), ["Available", "Ready"])
    await stage.remove(MODEL_ENDPOINTS, name)
    await nothing_left(stage, uid, "a deleted endpoint")
    for kind, number in (("Deployment", 1), ("Service", 1), ("Pod", 2)):
        tally.expect(f"{name}: {kind}s", len(stage.seen.of(uid, kind)), number)


LIVES: tuple[Callable[[Stage, str], Awaitable[None]], ...] = (plain, failing_once, suspended, deleted, fed, served)
RECORDED = frozenset({plain, failing_once, suspended, fed})
"""Lives that leave the record of a run on the claim."""


# -- what must hold ----------------------------------------------------------------------------------------------------------


async def ends_well(stage: Stage, name: str, made: Object, *, attempts: int, nodes: int = 1, restarts: int = 0) -> None:
    """Succeeded with the counts of an uninterrupted run; then the object is deleted and nothing of it stays."""
    done = await stage.succeeded(name)
    status, uid, tally = done["status"], made["metadata"]["uid"], stage.tally
    counts = status.get("restarts") or {}
    tally.expect(f"{name}: Succeeded", condition(done)["status"], "True")
    tally.expect(f"{name}: conditions", [c["type"] for c in status["conditions"]], ["Succeeded"])
    tally.expect(f"{name}: status.attempt", status["attempt"], attempts)
    tally.expect(f"{name}: counted restarts", counts.get("count", 0), restarts)
    tally.expect(f"{name}: uncounted restarts", counts.get("uncounted", 0), 0)
    tally.expect(f"{name}: files of the model", status["model"]["files"], nodes)
    await stage.remove(TRAINING_JOBS, name)
    await nothing_left(stage, uid, "a deleted run")
    history(stage, name, uid, attempts=attempts, nodes=nodes, readers=[attempts])


def history(stage: Stage, name: str, uid: str, *, attempts: int, nodes: int, readers: list[int]) -> None:
    """Everything that ever existed for one object is what one uninterrupted operator makes."""
    seen, expect, numbers = stage.seen, stage.tally.expect, list(range(1, attempts + 1))
    for kind in ("Job", "Service"):
        expect(f"{name}: attempts of {kind}s", [attempt_of(o) for o in seen.of(uid, kind)], numbers)
    ranks = sorted((attempt_of(p), index_of(p)) for p in seen.of(uid, "Pod", "train"))
    expect(f"{name}: attempts and ranks of pods", ranks, [(a, i) for a in numbers for i in range(nodes)])
    expect(f"{name}: attempts of reader pods", [attempt_of(p) for p in seen.of(uid, "Pod", "verify")], readers)


async def nothing_left(stage: Stage, uid: str, what: str) -> None:
    """Jobs, Deployments, Services and pods of an object are gone."""

    async def left() -> list[str]:
        chosen = f"{labels.OWNER_UID}={uid}"
        return [
            f"{r.kind} {o['metadata']['name']}"
            for r in (JOBS, DEPLOYMENTS, SERVICES, PODS)
            async for o in stage.client.list_objects(r, stage.ns, labels=chosen)
        ]

    async def check() -> bool:
        return not await left()

    await eventually(check, f"no child of {what} is left", timeout=PATIENCE, show=left)


async def records(client: Client, ns: str) -> list[Object]:
    """Every run record on the claim, read by a pod."""
    find = 'for f in $(find /claim -name "run.json*"); do tr -d "\\n" < $f; echo; done'
    pod = {
        "metadata": {"name": "look", "namespace": ns},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "c", "persistentVolumeClaim": {"claimName": "results"}}],
            "containers": [
                {
                    "name": "look",
                    "image": cluster.busybox(),
                    "command": ["sh", "-c", find],
                    "volumeMounts": [{"name": "c", "mountPath": "/claim"}],
                }
            ],
        },
    }
    await client.create(PODS, pod)

    async def ended() -> bool:
        return (await client.get(PODS, ns, "look"))["status"].get("phase") == "Succeeded"

    await eventually(ended, "the claim's records were read")
    return [json.loads(line) async for line in client.logs(ns, "look", "look", lines=5000) if line.strip()]


# -- killing -----------------------------------------------------------------------------------------------------------------


async def kill_again_and_again(nursery: Process, tally: Tally) -> None:
    """One operator after another, each with a fate of its own; then one that is left in peace."""
    number = 0
    while not tally.enough:
        number += 1
        await nursery.order(f"{tally.seed}:{number}")
        ended = await _life_of_one(nursery)
        if boundary := ended.get("boundary"):
            tally.boundaries[f"{boundary['verb']} {boundary['resource']} {boundary['side']}"] += 1
        else:
            tally.at_rest += 1
        said = "{verb} {resource}, {side}, call {calls}".format(**boundary) if boundary else "at rest"
        print(f"[{time.monotonic() - tally.begun:6.1f} s] kill {tally.kills}/{KILLS}: {said}", flush=True)
    await nursery.order("calm")
    await nursery.hear()


async def _life_of_one(nursery: Process) -> Object:
    """From its start to its end; gives what it told, with the boundary at which it died."""
    told: Object = {}
    while "ended" not in told:
        try:
            heard = await asyncio.wait_for(nursery.hear(), IDLE)
        except TimeoutError:
            os.kill(told["pid"], signal.SIGKILL)
            continue
        assert heard is not None, "the nursery of operators has ended"
        told.update(heard)
    assert told["ended"] == -signal.SIGKILL, f"an operator ended by itself: {told}"
    return told


async def lane(stage: Stage, life: Callable[[Stage, str], Awaitable[None]]) -> None:
    """One life after another as long as there are kills left."""
    number = 0
    while not number or not stage.tally.enough:
        number += 1
        await life(stage, f"{life.__name__.replace('_', '-')}-{number}")
        stage.tally.lives[life.__name__] += 1


async def all_of(work: list[Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)  # type: ignore[arg-type]


async def test_an_operator_that_is_killed_at_any_call_makes_what_an_uninterrupted_one_makes(
    client: Client, ns: str, tmp_path: Path
) -> None:
    tally = Tally(int(os.environ.get("MILLRACE_CHAOS_SEED") or random.SystemRandom().randrange(10**6)))
    print(f"\nMILLRACE_CHAOS_SEED={tally.seed} MILLRACE_CHAOS_KILLS={KILLS}, logs in {tmp_path / 'operators.log'}", flush=True)
    async with recording(ns) as seen, started("nursery", environment(ns), tmp_path / "operators.log") as nursery:
        stage = Stage(client, ns, seen, tally)
        try:
            await all_of([kill_again_and_again(nursery, tally), *(lane(stage, life) for life in LIVES)])
            tally.expect("names that existed twice", seen.doubled(), [])
            kept = await records(client, ns)
            wanted = sum(tally.lives[life.__name__] for life in RECORDED)
            tally.expect("run records on the claim", len({r["name"] for r in kept}), wanted)
            tally.expect("run records that are there twice", len(kept) - wanted, 0)
        finally:
            print(tally.table(), flush=True)
    assert not tally.violations, f"MILLRACE_CHAOS_SEED={tally.seed}\n" + "\n".join(tally.violations)
