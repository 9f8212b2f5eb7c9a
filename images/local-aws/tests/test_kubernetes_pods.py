"""What the Kubernetes runner reads in pods: which of two counts, where it answers, and that it never will."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_local_aws.dataplane import kubernetes, manifests
from millrace_local_aws.dataplane.manifests import MAIN, TASK, Placement
from millrace_local_aws.dataplane.runner import EndpointTask
from millrace_local_aws.services.bedrock import containers

ENDPOINT = "123456789012/us-east-1/endpoint/1/AllTraffic"
NOT_FOUND = "exec: serve: executable file not found"


def pod(name: str = "a", *, ready: bool = True, going: bool = False, **container: Any) -> dict[str, Any]:
    metadata = {"name": name, "annotations": {TASK: ENDPOINT}} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {})
    status = {
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"name": MAIN, "state": {}, **container}],
    }
    return {"metadata": metadata, "status": status}


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_pods_of_a_task_the_one_that_stays_counts(order: int) -> None:
    found = kubernetes._by_task([pod("old", going=True), pod("new")][::order])
    assert found[ENDPOINT]["metadata"]["name"] == "new"


ADDRESSES = [
    (pod(), "10.0.0.1", "it answers"),
    (pod(ready=False), "", "/ping does not answer"),
    (pod(going=True), "", "it is being stopped, and may still call itself ready"),
]


@pytest.mark.parametrize(("found", "address", "why"), ADDRESSES, ids=[case[2] for case in ADDRESSES])
def test_requests_go_where_somebody_answers(found: dict[str, Any], address: str, why: str) -> None:
    assert kubernetes._address(found) == address, why


ENDS = [
    (pod(state={"running": {}}), None, "it runs"),
    (pod(state={"waiting": {"reason": "PodInitializing"}}), None, "its model is being brought"),
    (pod(lastState={"terminated": {"exitCode": 128, "message": NOT_FOUND}}), [NOT_FOUND], "there is no such program"),
    (pod(lastState={"terminated": {"exitCode": 1}}), [], "it ended, and its own log says why"),
]


@pytest.mark.parametrize(("found", "said", "why"), ENDS, ids=[case[2] for case in ENDS])
def test_a_container_that_ended_before_it_answered_is_seen(found: dict[str, Any], said: list[str] | None, why: str) -> None:
    assert kubernetes._end_of(found) == said, why


def test_what_serves_a_custom_model_of_bedrock_is_a_deployment_with_the_image_that_stands_in() -> None:
    task = containers.serving_task("123456789012/us-east-1", "throughput", "abcdefabcdef", "cm_one-provisioned", 2)
    weights = ("bedrock-models-123456789012-us-east-1", "abcdefabcdef/output/model.tar.gz")
    asked = EndpointTask(task, "x", "AllTraffic", "123456789012", "us-east-1", containers.CUSTOM, {}, weights, "ml.g5.xlarge")
    place = Placement("ns", "local-aws", "http://local-aws:4566", {"aws/bedrock-custom:*": "trainer"})
    found = manifests.serving(place, asked)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "trainer"
    assert found["spec"]["template"]["metadata"]["annotations"][TASK] == task
    assert kubernetes._is_endpoint(task), "one that nobody knows any more is deleted"
    assert not kubernetes._is_endpoint(containers.tuning_task("123456789012/us-east-1", "abcdefabcdef", "job.one"))
