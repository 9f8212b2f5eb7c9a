"""What counts as a fault, what it is called, and which of several comes first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from millrace_controllers.trainingjob import faults
from millrace_controllers.trainingjob.faults import FATAL_REPORTS, Fault
from millrace_controllers.trainingjob.observed import Exit, JobState, Observed
from millrace_controllers.trainingjob.state import State
from millrace_controllers.trainingjob.status import REPORTED
from support.builders import (
    FOREIGN,
    ago,
    attempt,
    ended_rank,
    observed,
    push,
    rank,
    said,
    stopped_rank,
    typed_training,
    waiting_rank,
)
from support.clock import BEGIN

Object = dict[str, Any]
RUNS = {"attemptStartTime": ago(10_000)}
ILL = {"node-1": "AcceleratedHardwareReady is False (DCGMError)"}
NOW = 50_000.0
"""The operator's monotonic clock in these tests."""


def find(seen: Observed, status: Object | None = None, **spec: Any) -> Fault | None:
    return faults.find(typed_training(**spec), RUNS if status is None else status, seen, BEGIN)


def seen(*ranks: Any, **change: Any) -> Observed:
    made = {"monotonic": NOW, **{k: change.pop(k) for k in ("pushes", "bad_nodes", "board_since", "monotonic") if k in change}}
    return observed(attempt(*ranks, **change), **made)


def fresh(rank_: int, **change: Any) -> Any:
    """A report that just came."""
    return push(rank_, received=NOW - 1, step_changed=NOW - 1, **change)


HEALTHY = (fresh(0), fresh(1))

