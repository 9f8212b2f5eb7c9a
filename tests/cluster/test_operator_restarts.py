"""An operator that stops, loses the API server or hears nothing: what runs goes on, and nothing is done twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millrace.engine import runtime as engine_runtime
from millrace.engine.runtime import Runtime
from millrace.kube.client import Client
from millrace.kube.resources import JOBS, PODS, SERVICES
from support import cluster
from support.cluster import (
    DATASETS,
    TRAINING_JOBS,
    WRITE_MODEL,
    Running,
    condition,
    eventually,
    gone,
    reaches,
    training_job,
)
from support.recorder import Recorder, attempt_of, recording
from support.wire import through_a_wire

pytestmark = pytest.mark.cluster
Object = dict[str, Any]
PATIENCE = 180.0
"""Seconds for a run of seconds: the machine may be busy with others."""


async def start(client: Client, manifest: Object) -> Object:
    return await client.create(TRAINING_JOBS, manifest)


async def children(client: Client, ns: str) -> dict[str, str]:
    """Uids of what we made, by kind and name."""
    found = {}
    for resource in (JOBS, SERVICES, PODS):
        async for obj in client.list_objects(resource, ns, labels="millrace.dev/managed=true"):
            found[f"{resource.kind} {obj['metadata']['name']}"] = obj["metadata"]["uid"]
    return found


async def versions(client: Client, ns: str) -> dict[str, tuple[str, str]]:
    """Reason and resource version of every TrainingJob."""
    found = [o async for o in client.list_objects(TRAINING_JOBS, ns)]
    return {o["metadata"]["name"]: (condition(o)["reason"], o["metadata"]["resourceVersion"]) for o in found}


def counted(running: Running, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    families = running.runtime.metrics.registry.collect()
    samples = [s for f in families for s in f.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


async def has_looked(running: Running, objects: int) -> None:
    """Wait until an operator has made a pass over that many TrainingJobs and has no more to do."""

    async def check() -> bool:
        passes = counted(running, "millrace_reconcile_total", kind="TrainingJob")
        return passes >= objects and running.runtime.queue.depth == 0

    await eventually(check, f"passes over {objects} objects")


# -- states that last ----------------------------------------------------------------------------------------------------

LASTING = {
    "Running": lambda ns: training_job(ns, "running", "sleep 600", kubernetes={"nodes": 2}),
    "Suspended": lambda ns: training_job(ns, "suspended", WRITE_MODEL, suspend=True),
    "Succeeded": lambda ns: training_job(ns, "succeeded", WRITE_MODEL),
    "OutputEmpty": lambda ns: training_job(ns, "failed", "true"),
    "RestartsExhausted": lambda ns: training_job(ns, "exhausted", "exit 3", limits={"maxRestarts": 0}),
    "InputNotReady": lambda ns: training_job(ns, "waiting", WRITE_MODEL, inputs=[{"name": "x", "datasetRef": {"name": "none"}}]),
    "Pending": lambda ns: training_job(ns, "pending", WRITE_MODEL, kubernetes={"resources": {"cpu": "500"}}),
}


async def test_a_new_operator_changes_nothing_in_any_state_that_lasts(client: Client, ns: str) -> None:
    async with cluster.operator(cluster.settings(ns)) as first:
        for reason, manifest in LASTING.items():
            made = await start(client, manifest(ns))
            await reaches(client, TRAINING_JOBS, ns, made["metadata"]["name"], reason, timeout=PATIENCE)
        await has_looked(first, len(LASTING))
    before, made_before = await versions(client, ns), await children(client, ns)
    assert sorted(reason for reason, _ in before.values()) == sorted(LASTING)
    async with cluster.operator(cluster.settings(ns)) as second:
        await has_looked(second, len(LASTING))
        assert await versions(client, ns) == before
        await start(client, training_job(ns, "witness", WRITE_MODEL))
        await reaches(client, TRAINING_JOBS, ns, "witness", "Succeeded")
        after = await versions(client, ns)
        assert {name: after[name] for name in before} == before
        assert made_before.items() <= (await children(client, ns)).items()
        assert counted(second, "millrace_reconcile_errors_total") == 0


# -- states that pass ----------------------------------------------------------------------------------------------------

FAILS_TWICE = f'[ "$MILLRACE_ATTEMPT" -lt 3 ] && exit 3; {WRITE_MODEL}'
STOPS_SLOWLY = f'trap "" TERM; [ "$MILLRACE_ATTEMPT" = 1 ] && sleep 600; {WRITE_MODEL}'


async def stopped_at(client: Client, ns: str, manifest: Object, reason: str, message: str = "") -> Object:
    """Bring a run to a state under an operator that stops the moment it is reached; gives the object as it is then."""
    async with cluster.operator(cluster.settings(ns)):
        made = await start(client, manifest)
        name = made["metadata"]["name"]

        async def check() -> bool:
            said = condition(await client.get(TRAINING_JOBS, ns, name))
            return said.get("reason") == reason and message in said["message"]

        await eventually(check, f"{name}: {reason} {message}", every=0.02)
    return await client.get(TRAINING_JOBS, ns, name)


def attempts(seen: Recorder, uid: str) -> tuple[list[int], list[int], list[int]]:
    """Attempt numbers of all Jobs, Services and reader pods that ever were."""
    found = (seen.of(uid, "Job"), seen.of(uid, "Service"), seen.of(uid, "Pod", "verify"))
    return tuple([attempt_of(o) for o in each] for each in found)  # type: ignore[return-value]


PASSING = [
    pytest.param(WRITE_MODEL, {}, "Starting", "", 1, 0, id="Starting"),
    pytest.param(WRITE_MODEL, {}, "Verifying", "", 1, 0, id="Verifying"),
    pytest.param(f"sleep 4; {WRITE_MODEL}", {}, "Running", "", 1, 0, id="Running"),
    pytest.param(FAILS_TWICE, {"limits": {"maxRestarts": 3}}, "Restarting", "after a pause", 3, 2, id="Restarting"),
]


@pytest.mark.parametrize(("script", "spec", "reason", "message", "last", "restarts"), PASSING)
async def test_a_run_goes_on_where_the_last_operator_left_it(
    client: Client, ns: str, script: str, spec: Object, reason: str, message: str, last: int, restarts: int
) -> None:
    async with recording(ns) as seen:
        left = await stopped_at(client, ns, training_job(ns, "t", script, **spec), reason, message)
        async with cluster.operator(cluster.settings(ns)):
            done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded", timeout=PATIENCE)
    assert done["status"]["attempt"] == last
    assert (done["status"].get("restarts") or {}).get("count", 0) == restarts
    assert done["status"]["startTime"] == left["status"].get("startTime", done["status"]["startTime"])
    numbers = list(range(1, last + 1))
    assert attempts(seen, done["metadata"]["uid"]) == (numbers, numbers, [last])
    assert seen.doubled() == []


async def test_a_suspension_that_was_begun_is_carried_through_and_resumed(client: Client, ns: str) -> None:
    async with recording(ns) as seen:
        async with cluster.operator(cluster.settings(ns)):
            made = await start(client, training_job(ns, "t", STOPS_SLOWLY))
            await reaches(client, TRAINING_JOBS, ns, "t", "Running")
            await client.patch(TRAINING_JOBS, ns, "t", {"spec": {"suspend": True}})
            await reaches(client, TRAINING_JOBS, ns, "t", "Suspended")
        async with cluster.operator(cluster.settings(ns)):

            async def freed() -> bool:
                return not await children(client, ns)

            await eventually(freed, "nothing runs")
            await client.patch(TRAINING_JOBS, ns, "t", {"spec": {"suspend": False}})
            done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["restarts"].get("count", 0) == 0
    assert attempts(seen, made["metadata"]["uid"]) == ([1, 2], [1, 2], [2])


async def test_a_deletion_that_was_begun_is_carried_through(client: Client, ns: str) -> None:
    async with cluster.operator(cluster.settings(ns)):
        await start(client, training_job(ns, "t", STOPS_SLOWLY, kubernetes={"terminationGracePeriodSeconds": 8}))
        await reaches(client, TRAINING_JOBS, ns, "t", "Running")
        await client.delete(TRAINING_JOBS, ns, "t")
        await reaches(client, TRAINING_JOBS, ns, "t", "Deleting")
    left = await client.get(TRAINING_JOBS, ns, "t")
    assert left["metadata"]["finalizers"]
    async with cluster.operator(cluster.settings(ns)):
        await gone(client, TRAINING_JOBS, ns, "t")

    async def collected() -> bool:
        return not await children(client, ns)

    await eventually(collected, "the garbage collector has taken the pods that had ended")


async def test_a_group_that_found_no_place_keeps_its_pause_and_its_count(client: Client, ns: str) -> None:
    impossible = {"resources": {"cpu": "500"}, "gangTimeoutSeconds": 5}
    left = await stopped_at(client, ns, training_job(ns, "t", WRITE_MODEL, kubernetes=impossible), "GangUnschedulable", "pause")
    async with cluster.operator(cluster.settings(ns)) as second:
        await has_looked(second, 1)
        kept = await client.get(TRAINING_JOBS, ns, "t")
        assert kept["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        await client.delete(TRAINING_JOBS, ns, "t")
        await gone(client, TRAINING_JOBS, ns, "t")


# -- the API server is away ----------------------------------------------------------------------------------------------


async def test_an_api_server_that_is_away_for_a_while_kills_nothing(client: Client, ns: str) -> None:
    async with through_a_wire() as (wire, found), recording(ns) as seen:
        async with cluster.operator(cluster.settings(ns, resync_seconds=2), found=found) as running:
            await start(client, training_job(ns, "t", f"sleep 3; {WRITE_MODEL}"))
            await reaches(client, TRAINING_JOBS, ns, "t", "Running")
            wire.cut()

            async def job_has_ended() -> bool:
                jobs = [j async for j in client.list_objects(JOBS, ns)]
                return any(c["type"] == "Complete" for j in jobs for c in j["status"].get("conditions") or ())

            async def felt() -> bool:
                return wire.refused > 3 and counted(running, "millrace_kube_requests_total", code="0") > 0

            await eventually(job_has_ended, "the pods end meanwhile")
            await eventually(felt, "the operator has tried and failed")
            assert not running.task.done()
            assert running.runtime._alive() == ""
            assert running.runtime._ready() == ""
            wire.mend()
            done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
        assert done["status"]["attempt"] == 1
        assert attempts(seen, done["metadata"]["uid"]) == ([1], [1], [1])


async def test_an_operator_that_starts_without_an_api_server_waits_for_it(client: Client, ns: str) -> None:
    await start(client, training_job(ns, "t", WRITE_MODEL))
    async with through_a_wire() as (wire, found):
        wire.cut()

        async def mend_when_felt() -> None:
            async def felt() -> bool:
                return wire.refused > 1

            await eventually(felt, "the operator has tried to list")
            wire.mend()

        mending = asyncio.create_task(mend_when_felt())
        async with cluster.operator(cluster.settings(ns), found=found):
            await mending
            await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")


# -- the watch -----------------------------------------------------------------------------------------------------------


class Deaf(Runtime):
    """Its first watch goes dead when it is told to; the one that follows hears again."""

    dead = False
    streams = 0

    async def _run_kopf(self) -> None:
        self.streams += 1
        await super()._run_kopf()

    def _deliver(self, plural: str, type_: str | None, obj: Object, wake: Any) -> None:
        if not (self.dead and self.streams == 1):
            super()._deliver(plural, type_, obj, wake)


async def test_a_dead_watch_is_found_by_the_resync_counted_and_restarted(
    client: Client, ns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_runtime, "_STALE_SECONDS", 1.5)
    async with cluster.operator(cluster.settings(ns, resync_seconds=5), kind=Deaf) as running:
        assert isinstance(running.runtime, Deaf)
        running.runtime.dead = True
        await start(client, training_job(ns, "t", WRITE_MODEL))

        async def restarted() -> bool:
            return running.runtime.streams > 1  # type: ignore[attr-defined]

        await eventually(restarted, "the watch was restarted")
        assert counted(running, "millrace_stale_watches_total") >= 1
        await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")


class Slow(Runtime):
    """What it writes to our own objects never comes back to it by the watch."""

    def _deliver(self, plural: str, type_: str | None, obj: Object, wake: Any) -> None:
        own = {c.kind.plural for c in self.controllers}
        if plural not in own or type_ == "DELETED" or obj["metadata"]["generation"] != self._generations.get(self._key(obj)):
            self._generations[self._key(obj)] = obj["metadata"].get("generation")
            super()._deliver(plural, type_, obj, wake)

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._generations: dict[str, Any] = {}

    @staticmethod
    def _key(obj: Object) -> str:
        return f"{obj['kind']}/{obj['metadata']['uid']}"


async def test_what_a_status_says_is_carried_out_even_if_the_watch_is_late(client: Client, ns: str) -> None:
    async with cluster.operator(cluster.settings(ns), kind=Slow):
        deadline = training_job(ns, "deadline", "sleep 600", limits={"maxRuntimeSeconds": 2})
        await start(client, deadline)
        await reaches(client, TRAINING_JOBS, ns, "deadline", "DeadlineExceeded")
        await start(client, training_job(ns, "suspended", "sleep 600"))
        await reaches(client, TRAINING_JOBS, ns, "suspended", "Running")
        await client.patch(TRAINING_JOBS, ns, "suspended", {"spec": {"suspend": True}})
        await reaches(client, TRAINING_JOBS, ns, "suspended", "Suspended")

        async def freed() -> bool:
            return not await children(client, ns)

        async def left() -> dict[str, str]:
            return await children(client, ns)

        await eventually(freed, "nothing runs any more", timeout=20, show=left)


# -- fairness ------------------------------------------------------------------------------------------------------------

FLOOD = 300


async def test_a_flood_of_one_kind_does_not_starve_the_other(client: Client, ns: str) -> None:
    spec = {"source": {"claim": {"name": "results", "path": "x"}}, "format": "text", "suspend": True}
    base = {"apiVersion": "millrace.dev/v1alpha1", "kind": "Dataset", "spec": spec}
    names = [f"flood-{n}" for n in range(FLOOD)]
    for some in (names[i : i + 20] for i in range(0, FLOOD, 20)):
        await asyncio.gather(*(client.create(DATASETS, {**base, "metadata": {"name": n, "namespace": ns}}) for n in some))
    await start(client, training_job(ns, "t", "sleep 600"))

    async def untouched() -> int:
        return len([1 async for d in client.list_objects(DATASETS, ns) if not condition(d, "Ready")])

    async def has_a_job() -> bool:
        return bool([1 async for _ in client.list_objects(JOBS, ns)])

    async with cluster.operator(cluster.settings(ns, workers=1)):
        await eventually(has_a_job, "the run's Job exists", every=0.05)
        assert await untouched() > FLOOD / 2

        async def all_served() -> bool:
            return await untouched() == 0

        await eventually(all_served, "the flood was served as well")
