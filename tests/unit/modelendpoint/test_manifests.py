"""The pods of an endpoint: what they are told, what holds them back, and how they end."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from millrace.engine.settings import Images, Settings
from millrace.kube import labels
from millrace_controllers.modelendpoint.backends.kubernetes import manifests
from millrace_controllers.modelendpoint.observed import Target
from support.builders import MODEL_DIGEST, endpoint, typed_endpoint

Object = dict[str, Any]
SETTINGS = Settings(images=Images("operator:1", "trainer:1", "dataset:1"), progress_url="http://progress.test/v1/progress")
FOREIGN = {"image": "example.test/server:1", "command": ["serve"]}
VLLM = {"kubernetes": FOREIGN}
CUSTOM = {"kubernetes": {**FOREIGN, "protocol": "Custom", "readyPath": "/up"}}


def pod_of(uri: str = "claim://results/gpt/model", digest: str | None = MODEL_DIGEST, **change: Any) -> Object:
    made = manifests.deployment(endpoint(**change), typed_endpoint(**change), Target(uri, digest, "rev"), SETTINGS)
    pod: Object = made["spec"]["template"]["spec"]
    return pod


def container(pod: Object, name: str) -> Object:
    return next(c for c in (*pod["initContainers"], *pod["containers"]) if c["name"] == name)


def told(pod: Object, name: str = "serve") -> dict[str, str]:
    return {e["name"]: e["value"] for e in container(pod, name)["env"]}


def task(pod: Object, name: str) -> Object:
    found: Object = json.loads(told(pod, name)["MILLRACE_TASK"])
    return found


def test_our_server_is_told_its_model_and_how_to_end() -> None:
    pod = pod_of(kubernetes={"parameters": {"maxQueue": "8"}, "drainSeconds": 7})
    server = container(pod, "serve")
    assert (server["image"], server["command"]) == ("trainer:1", ["python", "-m", "millrace_serve"])
    assert told(pod) == {
        "MILLRACE_MODEL_DIR": "/millrace/claims/results/gpt/model",
        "MILLRACE_MODEL_NAME": "chat",
        "MILLRACE_MODEL_DIGEST": MODEL_DIGEST,
        "MILLRACE_PORT": "8080",
        "MILLRACE_SERVE_PARAMETERS": '{"maxQueue": "8"}',
        "MILLRACE_DRAIN_SECONDS": "7",
        "MILLRACE_GRACE_SECONDS": "60",
    }
    assert "lifecycle" not in server, "it drains by itself"


def test_a_server_that_knows_nothing_of_draining_is_stopped_only_when_nobody_asks_it_any_more() -> None:
    assert container(pod_of(**VLLM), "serve")["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert "lifecycle" not in container(pod_of(kubernetes={**FOREIGN, "drainSeconds": 0}), "serve")


def test_the_model_is_read_before_the_server_starts_and_nothing_can_write_to_it() -> None:
    pod = pod_of()
    assert [c["name"] for c in pod["initContainers"]] == ["model", "golden"]
    assert task(pod, "model") == {"path": "/millrace/claims/results/gpt/model", "digest": MODEL_DIGEST}
    claims = [v for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert [v["persistentVolumeClaim"] for v in claims] == [{"claimName": "results", "readOnly": True}]
    for name in ("model", "serve"):
        mounts = [m for m in container(pod, name)["volumeMounts"] if m["name"] == claims[0]["name"]]
        assert [m["readOnly"] for m in mounts] == [True], name


def test_a_model_within_an_image_needs_no_claim() -> None:
    pod = pod_of("file:///models/smol", None, model={"uri": "file:///models/smol", "digest": None}, **VLLM)
    assert told(pod)["MILLRACE_MODEL_DIR"] == "/models/smol"
    assert [v for v in pod["volumes"] if "persistentVolumeClaim" in v] == []
    assert [c["name"] for c in pod["initContainers"]] == ["golden"]


# change of the spec, the request that is sent, readiness path, reason
GOLDEN: list[tuple[Object, Object | None, str, str]] = [
    ({}, {"method": "POST", "path": "/v1/completions", "body": {"model": "chat", "prompt": "Hello", "max_tokens": 1}}, "/ready", "ours"),
    (VLLM, {"method": "GET", "path": "/v1/models", "body": None}, "/health", "names of foreign models are not known"),
    (CUSTOM, None, "/up", "nothing is known that could be asked"),
    (
        {"probe": {"request": {"path": "/v1/completions", "body": {"prompt": "1+1="}}}},
        {"method": "POST", "path": "/v1/completions", "body": {"model": "chat", "prompt": "1+1="}},
        "/ready",
        "the model's name is filled in",
    ),
    (
        {**VLLM, "probe": {"request": {"path": "/generate", "body": {"inputs": "x"}}}},
        {"method": "POST", "path": "/generate", "body": {"inputs": "x"}},
        "/health",
        "what is asked of a foreign server is left as it is",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "request_", "path", "reason"), GOLDEN, ids=[g[-1] for g in GOLDEN])
def test_the_golden_request(change: Object, request_: Object | None, path: str, reason: str) -> None:
    pod = pod_of(**change)
    names = [c["name"] for c in pod["initContainers"]]
    assert ("golden" in names) is (request_ is not None), reason
    if request_ is not None:
        asked = task(pod, "golden")
        assert (asked["request"], asked["readyPath"]) == (request_, path), reason
    assert container(pod, "serve")["readinessProbe"]["httpGet"]["path"] == path, reason


def test_the_golden_sidecar_counts_for_the_pods_readiness_and_outlives_the_server() -> None:
    golden = container(pod_of(), "golden")
    assert golden["restartPolicy"] == "Always"
    assert golden["readinessProbe"]["httpGet"]["port"] == task(pod_of(), "golden")["gatePort"] == 8099
    assert task(pod_of(kubernetes={"port": 8099}), "golden")["gatePort"] == 8098, "the server's own port is not taken"


def test_the_sidecar_tells_what_the_answer_took_where_the_operator_takes_pushes() -> None:
    told = task(pod_of(), "golden")["tell"]
    assert told == {
        "url": SETTINGS.progress_url,
        "tokenFile": "/var/run/secrets/millrace/token",
        "uid": endpoint()["metadata"]["uid"],
        "revision": "rev",
    }
    mounts = [m for m in container(pod_of(), "golden")["volumeMounts"] if m["mountPath"] == "/var/run/secrets/millrace"]
    assert [m["name"] for m in mounts] == [v["name"] for v in pod_of()["volumes"] if "projected" in v]
    assert not [m for m in container(pod_of(), "serve")["volumeMounts"] if m in mounts], "the server has no token"


def test_without_a_door_for_pushes_there_is_no_token() -> None:
    shut = replace(SETTINGS, progress_url="")
    made = manifests.deployment(endpoint(), typed_endpoint(), Target("claim://results/x", None, "rev"), shut)
    pod = made["spec"]["template"]["spec"]
    assert "tell" not in task(pod, "golden")
    assert not [v for v in pod["volumes"] if "projected" in v]


def test_pods_have_the_label_that_the_door_looks_for() -> None:
    made = manifests.deployment(endpoint(), typed_endpoint(), Target("claim://results/x", None, "rev"), SETTINGS)
    assert made["spec"]["template"]["metadata"]["labels"][labels.ATTEMPT] == "0"


def test_no_pod_goes_before_another_is_ready() -> None:
    made = manifests.deployment(endpoint(), typed_endpoint(), Target("claim://results/x", None, "rev"), SETTINGS)
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert manifests.budget(endpoint())["spec"]["maxUnavailable"] == 1


def test_service_and_budget_choose_exactly_the_endpoints_pods() -> None:
    owner = endpoint()
    made = manifests.deployment(owner, typed_endpoint(), Target("claim://results/x", None, "rev"), SETTINGS)
    marks = made["spec"]["template"]["metadata"]["labels"]
    chosen = manifests.service(owner, typed_endpoint())["spec"]["selector"]
    assert chosen.items() <= marks.items()
    assert manifests.budget(owner)["spec"]["selector"]["matchLabels"] == chosen == made["spec"]["selector"]["matchLabels"]
    assert manifests.REVISION not in chosen, "old and new pods are behind the same Service"


def test_suspension_asks_for_no_pods() -> None:
    assert manifests.replicas(typed_endpoint(suspend=True)) == 0
    assert manifests.replicas(typed_endpoint()) == 2


def test_gpus_are_asked_for_as_devices() -> None:
    pod = pod_of(kubernetes={"resources": {"cpu": "8", "memory": "64Gi", "gpus": 2}})
    assert container(pod, "serve")["resources"] == {
        "requests": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "2"},
    }
    assert {"name": "shm", "mountPath": "/dev/shm"} in container(pod, "serve")["volumeMounts"]


def test_every_container_passes_the_restricted_level() -> None:
    pod = pod_of()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for made in (*pod["initContainers"], *pod["containers"]):
        assert made["securityContext"]["capabilities"] == {"drop": ["ALL"]}, made["name"]
        assert made["securityContext"]["allowPrivilegeEscalation"] is False, made["name"]