# observed, cause, counted, fatal, reason
Row = tuple[Observed, str | None, bool, bool, str]
TABLE: list[Row] = [
    (seen(pushes=HEALTHY), None, False, False, "all is well"),
    (seen(ended_rank(0, message=said("OutOfMemory"))), "OutOfMemory", True, True, "the program says what is wrong"),
    (seen(stopped_rank(0, "OutputNotWritable")), "OutputNotWritable", True, True, "the preflight says what is wrong"),
    (seen(ended_rank(0, message=said("Superseded"))), "Superseded", False, False, "a later attempt has taken over"),
    (seen(ended_rank(0, message=said("NoSuchReason"))), "RankFailed", True, False, "a report that nobody knows is a crash"),
    (seen(ended_rank(0, 0, message=said("NaNLoss"))), None, False, False, "a program that ended well has no complaint"),
    (seen(waiting_rank(0), invalid_image="InvalidImageName: X"), "InvalidImage", True, True, "no attempt can pull that"),
    (seen(ended_rank(0, 128, "StartError")), "BadCommand", True, True, "the runtime could not start it"),
    (seen(ended_rank(0, 127)), "BadCommand", True, True, "the shell did not find it"),
    (seen(ended_rank(0, 126)), "BadCommand", True, True, "the shell may not execute it"),
    (seen(pushes=(fresh(0),), bad_nodes=ILL), "NodeFault", False, False, "the node of a rank that says nothing is ill"),
    (seen(pushes=HEALTHY, bad_nodes=ILL), None, False, False, "its kubelet is gone, the rank still reports"),
    (
        seen(pushes=(fresh(0), push(1, received=NOW - 31)), bad_nodes=ILL), "NodeFault", False, False,
        "a report of half a minute ago is no sign of life",
    ),
    (seen(rank(0), ended_rank(1, 0), pushes=HEALTHY, bad_nodes=ILL), None, False, False, "the rank had ended well"),
    (seen(rank(0), ended_rank(1, 1), bad_nodes=ILL), "NodeFault", False, False, "a rank that crashed on an ill node"),
    (seen(rank(0, disrupted="evicted"), rank(1)), "Disrupted", False, False, "evicted"),
    (seen(rank(0, deleting=True), rank(1)), "PodDeleted", False, False, "somebody deletes a pod"),
    (seen(pushes=(fresh(0, metrics={"loss": float("nan")}), fresh(1))), "NaNLoss", True, True, "another attempt would repeat it"),
    (seen(pushes=(fresh(0, metrics={"loss": float("inf")}), fresh(1))), "NaNLoss", True, True, "infinite is no better"),
    (seen(pushes=(fresh(0, metrics={"grad": float("nan")}), fresh(1))), None, False, False, "another metric may be NaN for once"),
    (seen(ended_rank(0, 1), rank(1)), "RankFailed", True, False, "a crash"),
    (seen(ended_rank(0, 137, "OOMKilled"), rank(1)), "OOMKilled", True, False, "the kernel killed it for memory"),
    (seen(rank(0, running=False, preflight=Exit(137, "Error", "")), rank(1)), "PreflightFailed", True, False, "without a report"),
    (seen(job=JobState.FAILED, failure="BackoffLimitExceeded: x"), "JobFailed", True, False, "the Job failed, nobody sees why"),
    (seen(rank(0), waiting_rank(1), pushes=HEALTHY, age_seconds=9_999), None, False, False, "a group that has run was whole"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=[row[-1] for row in TABLE])
def test_each_fault_is_told_from_the_others(row: Row) -> None:
    what, cause, counted, fatal, reason = row
    found = find(what)
    assert (found.cause if found else None) == cause, reason
    if found:
        assert (found.counted, found.fatal) == (counted, fatal), reason
        assert found.message


def test_every_report_that_is_fatal_has_a_documented_reason() -> None:
    assert REPORTED.keys() >= FATAL_REPORTS


# -- order ---------------------------------------------------------------------------------------------------------------

CRASHED, NOT_A_NUMBER = ended_rank(0, 1), (fresh(0, metrics={"loss": float("nan")}),)

# observed, cause, reason
ORDER = [
    (seen(ended_rank(0, 1, message=said("NaNLoss")), rank(1, disrupted="x")), "NaNLoss", "a report explains what came after it"),
    (seen(rank(0, disrupted="evicted"), ended_rank(1, 1)), "Disrupted", "the peers of an evicted rank crash"),
    (seen(CRASHED, rank(1), pushes=(fresh(0),), bad_nodes=ILL), "NodeFault", "the peers of a rank on an ill node crash"),
    (seen(CRASHED, rank(1), pushes=NOT_A_NUMBER), "NaNLoss", "a program may stop by itself on NaN"),
    (seen(CRASHED, rank(1), job=JobState.FAILED), "RankFailed", "the Job failed because of it"),
    (seen(ended_rank(0, 127), rank(1, deleting=True)), "BadCommand", "the Job controller deletes the others"),
]


@pytest.mark.parametrize(("what", "cause", "reason"), ORDER, ids=[o[-1] for o in ORDER])
def test_the_cause_counts_and_not_what_follows_from_it(what: Observed, cause: str, reason: str) -> None:
    found = find(what)
    assert found is not None
    assert found.cause == cause, reason


# crash, deletion of the other rank (seconds from BEGIN), cause, reason
FIRST = [
    (0, 1, "RankFailed", "the Job controller deletes what is left after a crash"),
    (0, 0, "RankFailed", "within one second the crash is taken for the cause: it may not restart for ever uncounted"),
    (5, 0, "PodDeleted", "the peers of a deleted rank fail after it"),
    (None, 0, "PodDeleted", "a crash of unknown time does not outweigh a deletion"),
]


@pytest.mark.parametrize(("crash", "deletion", "cause", "reason"), FIRST, ids=[f[-1] for f in FIRST])
def test_of_a_crash_and_a_deletion_the_first_is_the_cause(crash: int | None, deletion: int, cause: str, reason: str) -> None:
    at = None if crash is None else BEGIN + timedelta(seconds=crash)
    deleted = rank(0, deleting=True, deleted_at=BEGIN + timedelta(seconds=deletion))
    found = find(seen(deleted, ended_rank(1, 1, at=at)))
    assert found is not None
    assert found.cause == cause, reason


def test_the_exit_of_a_pod_that_is_deleted_itself_is_no_crash_before_the_deletion() -> None:
    deleted = ended_rank(0, 143, deleting=True, deleted_at=BEGIN, at=BEGIN)
    found = find(seen(deleted, rank(1)))
    assert found is not None
    assert found.cause == "PodDeleted"


# -- queues --------------------------------------------------------------------------------------------------------------

TAKEN_BACK = [
    seen(rank(0, deleting=True), rank(1, deleting=True), job=JobState.SUSPENDED),
    seen(ended_rank(0, 85, deleting=True), ended_rank(1, 143), job=JobState.SUSPENDED),
    seen(rank(0, disrupted="Preempted by kueue"), rank(1), job=JobState.SUSPENDED),
    seen(rank(0), waiting_rank(1), job=JobState.SUSPENDED, age_seconds=9_999),
]


@pytest.mark.parametrize("what", TAKEN_BACK, ids=["being deleted", "ended by SIGTERM", "disrupted", "waits long"])
def test_a_run_that_its_queue_takes_back_has_no_fault(what: Observed) -> None:
    assert find(what, {}) is None


# -- hang ----------------------------------------------------------------------------------------------------------------


def hanging(seconds: float, **change: Any) -> Observed:
    return seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - seconds, **change), fresh(1, step=0)))


# observed, status, spec, hangs, reason
HANGS: list[tuple[Observed, Object, Object, bool, str]] = [
    (hanging(599), RUNS, {}, False, "a long step"),
    (hanging(600), RUNS, {}, False, "the other rank's first report is young"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 600), push(1, received=NOW - 1, step_changed=NOW - 700))), RUNS,
     {}, True, "no rank has made a step for ten minutes, though all report"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 900, phase="checkpointing"),)), RUNS, {}, False, "it saves"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 900, phase="exporting"),)), RUNS, {}, False, "it exports"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 900, step=0),)), RUNS, {}, False, "it compiles before step 1"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 900),)), {}, {}, False, "the group does not run as a whole yet"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 900),)), {"attemptStartTime": ago(60)}, {}, False,
     "its queue gave it back a minute ago: what was pushed before says nothing"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 900),)), RUNS,
     {"kubernetes": {"faults": {"detect": ["NodeCondition"]}}}, False, "nobody asked for it"),
    (seen(pushes=(push(0, received=NOW - 1, step_changed=NOW - 61),)), RUNS,
     {"kubernetes": {"faults": {"hangSeconds": 60, "heartbeatSeconds": 3600}}}, True, "the user knows how long a step takes"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "status", "spec", "hangs", "reason"), HANGS, ids=[h[-1] for h in HANGS])
