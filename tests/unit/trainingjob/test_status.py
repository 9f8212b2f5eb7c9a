"""What a TrainingJob says of itself: conditions, counters, numbers and events, each told once."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.engine.conditions import desired_status, merge_patch
from millrace.engine.errors import Denied, Retry
from millrace.engine.outcome import Outcome
from millrace_controllers.trainingjob import status as say
from millrace_controllers.trainingjob.observed import JobState, Observed, ResolvedInput
from millrace_controllers.trainingjob.plan import Decision, Do, End, decide
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
    training_job,
    typed_training,
    verified,
    waiting_rank,
)
from support.clock import BEGIN

Object = dict[str, Any]
NOW = ago(0)


def outcome(
    decision: Decision, old: Object | None = None, seen: Observed | None = None, lineage: Object | None = None
) -> Outcome:
    return say.outcome(decision, old or {}, seen or observed(), lineage, "", BEGIN)


def after(old: Object, made: Outcome) -> Object:
    """The status as it is stored."""
    return desired_status(old, made, 1, NOW)


def settled_decision(state: State, final: bool) -> Decision:
    report: Object = {"ok": True, "reason": "ModelCorrupt", "model": {"uri": "u", "digest": "d", "files": 1, "bytes": 2}}
    return Decision(Do.NOTHING, state, "a sentence", final=final, report=report)


FINAL = {
    State.SUCCEEDED, State.ALREADY_DONE, State.RESTARTS_EXHAUSTED, State.DEADLINE_EXCEEDED, State.CAPACITY_ENDED,
    State.BAD_COMMAND, State.INVALID_IMAGE, State.NAN_LOSS, State.REPORTED,
}  # fmt: skip

# states, conditions, reason
CONDITIONS = [
    ({State.SUCCEEDED, State.ALREADY_DONE}, {"Succeeded": "True"}, "done: kstatus says Current"),
    (FINAL - {State.SUCCEEDED, State.ALREADY_DONE}, {"Succeeded": "False", "Stalled": "True"}, "a human must act"),
    (
        {State.PODS_REFUSED, State.IMAGE_NOT_PULLED}, {"Succeeded": "Unknown", "Reconciling": "True", "Stalled": "True"},
        "a human must act, and then it goes on by itself",
    ),
    ({State.SUSPENDED}, {"Succeeded": "Unknown"}, "nothing is under way"),
    (
        set(State) - FINAL - {State.PODS_REFUSED, State.IMAGE_NOT_PULLED, State.SUSPENDED},
        {"Succeeded": "Unknown", "Reconciling": "True"}, "it is under way",
    ),
]  # fmt: skip
CASES = [(state, conditions, reason) for states, conditions, reason in CONDITIONS for state in sorted(states, key=str)]


@pytest.mark.parametrize(("state", "conditions", "reason"), CASES, ids=[str(c[0].name) for c in CASES])
def test_the_conditions_of_each_state(state: State, conditions: Object, reason: str) -> None:
    made = outcome(settled_decision(state, state in FINAL))
    assert {v.type: v.status for v in made.conditions} == conditions, reason
    names = {v.reason for v in made.conditions}
    assert len(names) == 1
    documented = {r.name for r in say.REASONS} | {"Suspended"}
    assert names <= documented


def test_every_state_has_its_conditions_tested() -> None:
    assert {c[0] for c in CASES} == set(State)


def test_no_two_reasons_share_a_name_and_each_says_what_to_do() -> None:
    assert len({r.name for r in say.REASONS}) == len(say.REASONS)
    for reason in say.REASONS:
        assert reason.meaning.endswith(".")
        assert reason.next_step


# -- attempts ------------------------------------------------------------------------------------------------------------


def test_an_attempt_is_told_with_its_number_and_its_job() -> None:
    decision = Decision(Do.NOTHING, State.STARTING, "x")
    fields = outcome(decision, {}, observed(attempt(waiting_rank(0)))).fields
    assert (fields["attempt"], fields["externalID"], fields["startTime"]) == (1, "gpt-111111-1", NOW)
    assert "attemptStartTime" not in fields, "it counts from when all run"


def test_running_time_counts_from_when_all_ranks_run_and_the_start_of_the_run_stays() -> None:
    old = {"startTime": ago(500)}
    first = after(old, outcome(Decision(Do.NOTHING, State.RUNNING, "x"), old))
    assert (first["attemptStartTime"], first["startTime"]) == (NOW, ago(500))
    later = say.outcome(Decision(Do.NOTHING, State.RUNNING, "x"), first, observed(), None, "", BEGIN.replace(minute=30))
    assert "attemptStartTime" not in later.fields


def test_before_an_attempt_there_is_nothing_to_tell_of_one() -> None:
    fields = outcome(Decision(Do.NOTHING, State.INPUT_NOT_READY, "x"), {}, observed(no_attempt())).fields
    assert dict(fields) == {"runID": ""}


def test_a_queue_that_takes_the_run_back_stops_its_clock() -> None:
    old = {"attemptStartTime": ago(100), "runningSeconds": 20}
    fields = outcome(Decision(Do.NOTHING, State.QUEUED, "x"), old, observed(attempt(job=JobState.SUSPENDED))).fields
    assert (fields["attemptStartTime"], fields["runningSeconds"]) == (None, 120)


def test_pods_that_run_on_for_their_grace_do_not_start_the_clock_again() -> None:
    fields = outcome(Decision(Do.NOTHING, State.QUEUED, "x"), {}, observed(attempt(job=JobState.SUSPENDED))).fields
    assert "attemptStartTime" not in fields


def ends(cause: str = "RankFailed", counted: bool | None = True, **more: Any) -> Decision:
    return Decision(Do.CLEAR, State.RESTARTING, "it ended", End(cause, counted, **more))


RUNNING = {
    "attempt": 1,
    "externalID": "gpt-111111-1",
    "attemptStartTime": ago(100),
    "runningSeconds": 20,
    "startTime": ago(200),
    "restarts": {"count": 1, "uncounted": 2, "lastCause": "Disrupted", "recoverySeconds": 9, "lastFaultTime": ago(150)},
}


def test_an_attempt_that_ended_is_written_down_before_it_is_taken_down() -> None:
    made = after(RUNNING, outcome(ends(retry_after_seconds=20, avoid=("node-1",)), {**RUNNING, "nodesAvoided": ["node-0"]}))
    assert made["endedAttempt"] == 1
    assert "externalID" not in made
    assert "attemptStartTime" not in made
    assert made["runningSeconds"] == 120
    assert made["restarts"] == {"count": 2, "uncounted": 2, "lastCause": "RankFailed", "lastFaultTime": NOW}
    assert made["retryAfter"] == ago(-20)
    assert made["nodesAvoided"] == ["node-0", "node-1"]


# counted, count, uncounted
@pytest.mark.parametrize(("counted", "count", "uncounted"), [(True, 2, 2), (False, 1, 3), (None, 1, 2)])
def test_an_end_is_counted_as_what_it_is(counted: bool | None, count: int, uncounted: int) -> None:
    restarts = outcome(ends(counted=counted), RUNNING).fields["restarts"]
    assert (restarts["count"], restarts["uncounted"]) == (count, uncounted)


def test_a_counter_is_written_once_however_often_the_next_pass_comes() -> None:
    spec = typed_training()
    crash = observed(attempt(rank(0), ended_rank(1)))
    first = after(RUNNING, outcome(decide(spec, RUNNING, crash, BEGIN), RUNNING, crash))
    assert first["restarts"]["count"] == 2
    left = observed(no_attempt(2), leftovers=("gpt-111111-1",))
    second = after(first, outcome(decide(spec, first, left, BEGIN), first, left))
    assert second["restarts"] == first["restarts"]
    assert second["attempt"] == 1


# -- the end -------------------------------------------------------------------------------------------------------------


def finished(**report: Any) -> tuple[Object, Outcome]:
    seen = observed(attempt(job=JobState.COMPLETE), verification=verified(**report))
    made = outcome(decide(typed_training(), RUNNING, seen, BEGIN), RUNNING, seen)
    return after(RUNNING, made), made


def test_success_tells_of_the_model_that_was_read_back() -> None:
    made, said = finished()
    assert made["completionTime"] == NOW
    assert made["model"] == {"uri": "claim://results/gpt/model", "digest": "sha256:m", "files": 3, "bytes": 1234}
    assert made["checkpoint"]["uri"] == "claim://results/gpt/checkpoints/s"
    assert made["progress"] == {"step": 400, "maxSteps": 400, "percent": 100, "phase": "done"}
    assert made["metrics"] == [{"name": "loss", "value": "1.5", "step": 400}]
    assert made["runningSeconds"] == 120
    assert "attemptStartTime" not in made
    assert said.conditions[0].message == "The model was read back (3 files, 1234 bytes)"
    assert [(e.reason, e.type) for e in said.events] == [("Succeeded", "Normal")]


def test_a_metric_of_the_record_that_is_no_number_does_not_keep_a_run_from_ending() -> None:
    made, _ = finished(metrics={"loss": 1.5, "unigramPerplexity": None, "note": "none", "last": "NaN"})
    assert [(m["name"], m["value"]) for m in made["metrics"]] == [("last", "NaN"), ("loss", "1.5")]


def test_a_run_that_was_done_before_says_so() -> None:
    made, said = finished(recordUID="another")
    assert said.conditions[0].reason == "AlreadyDone"
    assert made["model"]["digest"] == "sha256:m"


def test_a_run_whose_results_are_damaged_has_no_model() -> None:
    seen = observed(attempt(job=JobState.COMPLETE), verification=not_verified())
    said = outcome(decide(typed_training(), RUNNING, seen, BEGIN), RUNNING, seen)
    made = after(RUNNING, said)
    assert made["completionTime"] == NOW
    assert "model" not in made
    assert (said.conditions[0].status, said.conditions[0].reason) == ("False", "ModelCorrupt")
    assert [(e.reason, e.type) for e in said.events] == [("ModelCorrupt", "Warning")]


def test_the_last_attempt_of_a_failed_run_is_over_too() -> None:
    seen = observed(attempt(rank(0), ended_rank(1)))
    old = {**RUNNING, "restarts": {"count": 3}}
    made = after(old, outcome(decide(typed_training(), old, seen, BEGIN), old, seen))
    assert (made["endedAttempt"], made["completionTime"], made["restarts"]["count"]) == (1, NOW, 3)
    assert "retryAfter" not in made


def test_an_ended_run_keeps_what_it_said() -> None:
    made, _ = finished()
    assert merge_patch(made, after(made, say.settled(made))) == {}


def test_a_retry_while_tidying_up_is_not_told() -> None:
    made, _ = finished()
    conditions = say.explain(training_job(made), Retry("the API server is away"))
    assert conditions is not None
    assert merge_patch(made, after(made, Outcome(conditions))) == {}


# error while tidying up, reason that it is told by
LASTING = [
    (Denied("may not delete Services"), "PermissionDenied"),
    (KeyError("x"), "InternalError"),
]


@pytest.mark.parametrize(("error", "reason"), LASTING)
def test_what_keeps_a_run_from_being_tidied_up_is_told_beside_how_it_ended(error: Exception, reason: str) -> None:
    """What was not stopped may cost on; the end is what it was, and once all is tidied up it stands alone again."""
    made, _ = finished()
    conditions = say.explain(training_job(made), error)
    assert conditions is not None
    told = after(made, Outcome(conditions))
    assert [c for c in told["conditions"] if c["type"] != "Reconciling"] == made["conditions"]
    assert [c["reason"] for c in told["conditions"] if c["type"] == "Reconciling"] == [reason]
    assert merge_patch(made, after(told, say.settled(told))) == {}


def test_an_error_of_a_run_under_way_or_of_a_deletion_is_told() -> None:
    made, _ = finished()
    assert say.explain(training_job(RUNNING), Retry("x")) is None
    assert say.explain(training_job(), Retry("x")) is None
    assert say.explain(training_job(made, {"deletionTimestamp": NOW}), Retry("x")) is None


# -- a new run -----------------------------------------------------------------------------------------------------------


def test_a_new_run_forgets_the_old_one_but_goes_on_counting_attempts() -> None:
    made, _ = finished()
    made = {**made, "attempt": 7, "lineage": {"inputs": []}, "restarts": {"count": 3}, "nodesAvoided": ["node-1"]}
    again = after(made, say.new_run("second", made))
    assert (again["runID"], again.get("attempt"), again["endedAttempt"]) == ("second", None, 7)
    gone = {"completionTime", "model", "metrics", "progress", "checkpoint", "lineage", "restarts", "startTime", "runningSeconds"}
    assert gone.isdisjoint(again)
    assert {c["type"]: c["status"] for c in again["conditions"]} == {"Succeeded": "Unknown", "Reconciling": "True"}
    seen = observed(no_attempt(8))
    assert decide(typed_training(runID="second"), again, seen, BEGIN).do is Do.START


def test_a_run_whose_job_went_before_it_was_told_of_still_has_its_number() -> None:
    seen = observed(no_attempt(4), verification=verified())
    old = {"endedAttempt": 3, "attempt": 3}
    made = after(old, outcome(decide(typed_training(), old, seen, BEGIN), old, seen))
    assert (made["attempt"], say.new_run("second", made).fields["endedAttempt"]) == (4, 4)


# -- events --------------------------------------------------------------------------------------------------------------


def test_a_state_is_told_in_one_event_when_it_begins() -> None:
    decision = Decision(Do.NOTHING, State.RUNNING, "it runs")
    first = outcome(decision)
    assert [e.reason for e in first.events] == ["Running"]
    assert outcome(decision, after({}, first)).events == ()


def test_the_end_of_an_attempt_is_told_by_its_cause_as_a_warning() -> None:
    (event,) = outcome(ends("Disrupted", False), RUNNING).events
    assert (event.reason, event.type) == ("Disrupted", "Warning")


def test_a_suspension_is_no_warning() -> None:
    decision = Decision(Do.CLEAR, State.SUSPENDED, "stopping", End("Suspended"))
    assert [(e.reason, e.type) for e in outcome(decision, RUNNING).events] == [("Suspended", "Normal")]


# -- recovery ------------------------------------------------------------------------------------------------------------

FAULTED = {
    "attempt": 2,
    "endedAttempt": 1,
    "restarts": {"count": 1, "uncounted": 0, "lastCause": "RankFailed", "lastFaultTime": ago(42)},
}


def test_recovery_is_measured_once_from_the_fault_to_the_next_training_step() -> None:
    decision = Decision(Do.NOTHING, State.RUNNING, "x")
    seen = observed(attempt(number=2), pushes=(push(attempt=2),))
    first = after(FAULTED, outcome(decision, FAULTED, seen))
    assert first["restarts"]["recoverySeconds"] == 42
    later = say.outcome(decision, first, seen, None, "", BEGIN.replace(minute=30))
    assert after(first, later)["restarts"]["recoverySeconds"] == 42


# push, old status, why
NO_RECOVERY = [
    (push(attempt=2, phase="starting"), FAULTED, "it does not train yet"),
    (push(attempt=2, step=0), FAULTED, "it has made no step"),
    (push(attempt=1), FAULTED, "a late report of the attempt that failed"),
    (push(attempt=1), {}, "there was no fault"),
    (push(attempt=2), {**FAULTED, "restarts": {**FAULTED["restarts"], "lastCause": "Suspended"}}, "a suspension is no fault"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("report", "old", "why"), NO_RECOVERY, ids=[n[-1] for n in NO_RECOVERY])
def test_there_is_no_recovery_to_measure(report: Any, old: Object, why: str) -> None:
    seen = observed(attempt(number=2), pushes=(report,))
    made = after(old, outcome(Decision(Do.NOTHING, State.RUNNING, "x"), old, seen))
    assert "recoverySeconds" not in made.get("restarts", {}), why


# -- lineage -------------------------------------------------------------------------------------------------------------


def test_lineage_is_pinned_by_the_first_start() -> None:
    one = (ResolvedInput("train", "data", "corpus/abc/train.txt", "text", "corpus", "sha256:1"),)
    two = (ResolvedInput("train", "data", "corpus/def/train.txt", "text", "corpus", "sha256:2"),)
    first = say.lineage(one, {"specDigest": "sha256:s"}, None, None)
    assert first["inputs"] == [
        {"name": "train", "path": "claim://data/corpus/abc/train.txt", "dataset": "corpus", "digest": "sha256:1"}
    ]
    second = say.lineage(two, {"specDigest": "sha256:s"}, "sha256:image", first)
    assert second["inputs"] == first["inputs"]
    assert second["imageDigest"] == "sha256:image"
    assert say.lineage(one, {}, None, second)["imageDigest"] == "sha256:image"


# -- ttl -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ttl", "done", "left"), [(None, ago(10), None), (60, ago(10), 50.0), (60, ago(100), 0.0), (0, ago(0), 0.0), (60, None, None)]
)
def test_ended_pods_stay_for_their_time(ttl: int | None, done: str | None, left: float | None) -> None:
    assert say.ttl_left({"completionTime": done} if done else {}, ttl, BEGIN) == left


def test_while_a_finished_run_is_deleted_how_it_ended_stays_true() -> None:
    ended = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": NOW}
    made = say.deleting("The pods are being stopped", {"completionTime": NOW, "conditions": [ended]})
    assert [(v.type, v.status, v.reason) for v in made.conditions] == [
        ("Succeeded", "True", "Succeeded"),
        ("Reconciling", "True", "Deleting"),
    ]
    under_way = say.deleting("The pods are being stopped", {}).conditions[0]
    assert (under_way.type, under_way.status, under_way.reason) == ("Succeeded", "Unknown", "Deleting")
