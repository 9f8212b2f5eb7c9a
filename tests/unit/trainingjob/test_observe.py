"""From Jobs, pods and nodes as Kubernetes shows them to what plan.py understands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from millrace_controllers.trainingjob.backends.kubernetes import observe
from millrace_controllers.trainingjob.observed import JobState, RankPod
from support import builders
from support.builders import ago, condition, container, ended_pod, job, merged, node, pod, running_pod, said, training_job
from support.clock import BEGIN

Object = dict[str, Any]
OWNER = training_job()
GOING = {"metadata": {"deletionTimestamp": ago(0)}}

# job, state, reason
JOBS: list[tuple[Object | None, JobState, str]] = [
    (None, JobState.MISSING, "there is none"),
    (job(OWNER), JobState.ACTIVE, "it works"),
    (job(OWNER, spec={"suspend": True}), JobState.SUSPENDED, "its queue holds it"),
    (job(OWNER, 1, condition("Complete")), JobState.COMPLETE, "all ranks ended well"),
    (job(OWNER, 1, condition("Complete", "False")), JobState.ACTIVE, "a condition that is False says nothing"),
    (job(OWNER, 1, condition("SuccessCriteriaMet")), JobState.ACTIVE, "it is nearly complete"),
    (job(OWNER, 1, condition("FailureTarget")), JobState.FAILED, "it will fail: Failed waits for pods on dead nodes"),
    (job(OWNER, 1, condition("Failed")), JobState.FAILED, "it failed"),
    (job(OWNER, **GOING), JobState.DELETING, "somebody deletes it"),
    (job(OWNER, 1, condition("Complete"), **GOING), JobState.DELETING, "a deletion weighs more than its past"),
    (job(OWNER, 1, condition("Failed"), spec={"suspend": True}), JobState.FAILED, "an ended Job is not suspended"),
]


@pytest.mark.parametrize(("given", "state", "reason"), JOBS, ids=[j[-1] for j in JOBS])
def test_where_a_job_is(given: Object | None, state: JobState, reason: str) -> None:
    assert observe.job_state(given) is state, reason


def sidecar(**state: Any) -> Object:
    return {"name": "tail", "state": state}


EVICTED = {"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}
DISRUPTED = {"status": {"conditions": [condition("DisruptionTarget", reason="PreemptionByScheduler", message="preempted")]}}
NOT_DISRUPTED = {"status": {"conditions": [condition("DisruptionTarget", "False")]}}
ONLY_SIDECAR = {"status": {"containerStatuses": [container(waiting={"reason": "PodInitializing"})]}}

# pod, what is seen of it, reason
PODS: list[tuple[Object, Object, str]] = [
    (pod(OWNER), {"scheduled": False, "running": False, "node": None}, "just made"),
    (pod(OWNER, node="n1"), {"scheduled": True, "running": False, "node": "n1"}, "it has a node"),
    (running_pod(OWNER, 3), {"index": 3, "scheduled": True, "running": True}, "it trains"),
    (merged(running_pod(OWNER), ONLY_SIDECAR), {"running": False}, "the sidecar runs, the program does not yet"),
    (running_pod(OWNER, **GOING), {"deleting": True, "running": True}, "somebody deletes it"),
    (merged(pod(OWNER, node="n1"), EVICTED), {"disrupted": "low on memory"}, "the kubelet evicted it"),
    (merged(running_pod(OWNER), DISRUPTED), {"disrupted": "preempted"}, "the scheduler wants its place"),
    (merged(running_pod(OWNER), NOT_DISRUPTED), {"disrupted": None}, "a disruption that did not come"),
    (ended_pod(OWNER, code=0), {"running": False, "exit": (0, "Completed", None)}, "it ended well"),
    (ended_pod(OWNER, code=1, message="boom"), {"exit": (1, "Error", None)}, "it crashed"),
    (ended_pod(OWNER, code=137, reason="OOMKilled"), {"exit": (137, "OOMKilled", None)}, "killed for memory"),
    (ended_pod(OWNER, code=128, reason="StartError"), {"exit": (128, "StartError", None)}, "it could not be started"),
    (ended_pod(OWNER, message=said("NaNLoss")), {"exit": (1, "Error", "NaNLoss")}, "it says why"),
    (ended_pod(OWNER, message='{"no": "reason"}'), {"exit": (1, "Error", None)}, "JSON that is no report"),
    (ended_pod(OWNER, message="[1]"), {"exit": (1, "Error", None)}, "JSON that is no object"),
]


@pytest.mark.parametrize(("given", "expected", "reason"), PODS, ids=[p[-1] for p in PODS])
def test_what_is_seen_of_a_pod(given: Object, expected: Object, reason: str) -> None:
    seen = observe.rank_pod(given)
    for name, value in expected.items():
        found = getattr(seen, name)
        if name == "exit":
            found = (found.code, found.reason, (found.report or {}).get("reason"))
        assert found == value, reason


def test_a_preflight_that_failed_is_seen_though_the_program_never_began() -> None:
    ended = {"exitCode": 1, "reason": "Error", "message": said("InputMissing")}
    status = {"phase": "Failed", "initContainerStatuses": [container("preflight", terminated=ended)]}
    seen = observe.rank_pod(merged(pod(OWNER, node="n1"), {"status": status}))
    assert seen.preflight is not None
    assert seen.preflight.report is not None
    assert seen.preflight.report["reason"] == "InputMissing"
    assert seen.exit is None
    assert seen.crash is seen.preflight


def test_a_deletion_began_its_grace_before_its_timestamp() -> None:
    going = {"metadata": {"deletionTimestamp": ago(-120), "deletionGracePeriodSeconds": 120}}
    assert observe.rank_pod(running_pod(OWNER, **going)).deleted_at == BEGIN


# -- attempts ------------------------------------------------------------------------------------------------------------


def test_ranks_stand_in_their_order() -> None:
    seen = observe.attempt(1, 3, job(OWNER), [running_pod(OWNER, n) for n in (2, 0, 1)], BEGIN)
    assert [p.index for p in seen.pods] == [0, 1, 2]
    assert seen.all_started


@pytest.mark.parametrize("present", [0, 1, 2, 3])
def test_a_group_runs_when_every_rank_does(present: int) -> None:
    seen = observe.attempt(1, 3, job(OWNER), [running_pod(OWNER, n) for n in range(present)], BEGIN)
    assert seen.all_started is (present == 3)


def test_a_group_has_started_though_a_short_rank_has_ended_before_another_was_seen_to_run() -> None:
    apart = [ended_pod(OWNER, 0, code=0), running_pod(OWNER, 1)]
    assert observe.attempt(1, 2, job(OWNER), apart, BEGIN).all_started
    assert not observe.attempt(1, 2, job(OWNER), [ended_pod(OWNER, 0), apart[1]], BEGIN).all_started


# pods, field, text, reason
TROUBLES: list[tuple[Object, str, str | None, str]] = [
    (
        {"containerStatuses": [container(waiting={"reason": "ImagePullBackOff", "message": "no such tag"})]}, "stuck",
        "ImagePullBackOff: no such tag", "an image that cannot be pulled",
    ),
    (
        {"initContainerStatuses": [container("preflight", waiting={"reason": "ErrImagePull"})]}, "stuck",
        "ErrImagePull: no message", "our own image",
    ),
    ({"containerStatuses": [container(waiting={"reason": "PodInitializing"})]}, "stuck", None, "the ordinary start"),
    (
        {"initContainerStatuses": [sidecar(waiting={"reason": "CrashLoopBackOff"})]}, "stuck", None,
        "the native sidecar starts again while the program trains",
    ),
    (
        {"containerStatuses": [container(waiting={"reason": "InvalidImageName", "message": "UPPER"})]}, "invalid_image",
        "InvalidImageName: UPPER", "a name that no attempt can pull",
    ),
    (
        {"conditions": [condition("PodScheduled", "False", "Unschedulable", "0/2 nodes are available")]}, "unschedulable",
        "0/2 nodes are available", "the scheduler's words",
    ),
    ({"conditions": [condition("PodScheduled", "False", "SchedulingGated")]}, "unschedulable", "SchedulingGated", "a gate"),
    ({"conditions": [condition("PodScheduled")]}, "unschedulable", None, "it has a node"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "field", "text", "reason"), TROUBLES, ids=[t[-1] for t in TROUBLES])
def test_what_keeps_a_group_from_running(status: Object, field: str, text: str | None, reason: str) -> None:
    seen = observe.attempt(1, 2, job(OWNER), [running_pod(OWNER, 0), pod(OWNER, 1, status=status)], BEGIN)
    found = getattr(seen, field)
    assert (text is None and found is None) or (found is not None and text is not None and text in found), reason


def test_age_counts_from_when_the_pods_could_first_be_made() -> None:
    assert observe.attempt(1, 1, job(OWNER, status={"startTime": ago(90)}), [], BEGIN).age_seconds == 90
    assert observe.attempt(1, 1, job(OWNER, status={"startTime": None}), [], BEGIN).age_seconds == 0
    assert observe.attempt(1, 1, None, [], BEGIN).age_seconds == 0


# the Job's start, the pod's creation and deletion in seconds ago, whether the pod counts, reason
TAKEN_BACK: list[tuple[int | None, int, int | None, bool, str]] = [
    (10, 60, 30, False, "a queue took it back before it gave the Job its place again"),
    (10, 9, 5, True, "it was deleted after the start"),
    (10, 60, 2, False, "its grace is over: the kubelet deletes it anew"),
    (10, 11, 5, True, "the clocks of the API server and the Job's controller are apart"),
    (None, 60, 30, False, "its Job is admitted again, which the Job's controller has not seen yet"),
    (None, 60, None, True, "it is not being deleted"),
]


@pytest.mark.parametrize(("started", "made", "deleted", "counts", "reason"), TAKEN_BACK, ids=[t[-1] for t in TAKEN_BACK])
def test_pods_that_a_queue_took_back_are_none_of_the_attempt_that_it_gave_its_place_again(
    started: int | None, made: int, deleted: int | None, counts: bool, reason: str
) -> None:
    grace = 120
    going = {} if deleted is None else {"deletionTimestamp": ago(deleted - grace), "deletionGracePeriodSeconds": grace}
    pod = running_pod(OWNER, 0, metadata={"creationTimestamp": ago(made), **going})
    back = job(OWNER, status={"startTime": None if started is None else ago(started)})
    assert len(observe.attempt(1, 1, back, [pod], BEGIN).pods) == counts, reason


def test_pods_whose_job_is_gone_were_not_taken_back_by_a_queue() -> None:
    pod = running_pod(OWNER, 0, metadata={"deletionTimestamp": ago(1), "deletionGracePeriodSeconds": 0})
    assert len(observe.attempt(1, 1, None, [pod], BEGIN).pods) == 1


def test_the_reason_of_a_failed_job_and_the_image_that_ran_are_told() -> None:
    failed = job(OWNER, 1, condition("FailureTarget", reason="BackoffLimitExceeded", message="too many"))
    seen = observe.attempt(1, 1, failed, [running_pod(OWNER)], BEGIN)
    assert seen.failure == "BackoffLimitExceeded: too many"
    assert seen.image_digest == "sha256:image"


def test_all_ended_well_only_with_all_there() -> None:
    well = [ended_pod(OWNER, n, code=0) for n in range(2)]
    assert observe.attempt(1, 2, job(OWNER), well, BEGIN).all_ended_well
    assert not observe.attempt(1, 3, job(OWNER), well, BEGIN).all_ended_well
    assert not observe.attempt(1, 2, job(OWNER), [well[0], ended_pod(OWNER, 1)], BEGIN).all_ended_well


# -- nodes ---------------------------------------------------------------------------------------------------------------

# node, trouble, reason
NODES: list[tuple[Object | None, str | None, str]] = [
    (node(), None, "it is well"),
    (None, "the node is gone", "it is gone"),
    (node("n", condition("Ready", "False", "KubeletNotReady")), "not Ready (KubeletNotReady)", "its kubelet says so"),
    (node("n", condition("Ready", "Unknown", "NodeStatusUnknown")), "not Ready (NodeStatusUnknown)", "nobody hears of it"),
    (
        node("n", condition("Ready"), condition("AcceleratedHardwareReady", "False", "DCGMError")),
        "AcceleratedHardwareReady is False (DCGMError)", "the monitoring agent found a broken GPU",
    ),
    (node("n", condition("Ready"), condition("KernelReady", "Unknown")), None, "an agent that does not know says nothing"),
    (node("n", condition("Ready"), condition("MemoryPressure", "False")), None, "no pressure is no trouble"),
    (node("n", condition("KernelReady")), None, "a node whose kubelet has not spoken yet"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "trouble", "reason"), NODES, ids=[n[-1] for n in NODES])
def test_the_trouble_of_a_node(given: Object | None, trouble: str | None, reason: str) -> None:
    assert observe.node_trouble(given) == trouble, reason


# -- refusals ------------------------------------------------------------------------------------------------------------


class Events:
    def __init__(self, *found: Object) -> None:
        self.found, self.asked = found, ""

    async def list_objects(self, resource: Any, namespace: str, *, fields: str) -> AsyncIterator[Object]:
        self.asked = fields
        for event in self.found:
            yield event


async def test_the_newest_refusal_of_the_job_is_told() -> None:
    events = Events(
        {"lastTimestamp": ago(5), "message": "newer"},
        {"lastTimestamp": ago(50), "message": "older"},
        {"lastTimestamp": None, "eventTime": ago(20), "message": "between"},
    )
    assert await observe.refusal(events, job(OWNER)) == "newer"  # type: ignore[arg-type]
    assert events.asked == f"involvedObject.uid={job(OWNER)['metadata']['uid']},reason=FailedCreate"
    assert await observe.refusal(Events(), job(OWNER)) is None  # type: ignore[arg-type]


def test_builders_agree_with_what_is_observed() -> None:
    seen = observe.rank_pod(running_pod(OWNER, 1, node="node-1"))
    assert seen == builders.rank(1) == RankPod(1, "gpt-111111-1-1-xyzab", "node-1", True, True)
