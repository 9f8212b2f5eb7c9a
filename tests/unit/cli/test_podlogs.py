"""Which pod and container's log an object's user means."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.cli.podlogs import Choice, chosen, container_of, not_started
from millrace.cli.problems import Exit, Problem
from millrace.kube import labels


def pod(name: str, attempt: int = 1, rank: int = 0, role: str = "train", age: int = 0) -> dict[str, Any]:
    marks = {labels.ATTEMPT: str(attempt), labels.ROLE: role, "batch.kubernetes.io/job-completion-index": str(rank)}
    stamp = f"2026-01-01T00:00:{age:02d}Z"
    return {
        "metadata": {"name": name, "labels": marks, "creationTimestamp": stamp},
        "spec": {
            "initContainers": [{"name": "preflight"}, {"name": "tail", "restartPolicy": "Always"}],
            "containers": [{"name": "train"}],
        },
        "status": {},
    }


PODS = [
    pod("a1r0"),
    pod("a1r1", rank=1),
    pod("a2r0", attempt=2),
    pod("a2r1", attempt=2, rank=1),
    pod("reader", 2, 0, "verify", 9),
]


@pytest.mark.parametrize(
    ("choice", "expected", "reason"),
    [
        (Choice(), "a2r0", "the latest attempt's rank 0, and not the reader that ran after it"),
        (Choice(rank=1), "a2r1", "a rank of the latest attempt"),
        (Choice(attempt=1), "a1r0", "an earlier attempt"),
        (Choice(rank=1, attempt=1), "a1r1", "both"),
    ],
)
def test_the_pod_that_is_meant(choice: Choice, expected: str, reason: str) -> None:
    assert chosen(PODS, choice, "trainingjob/gpt")["metadata"]["name"] == expected, reason


def test_of_several_pods_of_one_rank_the_newest_is_meant() -> None:
    assert chosen([pod("old", age=1), pod("new", age=5)], Choice(), "dataset/d")["metadata"]["name"] == "new"


@pytest.mark.parametrize(
    ("pods", "choice", "next_step"),
    [
        (PODS, Choice(rank=7), "Ranks with pods: 0, 1."),
        (PODS, Choice(attempt=9), "Attempts with pods: 1, 2."),
        ([], Choice(), "`millrace status trainingjob/gpt` says why"),
    ],
)
def test_a_pod_that_is_not_there_says_which_are(pods: list[Any], choice: Choice, next_step: str) -> None:
    with pytest.raises(Problem) as raised:
        chosen(pods, choice, "trainingjob/gpt")
    assert raised.value.code is Exit.NOT_FOUND
    assert raised.value.next_step.startswith(next_step)


@pytest.mark.parametrize(
    ("statuses", "expected", "reason"),
    [
        ([], "train", "nothing is known"),
        ([{"name": "preflight", "state": {"terminated": {"exitCode": 0}}}], "train", "it did its part"),
        ([{"name": "preflight", "state": {"terminated": {"exitCode": 1}}}], "preflight", "it says why the program never began"),
        ([{"name": "preflight", "state": {"running": {}}}], "preflight", "it is where the pod is"),
        ([{"name": "tail", "state": {"running": {}}}], "train", "a sidecar runs beside the program"),
    ],
)
def test_the_container_that_tells_most(statuses: list[Any], expected: str, reason: str) -> None:
    assert container_of({**pod("a"), "status": {"initContainerStatuses": statuses}}, "") == expected, reason


def test_a_container_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(Problem) as raised:
        container_of(pod("a"), "nope")
    assert raised.value.next_step == "Containers are: preflight, tail, train."


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"containerStatuses": [{"name": "train", "state": {"running": {}}}]}, None),
        ({"containerStatuses": [{"name": "train", "state": {"terminated": {}}}]}, None),
        (
            {
                "containerStatuses": [
                    {"name": "train", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
                ]
            },
            "ImagePullBackOff: no such image",
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]}, "0/2 nodes"),
        ({}, "the pod has not started"),
    ],
)
def test_why_there_is_no_log_yet(status: dict[str, Any], expected: str | None) -> None:
    assert not_started({**pod("a"), "status": status}, "train") == expected