def test_a_hang_is_time_without_a_step(what: Observed, status: Object, spec: Object, hangs: bool, reason: str) -> None:
    found = find(what, status, **spec)
    assert (found is not None and found.cause == "Hang") is hangs, reason


# -- heartbeats ----------------------------------------------------------------------------------------------------------

OLD = push(1, received=NOW - 301, step_changed=NOW - 1)

# observed, status, spec, lost, reason
SILENCES: list[tuple[Observed, Object, Object, bool, str]] = [
    (seen(pushes=(fresh(0), OLD)), RUNS, {}, True, "rank 1 was not heard of for 301 s"),
    (seen(pushes=(fresh(0), push(1, received=NOW - 299, step_changed=NOW - 1))), RUNS, {}, False, "299 s may be"),
    (seen(pushes=(fresh(0),)), RUNS, {}, True, "rank 1 has never spoken since it ran"),
    (seen(pushes=(fresh(0),)), {"attemptStartTime": ago(200)}, {}, False, "it runs for 200 s only"),
    (seen(pushes=()), {}, {}, False, "it does not run yet"),
    (seen(pushes=(), board_since=NOW - 200), RUNS, {}, False,
     "the operator itself began 200 s ago: what was said before was said to another"),
    (seen(pushes=(), board_since=NOW - 301), RUNS, {}, True, "since the operator began nobody has spoken for 301 s"),
    (seen(pushes=(fresh(0), OLD)), RUNS, {"kubernetes": {"faults": {"detect": ["Hang", "NaN"]}}}, False, "nobody asked for it"),
    (seen(pushes=()), RUNS, FOREIGN, False, "a foreign image speaks to nobody"),
    (seen(rank(0), rank(1, running=False), pushes=(fresh(0),)), RUNS, {}, False, "a rank that does not run is not silent"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "status", "spec", "lost", "reason"), SILENCES, ids=[s[-1] for s in SILENCES])
def test_a_heartbeat_is_lost_when_a_rank_could_have_spoken_and_did_not(
    what: Observed, status: Object, spec: Object, lost: bool, reason: str
) -> None:
    found = find(what, status, **spec)
    assert (found is not None and found.cause == "HeartbeatLost") is lost, reason


def test_any_process_of_a_pod_speaks_for_it() -> None:
    both = observed(attempt(), pushes=(fresh(3), fresh(12)), procs_per_node=8, monotonic=NOW)
    assert find(both) is None
    first_alone = observed(attempt(), pushes=(fresh(3), fresh(7)), procs_per_node=8, monotonic=NOW)
    found = find(first_alone)
    assert found is not None
    assert "rank 1" in found.message


# -- the gang ------------------------------------------------------------------------------------------------------------

# observed, faulty, why told, reason
GANGS = [
    (seen(rank(0), waiting_rank(1), age_seconds=600, unschedulable="0/2"), False, "", "just in time"),
    (seen(rank(0), waiting_rank(1), age_seconds=601, unschedulable="0/2 nodes"), True, "0/2 nodes", "one has no node"),
    (seen(rank(0), age_seconds=601), True, "not all made", "a pod was never made"),
    (seen(rank(0), age_seconds=601, refusal="exceeded quota"), True, "exceeded quota", "the cluster refuses a pod"),
    (seen(rank(0), rank(1, running=False), age_seconds=601, stuck="ErrImagePull"), True, "ErrImagePull", "an image is not there"),
    (seen(rank(0), rank(1, running=False), age_seconds=601), False, "", "all have nodes: a large image takes its time"),
]


@pytest.mark.parametrize(("what", "faulty", "told", "reason"), GANGS, ids=[g[-1] for g in GANGS])
def test_a_group_that_is_not_whole_in_time_is_taken_down(what: Observed, faulty: bool, told: str, reason: str) -> None:
    found = find(what, {})
    assert (found is not None) is faulty, reason
    if found:
        assert (found.cause, found.state, found.counted) == ("GangUnschedulable", State.GANG_UNSCHEDULABLE, False)
        assert told in found.message


# -- words ---------------------------------------------------------------------------------------------------------------


def test_a_crash_is_told_with_the_last_lines_of_its_log() -> None:
    found = find(seen(rank(0), ended_rank(1, 1, message="a\nb\n\nc\nValueError: no such column\n")))
    assert found is not None
    assert found.message.startswith("rank 1 (gpt-111111-1-1-xyzab) ended with exit code 1 (Error)")
    assert found.message.endswith("c | ValueError: no such column")
