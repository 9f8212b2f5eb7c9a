"""What pods tell of themselves, and which of it matters most."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace_controllers.modelendpoint.backends.kubernetes import observe
from millrace_controllers.modelendpoint.observed import Fault
from support.builders import MODEL_DIGEST, condition

Object = dict[str, Any]
READ = {"state": {"terminated": {"exitCode": 0, "message": json.dumps({"ok": True, "digest": MODEL_DIGEST})}}}


def refused(message: str) -> Object:
    return {"lastState": {"terminated": {"exitCode": 1, "message": json.dumps({"ok": False, "message": message})}}}


def pod(*, ready: bool = False, scheduled: bool = True, **containers: Object) -> Object:
    made = {name: {"name": name, **state} for name, state in containers.items()}
    states = [condition("Ready", str(ready)), condition("PodScheduled", str(scheduled), message="0/2 nodes")]
    status = {
        "conditions": states,
        "initContainerStatuses": [made[n] for n in ("model", "golden") if n in made],
        "containerStatuses": [made["serve"]] if "serve" in made else [],
    }
    labels = {"millrace.dev/revision": "rev"}
    return {"metadata": {"name": "chat-1", "labels": labels}, "status": status}


CRASHED = {"lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "line one\nno tokenizer.json\n"}}}
TOLD = {
    "lastState": {"terminated": {"exitCode": 1, "message": '{"schema": 1, "reason": "BadParameter", "message": "no such one"}'}}
}
KILLED = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
NO_IMAGE = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
# pod, fault, words of its message, reason
TROUBLES: list[tuple[Object, Fault | None, str, str]] = [
    (pod(model=READ, serve={}), None, "", "it is loading"),
    (pod(scheduled=False), Fault.START, "0/2 nodes", "no node has room"),
    (pod(model=READ, serve=NO_IMAGE), Fault.START, "ImagePullBackOff: not found", "the image is not there"),
    (pod(model=refused("it has digest x")), Fault.MODEL, "it has digest x", "the files are others"),
    (pod(model=READ, golden=refused("the answer was 500")), Fault.PROBE, "the answer was 500", "the wrong answer"),
    (pod(model=READ, serve=CRASHED), Fault.SERVER, "exit code 1: no tokenizer.json", "its last line says why"),
    (pod(model=READ, serve=TOLD), Fault.SERVER, "exit code 1: no such one", "it knows the contract"),
    (pod(model=READ, serve=KILLED), Fault.SERVER, "exit code 137: OOMKilled", "its memory was too small"),
    (pod(model=READ, golden=refused("wrong"), serve=CRASHED), Fault.PROBE, "wrong", "the answer tells more than the crash"),
]


@pytest.mark.parametrize(("found", "fault", "words", "reason"), TROUBLES, ids=[t[-1] for t in TROUBLES])
def test_what_keeps_a_pod_from_serving(found: Object, fault: Fault | None, words: str, reason: str) -> None:
    seen = observe.serving_pod(found).trouble
    assert (seen.fault if seen else None) is fault, reason
    assert words in (seen.message if seen else ""), reason


def test_a_ready_pod_has_no_trouble_whatever_went_before() -> None:
    assert observe.serving_pod(pod(ready=True, model=READ, golden=refused("wrong"))).trouble is None


def test_the_digest_is_what_the_pods_own_reader_found() -> None:
    assert observe.serving_pod(pod(model=READ)).digest == MODEL_DIGEST
    assert observe.serving_pod(pod(model=refused("x"))).digest is None
    within = pod(serve={"imageID": "docker.io/library/x@sha256:abc"})
    assert observe.serving_pod(within).digest == "sha256:abc", "a model within an image has the image's"


def test_a_deployment_whose_pods_are_refused_says_so() -> None:
    found = {
        "metadata": {"name": "d", "generation": 4, "labels": {"millrace.dev/revision": "rev"}},
        "spec": {"replicas": 2},
        "status": {"conditions": [condition("ReplicaFailure", message="exceeded quota")]},
    }
    seen = observe.deployed(found)
    assert seen is not None
    assert (seen.revision, seen.replicas, seen.generation, seen.refused) == ("rev", 2, 4, "exceeded quota")
    assert observe.deployed({**found, "metadata": {**found["metadata"], "deletionTimestamp": "now"}}) is None
