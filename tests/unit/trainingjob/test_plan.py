"""What a TrainingJob needs next, in every state that it can be found in."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_controllers.trainingjob.observed import JobState, Observed, Verification
from millrace_controllers.trainingjob.plan import Decision, Do, decide, running_seconds
from millrace_controllers.trainingjob.state import State
from support.builders import (
    ago,
    attempt,
    ended_rank,
    no_attempt,
    not_verified,
    observed,
    push,
    rank,
    said,
    stopped_rank,
    training_spec,
    typed_training,
    verified,
    waiting_rank,
)
from support.clock import BEGIN

Object = dict[str, Any]
SUSPENDED = {"suspend": True}
BLOCK = {"kubernetes": {"placement": {"capacityBlock": {"endTime": ago(-44 * 60)}}}}
LATER_BLOCK = {"kubernetes": {"placement": {"capacityBlock": {"endTime": ago(-46 * 60)}}}}
RUNS = {"attempt": 1, "externalID": "gpt-111111-1", "runID": "", "attemptStartTime": ago(100)}
ONCE = {"attempt": 1, "endedAttempt": 1, "runID": "", "restarts": {"count": 1, "uncounted": 0, "lastCause": "RankFailed"}}
CRASH = attempt(rank(0), ended_rank(1))
GANG = attempt(rank(0), waiting_rank(1), age_seconds=601, unschedulable="0/2 nodes")


def next_for(spec: Object, status: Object, seen: Observed) -> Decision:
    return decide(typed_training(**spec), status, seen, BEGIN)


# spec, status, observed, do, state, ends (cause, counted) or None, final, reason
Row = tuple[Object, Object, Observed, Do, State, tuple[str, bool | None] | None, bool, str]
TABLE: list[Row] = [
    # between attempts
    ({}, {}, observed(no_attempt()), Do.START, State.STARTING, None, False, "a fresh object starts at once"),
    ({}, ONCE, observed(no_attempt(2)), Do.START, State.STARTING, None, False, "the next attempt follows the one that ended"),
    (
        {}, ONCE, observed(no_attempt(2), leftovers=("gpt-111111-1",)), Do.CLEAR, State.RESTARTING, None, False,
        "two attempts never run at once: what is left of the last one goes first",
    ),
    (
        {}, {}, observed(no_attempt(), missing_input="Dataset 'corpus' is not Ready"), Do.NOTHING, State.INPUT_NOT_READY, None,
        False, "an input that is not there is waited for",
    ),
    (
        {}, {**ONCE, "retryAfter": ago(-10)}, observed(no_attempt(2)), Do.NOTHING, State.RESTARTING, None, False,
        "the pause after a fault is not over",
    ),
    (
        {}, {**ONCE, "retryAfter": ago(10)}, observed(no_attempt(2)), Do.START, State.STARTING, None, False,
        "the pause after a fault is over",
    ),
    (
        {}, {**ONCE, "retryAfter": ago(-10), "restarts": {"lastCause": "GangUnschedulable"}}, observed(no_attempt(2)), Do.NOTHING,
        State.GANG_UNSCHEDULABLE, None, False, "while it waits for room the reason is what it waits for",
    ),
    (
        BLOCK, {}, observed(no_attempt()), Do.CLEAR, State.CAPACITY_ENDED, ("CapacityEnded", None), True,
        "nothing is started in the last 45 minutes of a capacity block",
    ),
    (LATER_BLOCK, {}, observed(no_attempt()), Do.START, State.STARTING, None, False, "46 minutes before the end it may start"),
    (
        {}, RUNS, observed(no_attempt(1)), Do.NOTHING, State.RESTARTING, ("JobDeleted", False), False,
        "status tells of a Job that is not there: somebody deleted it",
    ),
    (
        {}, {"attempt": 1, "runID": ""}, observed(no_attempt(1)), Do.START, State.STARTING, None, False,
        "no Job is told of, so none was deleted",
    ),
    (
        {}, {}, observed(attempt(rank(0, deleting=True), job=JobState.MISSING, job_name=None)), Do.NOTHING, State.RESTARTING,
        ("JobDeleted", False), False, "its pods still run: the number is taken, though status does not tell of it yet",
    ),
    # an attempt is there
    ({}, {}, observed(attempt(waiting_rank(0))), Do.NOTHING, State.STARTING, None, False, "pods come one after another"),
    ({}, RUNS, observed(), Do.NOTHING, State.RUNNING, None, False, "all ranks train"),
    (
        {}, RUNS, observed(attempt(ended_rank(0, 0), rank(1))), Do.NOTHING, State.RUNNING, None, False,
        "a rank that ended well is no rank that starts",
    ),
    (
        {}, RUNS, observed(attempt(ended_rank(0, 0), ended_rank(1, 0))), Do.NOTHING, State.RUNNING, None, False,
        "all ended well and the Job controller has not said so yet",
    ),
    (
        {}, {}, observed(attempt(rank(0), waiting_rank(1), unschedulable="0/2 nodes")), Do.NOTHING, State.PENDING, None, False,
        "the scheduler's words are told",
    ),
    ({}, {}, observed(attempt(refusal="quota")), Do.NOTHING, State.PODS_REFUSED, None, False, "the cluster refuses pods"),
    (
        {}, {}, observed(attempt(waiting_rank(0), stuck="ErrImagePull")), Do.NOTHING, State.IMAGE_NOT_PULLED, None, False,
        "an image that is not there",
    ),
    ({}, {}, observed(attempt(job=JobState.SUSPENDED)), Do.NOTHING, State.QUEUED, None, False, "the queue has not admitted it"),
    (
        {}, RUNS, observed(attempt(job=JobState.DELETING)), Do.CLEAR, State.RESTARTING, ("JobDeleted", False), False,
        "somebody deletes the Job",
    ),
    ({}, RUNS, observed(CRASH), Do.CLEAR, State.RESTARTING, ("RankFailed", True), False, "a crash restarts the whole group"),
    (
        {}, {**RUNS, "restarts": {"count": 2}}, observed(CRASH), Do.CLEAR, State.RESTARTING, ("RankFailed", True), False,
        "the third restart of three",
    ),
    (
        {}, {**RUNS, "restarts": {"count": 3}}, observed(CRASH), Do.CLEAR, State.RESTARTS_EXHAUSTED, ("RankFailed", None), True,
        "three restarts are used up",
    ),
    (
        {"limits": {"maxRestarts": 0}}, RUNS, observed(CRASH), Do.CLEAR, State.RESTARTS_EXHAUSTED, ("RankFailed", None), True,
        "no restart is allowed at all",
    ),
    (
        {}, {**RUNS, "restarts": {"count": 3}}, observed(attempt(rank(0, disrupted="evicted"), rank(1))), Do.CLEAR,
        State.RESTARTING, ("Disrupted", False), False, "a disruption uses up nothing",
    ),
    (
        {}, RUNS, observed(attempt(ended_rank(0, message=said("NaNLoss")), rank(1))), Do.CLEAR, State.REPORTED,
        ("NaNLoss", None), True, "what the program says would only be repeated",
    ),
    (
        {}, {}, observed(GANG), Do.CLEAR, State.GANG_UNSCHEDULABLE, ("GangUnschedulable", False), False,
        "a group that is not whole in time gives back what it holds",
    ),
    (
        BLOCK, RUNS, observed(), Do.CLEAR, State.CAPACITY_ENDED, ("CapacityEnded", None), True,
        "a run is stopped while its nodes still live, so that it can save",
    ),
    (
        {"limits": {"maxRuntimeSeconds": 150}}, {**RUNS, "runningSeconds": 51}, observed(), Do.CLEAR, State.DEADLINE_EXCEEDED,
        ("DeadlineExceeded", None), True, "51 s of earlier attempts and 100 s of this one are more than 150",
    ),
    (
        {"limits": {"maxRuntimeSeconds": 151}}, {**RUNS, "runningSeconds": 51}, observed(), Do.NOTHING, State.RUNNING, None,
        False, "just 151 s are not more",
    ),
    (
        {"limits": {"maxRuntimeSeconds": 1}}, {"attempt": 1}, observed(attempt(waiting_rank(0))), Do.NOTHING, State.STARTING,
        None, False, "waiting does not count",
    ),
    # suspension
    (SUSPENDED, {}, observed(no_attempt()), Do.NOTHING, State.SUSPENDED, None, False, "nothing runs and nothing starts"),
    (SUSPENDED, RUNS, observed(), Do.CLEAR, State.SUSPENDED, ("Suspended", None), False, "what runs is stopped"),
    (
        SUSPENDED, ONCE, observed(no_attempt(2), leftovers=("gpt-111111-1-0",)), Do.CLEAR, State.SUSPENDED, None, False,
        "pods that take a checkpoint are waited for",
    ),
    (
        SUSPENDED, RUNS, observed(attempt(job=JobState.SUSPENDED)), Do.CLEAR, State.SUSPENDED, ("Suspended", None), False,
        "what waits in a queue gives its place up",
    ),
    (SUSPENDED, RUNS, observed(CRASH), Do.CLEAR, State.SUSPENDED, ("Suspended", None), False, "a crash then counts nothing"),
    (
        SUSPENDED, RUNS, observed(attempt(job=JobState.COMPLETE)), Do.VERIFY, State.VERIFYING, None, False,
        "a run that is complete is only read back",
    ),
    (
        SUSPENDED, RUNS, observed(attempt(job=JobState.COMPLETE), verification=verified()), Do.CLEAR, State.SUCCEEDED, None, True,
        "and then it is done, suspended or not",
    ),
    # the end
    ({}, RUNS, observed(attempt(job=JobState.COMPLETE)), Do.VERIFY, State.VERIFYING, None, False, "complete is not success yet"),
    (
        {"limits": {"maxRuntimeSeconds": 1}}, RUNS, observed(attempt(job=JobState.COMPLETE)), Do.VERIFY, State.VERIFYING, None,
        False, "it has met its deadline",
    ),
    (BLOCK, RUNS, observed(attempt(job=JobState.COMPLETE)), Do.VERIFY, State.VERIFYING, None, False, "nor is it stopped"),
    (
        {}, RUNS, observed(attempt(job=JobState.COMPLETE), verification=Verification("u", trouble="no node")), Do.VERIFY,
        State.VERIFYING, None, False, "the reader has not spoken",
    ),
    (
        {}, RUNS, observed(attempt(job=JobState.COMPLETE), verification=verified()), Do.CLEAR, State.SUCCEEDED, None, True,
        "the reader has seen every byte",
    ),
    (
        {}, RUNS, observed(attempt(job=JobState.COMPLETE), verification=not_verified()), Do.CLEAR, State.REPORTED, None, True,
        "the reader's word is the last one",
    ),
    (
        {}, {}, observed(attempt(stopped_rank(0, "AlreadyDone"), rank(1), job=JobState.FAILED)), Do.VERIFY, State.VERIFYING, None,
        False, "the preflight found this very run done: it is read back, not run",
    ),
    (
        {}, {}, observed(attempt(stopped_rank(0, "AlreadyDone"), job=JobState.FAILED), verification=verified(recordUID="old")),
        Do.CLEAR, State.ALREADY_DONE, None, True, "another object of that name did it",
    ),
    (
        {}, ONCE, observed(attempt(stopped_rank(0, "AlreadyDone"), number=2, job=JobState.FAILED), verification=verified()),
        Do.CLEAR, State.SUCCEEDED, None, True, "an earlier attempt of this object had finished when its node went",
    ),
    (
        {}, RUNS, observed(no_attempt(1), verification=verified()), Do.CLEAR, State.SUCCEEDED, None, True,
        "the Job was deleted after its work was done: what was read back counts",
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=[row[-1] for row in TABLE])
def test_what_comes_next(row: Row) -> None:
    spec, status, seen, do, state, ends, final, reason = row
    decision = next_for(spec, status, seen)
    assert (decision.do, decision.state, decision.final) == (do, state, final), reason
    assert (None if decision.end is None else (decision.end.cause, decision.end.counted)) == ends, reason


@pytest.mark.parametrize("row", TABLE, ids=[row[-1] for row in TABLE])
def test_what_is_said_is_one_sentence_that_does_not_change_with_time(row: Row) -> None:
    spec, status, seen, *_ = row
    decision = next_for(spec, status, seen)
    assert decision.message or decision.state in {State.SUCCEEDED, State.ALREADY_DONE}
    assert "2026-" not in decision.message
    later = decide(typed_training(**spec), status, seen, BEGIN.replace(second=1))
    if later.state is decision.state:
        assert later.message == decision.message


@pytest.mark.parametrize("row", TABLE, ids=[row[-1] for row in TABLE])
def test_whatever_can_end_by_time_alone_is_looked_at_again(row: Row) -> None:
    spec, status, seen, do, state, _, final, reason = row
    decision = next_for(spec, status, seen)
    passing = {
        State.STARTING,
        State.PENDING,
        State.PODS_REFUSED,
        State.RUNNING,
        State.VERIFYING,
        State.INPUT_NOT_READY,
    }
    if state in passing and do is not Do.START and not final:
        assert decision.look_again is not None, reason


# -- pauses --------------------------------------------------------------------------------------------------------------

# status before, observed, seconds of pause, reason
PAUSES: list[tuple[Object, Observed, float, str]] = [
    (RUNS, observed(CRASH), 0, "the first crash is followed at once"),
    ({**RUNS, "restarts": {"count": 1}}, observed(CRASH), 10, "the second waits"),
    ({**RUNS, "restarts": {"count": 2}}, observed(CRASH), 20, "and longer"),
    ({}, observed(GANG), 10, "a group that did not fit lets others go first"),
    ({"restarts": {"uncounted": 1}}, observed(GANG), 20, "and longer"),
    ({"restarts": {"uncounted": 50}}, observed(GANG), 600, "but not for ever"),
    ({**RUNS, "restarts": {"uncounted": 50}}, observed(attempt(rank(0, disrupted="spot"))), 0, "a run on spot nodes goes on"),
    ({"restarts": {"uncounted": 0}}, observed(attempt(rank(0, disrupted="x"))), 0, "once may be chance"),
    ({"restarts": {"uncounted": 3}}, observed(attempt(rank(0, disrupted="x"))), 40, "a group that never runs is no busy loop"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "seen", "pause", "reason"), PAUSES, ids=[p[-1] for p in PAUSES])
def test_the_pause_before_the_next_attempt(status: Object, seen: Observed, pause: float, reason: str) -> None:
    decision = next_for({"limits": {"maxRestarts": 1000}}, status, seen)
    assert decision.end is not None
    assert decision.end.retry_after_seconds == pause, reason


def test_the_wait_for_the_next_attempt_is_looked_at_when_it_is_over() -> None:
    decision = next_for({}, {**ONCE, "retryAfter": ago(-37)}, observed(no_attempt(2)))
    assert decision.look_again == 37


# -- nodes to keep off ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("avoid", "nodes"), [(True, ("node-1",)), (False, ())])
def test_a_node_that_failed_is_avoided_if_that_is_wanted(avoid: bool, nodes: tuple[str, ...]) -> None:
    seen = observed(bad_nodes={"node-1": "not Ready (KubeletStopped)"})
    decision = next_for({"kubernetes": {"faults": {"avoidBadNodes": avoid}}}, RUNS, seen)
    assert decision.end is not None
    assert (decision.end.cause, decision.end.avoid) == ("NodeFault", nodes)


# -- words ---------------------------------------------------------------------------------------------------------------


def test_the_end_of_capacity_tells_what_is_kept() -> None:
    with_checkpoint = next_for(BLOCK, {**RUNS, "checkpoint": {"step": 300}}, observed())
    without = next_for(BLOCK, RUNS, observed())
    assert "the checkpoint of step 300 is kept" in with_checkpoint.message
    assert "no checkpoint was committed" in without.message


def test_the_last_fault_is_told_when_restarts_are_used_up() -> None:
    decision = next_for({}, {**RUNS, "restarts": {"count": 3}}, observed(attempt(rank(0), ended_rank(1, 7, message="boom"))))
    assert "exit code 7" in decision.message
    assert "boom" in decision.message
    assert "limits.maxRestarts, 3" in decision.message


def test_running_time_is_summed_over_attempts() -> None:
    assert running_seconds({}, BEGIN) == 0
    assert running_seconds({"runningSeconds": 50}, BEGIN) == 50
    assert running_seconds({"runningSeconds": 50, "attemptStartTime": ago(7)}, BEGIN) == 57


def test_a_spec_of_tests_is_a_spec() -> None:
    assert typed_training().kubernetes is not None
    assert training_spec()["kubernetes"]["nodes"] == 2
    assert push().step == 120
