"""The operator installed by its chart: a run succeeds, outlives an upgrade, and holds up an uninstall."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from millrace.kube.client import Client
from millrace.kube.resources import DEPLOYMENTS, LEASES, PODS, SERVICES
from support import cluster, releases
from support.cluster import TRAINING_JOBS, WRITE_MODEL, eventually, gone, reaches, training_job
from support.releases import Release

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
Object = dict[str, Any]
SENDS_PROGRESS = [{"name": "loss", "regex": "loss=([0-9.]+)"}, {"name": "step", "regex": "step=([0-9]+)"}]
_OPERATORS = "app.kubernetes.io/component=operator"


@pytest.fixture
async def release(client: Client, ns: str) -> AsyncIterator[Release]:
    """The operator in the test's namespace, under the restricted Pod Security Standard."""
    restricted = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await client.patch(cluster.NAMESPACES, None, ns, restricted)
    async with releases.installed(ns) as made:
        yield made


async def operators(client: Client, ns: str) -> list[Object]:
    pods = [p async for p in client.list_objects(PODS, ns, labels=_OPERATORS)]
    return [p for p in pods if not p["metadata"].get("deletionTimestamp")]


async def leader(client: Client, ns: str) -> str:
    """Name of the pod that holds the Lease and carries the label that the progress Service selects."""

    async def check() -> str | None:
        marked = [p async for p in client.list_objects(PODS, ns, labels=f"{_OPERATORS},millrace.dev/leader=true")]
        lease = await client.find(LEASES, ns, "millrace-operator")
        holder = str((lease or {}).get("spec", {}).get("holderIdentity") or "")
        return holder if [p["metadata"]["name"] for p in marked] == [holder] else None

    found: str = await eventually(check, "one operator leads and is labelled", timeout=60)
    return found


async def test_a_run_succeeds_with_the_rights_of_the_chart_and_its_progress_arrives(
    client: Client, ns: str, release: Release
) -> None:
    script = f"for i in 1 2 3 4 5; do echo step=$i loss=0.$i; sleep 1; done; {WRITE_MODEL}"
    await client.create(TRAINING_JOBS, training_job(ns, "t", script, metrics=SENDS_PROGRESS))
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["progress"]["step"] == 5, "pushes reach the Service, the leader and the status"
    assert done["status"]["model"]["files"] == 1
    service = await client.get(SERVICES, ns, "millrace-progress")
    assert service["spec"]["selector"]["millrace.dev/leader"] == "true"


async def test_an_upgrade_in_mid_run_restarts_nothing(client: Client, ns: str, release: Release) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "t", f"sleep 45; {WRITE_MODEL}"))
    before = await reaches(client, TRAINING_JOBS, ns, "t", "Running")
    pods = {p["metadata"]["uid"] async for p in client.list_objects(PODS, ns, labels="millrace.dev/role=train")}
    old = {p["metadata"]["uid"] for p in await operators(client, ns)}
    await release.apply("upgrade", "logLevel=DEBUG")
    assert old.isdisjoint({p["metadata"]["uid"] for p in await operators(client, ns)}), "the operator was replaced"
    after = {p["metadata"]["uid"] async for p in client.list_objects(PODS, ns, labels="millrace.dev/role=train")}
    assert after == pods
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded", timeout=120)
    assert done["status"]["attempt"] == before["status"]["attempt"] == 1


async def test_the_second_replica_takes_over_when_the_leader_dies(client: Client, ns: str, release: Release) -> None:
    await release.apply("upgrade", "replicas=2", "leaderElection.leaseSeconds=5")
    first = await leader(client, ns)
    await client.delete(PODS, ns, first, grace=0)

    async def another() -> str | None:
        found = await leader(client, ns)
        return found if found != first else None

    await eventually(another, "another operator leads", timeout=60)
    await client.create(TRAINING_JOBS, training_job(ns, "t", WRITE_MODEL))
    await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")


async def test_uninstalling_is_refused_while_objects_need_the_operator(client: Client, ns: str, release: Release) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "held", "sleep 300"))
    await reaches(client, TRAINING_JOBS, ns, "held", "Running")
    said = await release.uninstall(fails=True)
    assert f"trainingjob/held in namespace {ns}" in said
    assert "millrace release --all" in said
    deployment = await client.get(DEPLOYMENTS, ns, "millrace")
    assert deployment["status"]["readyReplicas"] == 1, "the operator is still there to take the object down"
    await client.delete(TRAINING_JOBS, ns, "held")
    await gone(client, TRAINING_JOBS, ns, "held")
    await release.uninstall()
    await gone(client, DEPLOYMENTS, ns, "millrace")
