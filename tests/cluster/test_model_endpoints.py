"""Endpoints on real nodes: who gets requests, and who never does.

The server is a file server in the operator's image: it answers with its model's files, so that every answer tells which model it
came from. Our own server does the same in tests/e2e.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace.engine.settings import Images
from millrace.kube import labels
from millrace.kube.client import Client
from millrace.kube.resources import DEPLOYMENTS, DISRUPTION_BUDGETS, NODES, PODS, SERVICES
from support import cluster
from support.cluster import (
    LIST_FILES,
    MODEL_ENDPOINTS,
    TRAINING_JOBS,
    Running,
    children,
    condition,
    eventually,
    gone,
    model_endpoint,
    reaches,
)
from support.serving import load

pytestmark = pytest.mark.cluster
Object = dict[str, Any]


def speaks(text: str) -> str:
    """A server all of whose answers are one text."""
    return f"cd /tmp && echo {text} > index.html && exec python3 -m http.server $MILLRACE_PORT"


async def pods_of(client: Client, obj: Object) -> list[Object]:
    return await children(client, PODS, obj)


async def status_of(client: Client, ns: str, name: str) -> Object:
    return dict((await client.get(MODEL_ENDPOINTS, ns, name)).get("status") or {})


def url(ns: str, name: str = "t") -> str:
    return f"http://{name}.{ns}.svc:8080/"


async def change(client: Client, ns: str, name: str, **spec: Any) -> None:
    await client.patch(MODEL_ENDPOINTS, ns, name, {"spec": spec})


async def rolled_out(client: Client, ns: str, name: str, generation: int) -> Object:
    async def check() -> Object | None:
        found = await client.get(MODEL_ENDPOINTS, ns, name)
        ready = condition(found, "Ready")
        return found if ready.get("status") == "True" and ready.get("observedGeneration") >= generation else None

    done: Object = await eventually(check, "rolled out", timeout=120, show=lambda: status_of(client, ns, name))
    return done


# -- traffic ------------------------------------------------------------------------------------------------------------


async def test_it_answers_once_its_pods_answered_the_golden_request(client: Client, ns: str, running: Running) -> None:
    await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t", speaks("one"), says="one", kubernetes={"replicas": 2}))
    ready = await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    said = ready["status"]
    assert (said["readyReplicas"], said["replicas"], said["url"]) == (2, 2, url(ns).rstrip("/"))
    assert [(t["pods"], t["percent"]) for t in said["traffic"]] == [(2, 100)]
    assert condition(ready, "Available")["status"] == "True"
    async with load(client, ns, url(ns)) as asking:
        told = await asking.after(20)
    assert (told["failed"], list(told["answers"])) == (0, ["one\n"])


async def test_a_new_revision_takes_over_without_a_failed_request(client: Client, ns: str, running: Running) -> None:
    await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t", speaks("one"), says="one", kubernetes={"replicas": 2}))
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    async with load(client, ns, url(ns)) as asking:
        await asking.after(50)
        second = model_endpoint(ns, "t", speaks("two"), says="two", kubernetes={"replicas": 2})["spec"]
        await change(client, ns, "t", kubernetes=second["kubernetes"], probe=second["probe"])
        await rolled_out(client, ns, "t", 2)
        await asking.hears("two\n")
        told = await asking.after(100)
    assert told["failed"] == 0, told["failures"]
    assert set(told["answers"]) == {"one\n", "two\n"}


async def test_a_pod_that_answers_wrongly_never_gets_a_request(client: Client, ns: str, running: Running) -> None:
    await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t", speaks("good"), says="good"))
    before = await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    async with load(client, ns, url(ns)) as asking:
        bad = model_endpoint(ns, "t", speaks("nonsense"))["spec"]["kubernetes"]
        await change(client, ns, "t", kubernetes=bad)
        failed = await reaches(client, MODEL_ENDPOINTS, ns, "t", "ProbeFailed")
        told = await asking.after(200)
        assert (told["failed"], list(told["answers"])) == (0, ["good\n"]), told
        message = condition(failed, "Ready")["message"]
        assert "contains 'good'; the answer was 200: nonsense" in message, "the probe's answer is told"
        assert "1 pod of the revision before serves on" in message
        assert (condition(failed, "Stalled")["status"], condition(failed, "Available")["status"]) == ("True", "True")
        await change(client, ns, "t", kubernetes=before["spec"]["kubernetes"])
        await rolled_out(client, ns, "t", 3)
        told = await asking.after(50)
    assert (told["failed"], list(told["answers"])) == (0, ["good\n"]), told


WRITE = "echo {text} > $MILLRACE_OUTPUT_DIR/answer"


async def test_a_run_moves_the_endpoint_only_once_it_has_succeeded(client: Client, ns: str, running: Running) -> None:
    job = cluster.training_job(ns, "run", WRITE.format(text="first"), runID="1")
    endpoint = model_endpoint(ns, "t", LIST_FILES, asks="/answer", model={"trainingJobRef": {"name": "run"}})
    await client.create(MODEL_ENDPOINTS, endpoint)
    waits = await reaches(client, MODEL_ENDPOINTS, ns, "t", "ModelNotReady")
    assert "TrainingJob 'run' does not exist" in condition(waits, "Ready")["message"]
    await client.create(TRAINING_JOBS, job)
    first = await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    made = (await client.get(TRAINING_JOBS, ns, "run"))["status"]["model"]
    assert first["status"]["model"]["digest"] == made["digest"] == first["status"]["traffic"][0]["digest"]
    async with load(client, ns, f"{url(ns)}answer") as asking:
        elsewhere = {"claim": {"name": "results", "path": "run-2"}}
        again = f"until test -e $MILLRACE_OUTPUT_DIR/go; do sleep 0.2; done; {WRITE.format(text='second')}"
        kubernetes = {**job["spec"]["kubernetes"], "args": [again]}
        await client.patch(TRAINING_JOBS, ns, "run", {"spec": {"runID": "2", "output": elsewhere, "kubernetes": kubernetes}})
        await reaches(client, TRAINING_JOBS, ns, "run", "Running")

        async def noted() -> bool:
            return "nothing newer is served" in condition(await client.get(MODEL_ENDPOINTS, ns, "t"), "Ready")["message"]

        await eventually(noted, "it says that a newer run is under way")
        told = await asking.after(50)
        assert list(told["answers"]) == ["first\n"], "a run under way moves nothing"
        await _touch(client, ns, "results", "run-2/go")
        await reaches(client, TRAINING_JOBS, ns, "run", "Succeeded")

        async def moved() -> Object | None:
            found = await client.get(MODEL_ENDPOINTS, ns, "t")
            done = found["status"]["model"].get("runID") == "2" and condition(found, "Ready")["status"] == "True"
            return found if done else None

        now = await eventually(moved, "the second model serves", timeout=120)
        told = await asking.hears("second\n")
    assert now["status"]["model"]["digest"] != made["digest"]
    assert (told["failed"], set(told["answers"])) == (0, {"first\n", "second\n"}), told


async def _touch(client: Client, ns: str, claim: str, path: str) -> None:
    """As the program's user would, from a pod of its own."""
    container = {
        "name": "touch",
        "image": cluster.busybox(),
        "command": ["touch", f"/data/{path}"],
        "securityContext": {"runAsUser": 65532},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    await client.create(PODS, {"metadata": {"name": "touch", "namespace": ns}, "spec": spec})


# -- money and nodes ----------------------------------------------------------------------------------------------------


async def test_suspension_frees_the_pods_and_keeps_the_name(client: Client, ns: str, running: Running) -> None:
    obj = await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t"))
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    address = (await client.get(SERVICES, ns, "t"))["spec"]["clusterIP"]
    await change(client, ns, "t", suspend=True)

    async def freed() -> bool:
        return not await pods_of(client, obj)

    await eventually(freed, "no pod is left")
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Suspended")
    await change(client, ns, "t", suspend=False)
    await rolled_out(client, ns, "t", 3)
    assert (await client.get(SERVICES, ns, "t"))["spec"]["clusterIP"] == address


async def test_a_drained_node_interrupts_nothing(client: Client, ns: str, running: Running) -> None:
    obj = await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t", speaks("one"), kubernetes={"replicas": 2}))
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    homes = {p["metadata"]["name"]: p["spec"]["nodeName"] for p in await pods_of(client, obj)}
    assert len(set(homes.values())) == 2, "they are spread over the nodes"
    async with load(client, ns, url(ns)) as asking:
        home = (await client.get(PODS, ns, asking.name))["spec"]["nodeName"]
        drained = next(node for node in homes.values() if node != home)
        await client.patch(NODES, None, drained, {"spec": {"unschedulable": True}})
        try:
            for name in [n for n, node in homes.items() if node == drained]:
                await _evict(client, ns, name)
                await asking.after(100)
            await rolled_out(client, ns, "t", 1)
        finally:
            await client.patch(NODES, None, drained, {"spec": {"unschedulable": None}})
        told = await asking.after(50)
    assert told["failed"] == 0, told["failures"]


async def _evict(client: Client, ns: str, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": ns}}
    await client.raw("POST", f"/api/v1/namespaces/{ns}/pods/{pod}/eviction", body)


# -- what can be wrong --------------------------------------------------------------------------------------------------

WRONG_DIGEST = {"uri": "claim://results/model", "digest": "sha256:" + "0" * 64}
# change of the endpoint, reason, words of the message, why
TROUBLES: list[tuple[Callable[[str], Object], str, str, str]] = [
    (lambda ns: model_endpoint(ns, "t", "echo no such model >&2; exit 3"), "ServerFailed", "exit code 3", "it crashes"),
    (
        lambda ns: model_endpoint(ns, "t", kubernetes={"image": "localhost/no/such:image", "imagePullPolicy": "Never"}),
        "PodsWait",
        "ErrImageNeverPull",
        "its image is not there",
    ),
    (lambda ns: model_endpoint(ns, "t", model=WRONG_DIGEST), "ModelRefused", "is not a folder", "its model is not there"),
    (
        lambda ns: model_endpoint(ns, "t", kubernetes={"resources": {"cpu": "900"}}),
        "PodsWait",
        "Insufficient cpu",
        "no node has room",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("made", "reason", "words", "why"), TROUBLES, ids=[t[-1] for t in TROUBLES])
async def test_what_is_wrong_is_said(
    client: Client, ns: str, running: Running, made: Callable[[str], Object], reason: str, words: str, why: str
) -> None:
    await client.create(MODEL_ENDPOINTS, made(ns))
    found = await reaches(client, MODEL_ENDPOINTS, ns, "t", reason)
    assert words in condition(found, "Ready")["message"], why
    assert condition(found, "Available")["status"] == "False", why


async def test_a_strangers_service_is_not_taken_over(client: Client, ns: str, running: Running) -> None:
    ports = [{"port": 80}]
    await client.create(SERVICES, {"metadata": {"name": "t", "namespace": ns}, "spec": {"ports": ports}})
    await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t"))
    found = await reaches(client, MODEL_ENDPOINTS, ns, "t", "NameConflict")
    assert "Service 't' exists" in condition(found, "Ready")["message"]
    assert (await client.get(SERVICES, ns, "t"))["spec"]["ports"][0]["port"] == 80


# -- the operator's own comings and goings ------------------------------------------------------------------------------


async def test_a_newer_operator_restarts_no_endpoint(client: Client, ns: str) -> None:
    async with cluster.operator(cluster.settings(ns)):
        obj = await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t"))
        await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    before = {p["metadata"]["uid"] for p in await pods_of(client, obj)}
    newer = Images(operator="localhost/no/such:operator", trainer="localhost/no/such:trainer", dataset="x")
    async with cluster.operator(cluster.settings(ns, images=newer)):
        await change(client, ns, "t", kubernetes={"replicas": 2})

        async def scaled() -> bool:
            return (await status_of(client, ns, "t")).get("readyReplicas") == 2

        await eventually(scaled, "there is another pod of the old template")
    assert before <= {p["metadata"]["uid"] for p in await pods_of(client, obj)}


async def test_pods_become_ready_while_there_is_no_operator(client: Client, ns: str) -> None:
    async with cluster.operator(cluster.settings(ns)):
        obj = await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t", speaks("one"), says="one"))
        await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    [only] = await pods_of(client, obj)
    await client.delete(PODS, ns, only["metadata"]["name"], grace=0)

    async def another() -> bool:
        found = [p for p in await pods_of(client, obj) if p["metadata"]["uid"] != only["metadata"]["uid"]]
        return any(c["type"] == "Ready" and c["status"] == "True" for p in found for c in p["status"].get("conditions", ()))

    await eventually(another, "its successor has passed the golden request")


async def test_outside_its_hours_nothing_runs(client: Client, ns: str, running: Running) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    closed = {"from": later.strftime("%H:%M"), "to": (later + timedelta(minutes=1)).strftime("%H:%M")}
    wanted = model_endpoint(ns, "t", speaks("one"))
    obj = await client.create(MODEL_ENDPOINTS, {**wanted, "spec": {**wanted["spec"], "schedule": {"up": [closed]}}})
    shut = await reaches(client, MODEL_ENDPOINTS, ns, "t", "OutsideHours")
    assert condition(shut, "Stalled") == {}
    assert await pods_of(client, obj) == []
    always = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "00:00"}]
    await change(client, ns, "t", schedule={"up": always})
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")


async def test_what_somebody_changed_by_hand_is_put_right(client: Client, ns: str, running: Running) -> None:
    obj = await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t", speaks("one")))
    ready = await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    deployment = ready["status"]["externalID"]
    meddled = {"spec": {"template": {"spec": {"containers": [{"name": "serve", "args": ["exit 1"]}]}}}}
    path = DEPLOYMENTS.path(ns, deployment)
    await client._call("patch", DEPLOYMENTS, "PATCH", path, meddled, content="application/strategic-merge-patch+json")

    async def mended() -> bool:
        found = await client.get(DEPLOYMENTS, ns, deployment)
        return found["spec"]["template"]["spec"]["containers"][0]["args"] == [speaks("one")]

    async def alone() -> bool:
        """The surplus pod of the meddled template goes after the template is mended, in the Deployment's own time."""
        staying = [p for p in await pods_of(client, obj) if not p["metadata"].get("deletionTimestamp")]
        return len(staying) == 1 and condition(staying[0], "Ready").get("status") == "True"

    await eventually(mended, "the template is as the spec says")
    await eventually(alone, "one pod, and that one ready")
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")


async def test_deleting_it_leaves_nothing(client: Client, ns: str, running: Running) -> None:
    obj = await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t"))
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    await client.delete(MODEL_ENDPOINTS, ns, "t")
    await gone(client, MODEL_ENDPOINTS, ns, "t")
    assert [p for p in await pods_of(client, obj) if p["status"]["phase"] not in {"Succeeded", "Failed"}] == []
    for resource in (DEPLOYMENTS, SERVICES, DISRUPTION_BUDGETS):
        await gone(client, resource, ns, "t" if resource is SERVICES else labels.child_name(obj), timeout=20)


async def test_retained_it_serves_on_without_its_object(client: Client, ns: str, running: Running) -> None:
    obj = await client.create(MODEL_ENDPOINTS, model_endpoint(ns, "t", speaks("one"), deletionPolicy="Retain"))
    await reaches(client, MODEL_ENDPOINTS, ns, "t", "Serving")
    async with load(client, ns, url(ns)) as asking:
        await client.delete(MODEL_ENDPOINTS, ns, "t")
        await gone(client, MODEL_ENDPOINTS, ns, "t")
        await asyncio.sleep(3)  # as long as the garbage collector takes for what has no owner any more
        told = await asking.after(50)
    assert told["failed"] == 0, told["failures"]
    assert len(await pods_of(client, obj)) == 1
    assert "ownerReferences" not in (await client.get(SERVICES, ns, "t"))["metadata"], json.dumps(obj["metadata"])
