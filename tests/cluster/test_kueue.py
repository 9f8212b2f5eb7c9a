"""A real Kueue admits TrainingJobs by quota, takes them back for what matters more, and gives them their place again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from millrace.engine.clock import moment
from millrace.kube.client import Client
from millrace.kube.errors import ApiError
from millrace.kube.resources import EVENTS, JOBS, PODS, SERVICES, Resource
from support import cluster
from support.cluster import (
    TRAINING_JOBS,
    WRITE_MODEL,
    Running,
    busybox,
    condition,
    eventually,
    gone,
    training_job,
)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),  # the first test may have to build Kueue
    pytest.mark.xdist_group("kueue"),
]
Object = dict[str, Any]

GROUP = "kueue.x-k8s.io"
FLAVORS = Resource(GROUP, "v1beta1", "resourceflavors", "ResourceFlavor", namespaced=False)
CLUSTER_QUEUES = Resource(GROUP, "v1beta1", "clusterqueues", "ClusterQueue", namespaced=False)
QUEUES = Resource(GROUP, "v1beta1", "localqueues", "LocalQueue")
PRIORITIES = Resource(GROUP, "v1beta1", "workloadpriorityclasses", "WorkloadPriorityClass", namespaced=False)
WORKLOADS = Resource(GROUP, "v1beta1", "workloads", "Workload")

reaches = functools.partial(cluster.reaches, timeout=180.0)
QUOTA = "200m"
GANG: Object = {"queueName": "queue", "nodes": 2, "resources": {"cpu": "60m", "memory": "64Mi"}}
"""More than half of the quota: two do not fit."""


@pytest.fixture(scope="session", autouse=True)
def kueue() -> None:
    """Kueue in the cluster that KUBECONFIG names; built and started where it is not."""
    name = Path(os.environ.get("KUBECONFIG", "none")).parent.name
    argv = [sys.executable, "-m", "millrace.cli.local", "addon", "kueue", "--name", name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=1500)
    if done.returncode != 0:
        pytest.fail(f"Kueue cannot be had in the local cluster {name!r}:\n{done.stdout}{done.stderr}")


@pytest.fixture
async def queue(client: Client, ns: str) -> AsyncIterator[str]:
    """A queue of the test's own with room for one gang. Its name is that of everything of it that is the cluster's."""
    quotas = [{"name": "cpu", "nominalQuota": QUOTA}, {"name": "memory", "nominalQuota": "8Gi"}]
    room = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": ns, "resources": quotas}]}
    spec = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [room],
    }
    shared = {FLAVORS: {"spec": {}}, CLUSTER_QUEUES: {"spec": spec}, PRIORITIES: {"value": 1000, "description": "urgent"}}
    for resource, body in shared.items():
        await make(client, resource, {"metadata": {"name": ns}, **body})
    await make(client, QUEUES, {"metadata": {"name": "queue", "namespace": ns}, "spec": {"clusterQueue": ns}})
    yield ns
    for resource in (CLUSTER_QUEUES, FLAVORS, PRIORITIES):
        with contextlib.suppress(ApiError):
            await client.delete(resource, None, ns)


async def make(client: Client, resource: Resource, manifest: Object) -> None:
    await client.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind, **manifest})


async def listed(client: Client, resource: Resource, ns: str, labels: str = "millrace.dev/role=train") -> list[Object]:
    return [o async for o in client.list_objects(resource, ns, labels=labels)]


async def one_job(client: Client, ns: str, owner: str) -> Object:
    """The only Job of a TrainingJob."""
    found = [j for j in await listed(client, JOBS, ns) if j["metadata"]["ownerReferences"][0]["name"] == owner]
    assert len(found) == 1, [j["metadata"]["name"] for j in found]
    return found[0]


async def test_a_run_waits_in_the_queue_until_there_is_room(client: Client, ns: str, queue: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "a", "sleep 600", kubernetes=GANG))
    await reaches(client, TRAINING_JOBS, ns, "a", "Running")
    await client.create(TRAINING_JOBS, training_job(ns, "b", WRITE_MODEL, kubernetes=GANG))
    waiting = await reaches(client, TRAINING_JOBS, ns, "b", "Queued")
    assert "queue 'queue'" in condition(waiting)["message"]
    assert condition(waiting)["status"] == "Unknown"
    assert condition(waiting, "Stalled") == {}
    assert (await one_job(client, ns, "b"))["spec"]["suspend"] is True
    pods = await listed(client, PODS, ns)
    assert {p["metadata"]["ownerReferences"][0]["name"] for p in pods} == {(await one_job(client, ns, "a"))["metadata"]["name"]}

    await client.delete(TRAINING_JOBS, ns, "a")
    done = await reaches(client, TRAINING_JOBS, ns, "b", "Succeeded")
    assert done["status"]["attempt"] == 1
    assert done["status"]["model"]["files"] == 2
    assert condition(done)["status"] == "True"


async def test_a_run_outside_of_every_queue_does_not_wait(client: Client, ns: str, queue: str, running: Running) -> None:
    free = {name: value for name, value in GANG.items() if name != "queueName"}
    await client.create(TRAINING_JOBS, training_job(ns, "t", WRITE_MODEL, kubernetes={**free, "nodes": 4}))
    await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert [w async for w in client.list_objects(WORKLOADS, ns)] == []


async def test_suspending_a_run_that_waits_gives_up_its_place(client: Client, ns: str, queue: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "a", "sleep 600", kubernetes=GANG))
    await reaches(client, TRAINING_JOBS, ns, "a", "Running")
    await client.create(TRAINING_JOBS, training_job(ns, "b", WRITE_MODEL, kubernetes=GANG))
    await reaches(client, TRAINING_JOBS, ns, "b", "Queued")
    await client.patch(TRAINING_JOBS, ns, "a", {"spec": {"suspend": True}})
    await reaches(client, TRAINING_JOBS, ns, "a", "Suspended")
    await reaches(client, TRAINING_JOBS, ns, "b", "Succeeded")


FIRST_WAITS = f"""
marker=$MILLRACE_OUTPUT_DIR/../started-$MILLRACE_NODE_RANK
echo "$MILLRACE_ATTEMPT" >> $marker
if [ "$(wc -l < $marker)" = 1 ]; then sleep 600; fi
test "$(cat $marker)" = "$(printf '1\\n1')" || {{ echo not twice in attempt 1; exit 3; }}
sleep 2
{WRITE_MODEL}
"""


GRACES = [
    pytest.param(3, id="its pods are gone before it is admitted again"),
    pytest.param(45, id="its pods still make their checkpoint when it is admitted again"),
]


@pytest.mark.parametrize("grace", GRACES)
async def test_a_run_that_is_preempted_goes_on_in_the_same_attempt(
    client: Client, ns: str, queue: str, running: Running, grace: int
) -> None:
    shape = {**GANG, "terminationGracePeriodSeconds": grace}
    manifest = training_job(ns, "t", FIRST_WAITS, kubernetes=shape, limits={"maxRestarts": 0})
    await client.create(TRAINING_JOBS, manifest)
    first = await reaches(client, TRAINING_JOBS, ns, "t", "Running")
    began, job = first["status"]["attemptStartTime"], await one_job(client, ns, "t")
    await asyncio.sleep(4)

    await client.create(JOBS, _urgent(ns))
    taken = await reaches(client, TRAINING_JOBS, ns, "t", "Queued")
    await _admitted(client, ns, "urgent")
    if grace == 3:
        await eventually(lambda: _no_pods(client, ns), "the pods that were taken back are gone")
    taken = await client.get(TRAINING_JOBS, ns, "t")
    assert condition(taken)["reason"] == "Queued"
    assert taken["status"]["attempt"] == 1
    assert not taken["status"].get("endedAttempt")
    assert taken["status"].get("attemptStartTime") is None
    before = taken["status"]["runningSeconds"]
    assert before >= 3
    assert not (taken["status"].get("restarts") or {}).get("count")
    assert not (taken["status"].get("restarts") or {}).get("uncounted")
    assert (await one_job(client, ns, "t"))["metadata"]["uid"] == job["metadata"]["uid"]

    await client.delete(JOBS, ns, "urgent")
    await _admitted(client, ns, job["metadata"]["name"])
    old = [p for p in await listed(client, PODS, ns) if p["metadata"].get("deletionTimestamp")]
    assert bool(old) is (grace > 3), "what this case is about"
    again = await reaches(client, TRAINING_JOBS, ns, "t", "Running")
    assert moment(again["status"]["attemptStartTime"]) > moment(began)
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["attempt"] == 1
    assert done["status"]["runningSeconds"] >= before + 2
    assert not (done["status"].get("restarts") or {}).get("count")
    assert not (done["status"].get("restarts") or {}).get("uncounted")
    assert (await one_job(client, ns, "t"))["metadata"]["uid"] == job["metadata"]["uid"]
    assert len(await listed(client, SERVICES, ns)) <= 1
    told = [e async for e in client.list_objects(EVENTS, ns, fields="involvedObject.kind=TrainingJob,involvedObject.name=t")]
    assert [e["message"] for e in told if e["type"] == "Warning"] == []


async def test_a_run_can_be_deleted_while_it_waits(client: Client, ns: str, queue: str, running: Running) -> None:
    too_much = {**GANG, "nodes": 9}
    await client.create(TRAINING_JOBS, training_job(ns, "t", WRITE_MODEL, kubernetes=too_much))
    await reaches(client, TRAINING_JOBS, ns, "t", "Queued")
    await client.delete(TRAINING_JOBS, ns, "t")
    await gone(client, TRAINING_JOBS, ns, "t")
    assert await listed(client, JOBS, ns) == []


def _urgent(ns: str) -> Object:
    container = {
        "name": "urgent",
        "image": busybox(),
        "command": ["sleep", "600"],
        "resources": {"requests": {"cpu": "120m", "memory": "16Mi"}},
    }
    marks = {f"{GROUP}/queue-name": "queue", f"{GROUP}/priority-class": ns}
    template = {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}}
    return {"metadata": {"name": "urgent", "namespace": ns, "labels": marks}, "spec": {"template": template}}


async def _admitted(client: Client, ns: str, name: str) -> None:
    async def check() -> bool:
        return not (await client.get(JOBS, ns, name))["spec"].get("suspend")

    async def show() -> Any:
        return [w.get("status") async for w in client.list_objects(WORKLOADS, ns)]

    await eventually(check, f"Job {name} is admitted", show=show)


async def _no_pods(client: Client, ns: str) -> bool:
    return not await listed(client, PODS, ns)
