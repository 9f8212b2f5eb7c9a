"""Every status field that a controller writes is in the CRD: what is not would be pruned, and written again in every pass."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.api.schema import structural
from millrace.api.v1alpha1.trainingjob import TrainingJobStatus
from millrace.engine.conditions import desired_status
from millrace_controllers.trainingjob import status as say
from millrace_controllers.trainingjob.observed import JobState, Observed, ResolvedInput
from millrace_controllers.trainingjob.plan import decide
from support.builders import (
    ago,
    attempt,
    ended_rank,
    no_attempt,
    observed,
    push,
    rank,
    stopped_rank,
    typed_training,
    verified,
)
from support.clock import BEGIN
from support.schemas import problems

Object = dict[str, Any]
STATUS = structural(TrainingJobStatus)
SAVED = {"step": 100, "path": "claim://results/x", "committedAt": ago(5)}
RUNS = {"attempt": 1, "externalID": "gpt-111111-1", "attemptStartTime": ago(100), "startTime": ago(200), "runID": ""}
FAULTED = {**RUNS, "restarts": {"count": 1, "uncounted": 0, "lastCause": "RankFailed", "lastFaultTime": ago(42)}}

# observed, old status, reason
WRITES: list[tuple[Observed, Object, str]] = [
    (observed(no_attempt()), {}, "nothing yet"),
    (observed(), {}, "it runs"),
    (observed(pushes=(push(0, checkpoint=SAVED), push(1))), RUNS, "it reports"),
    (observed(pushes=(push(0, metrics={"loss": float("nan")}),)), RUNS, "it reports nonsense"),
    (observed(pushes=(push(0),)), FAULTED, "it has recovered"),
    (observed(attempt(job=JobState.SUSPENDED)), RUNS, "its queue took it back"),
    (observed(attempt(rank(0), ended_rank(1))), FAULTED, "it crashed and waits"),
    (observed(bad_nodes={"node-1": "not Ready"}), RUNS, "a node failed"),
    (observed(attempt(stopped_rank(0))), RUNS, "it ended for good"),
    (observed(attempt(job=JobState.COMPLETE), verification=verified()), FAULTED, "it is done"),
    (observed(attempt(job=JobState.COMPLETE), verification=verified(checkpoint=None, steps=None, metrics={})), RUNS, "foreign"),
]


@pytest.mark.parametrize(("seen", "old", "reason"), WRITES, ids=[w[-1] for w in WRITES])
def test_what_is_written_is_what_the_crd_knows(seen: Observed, old: Object, reason: str) -> None:
    inputs = (ResolvedInput("train", "data", "x"), ResolvedInput("more", "data", "y", "text", "corpus", "sha256:1"))
    lineage = say.lineage(inputs, {"specDigest": "s", "parametersDigest": "p"}, "sha256:i", old.get("lineage"))
    decision = decide(typed_training(), old, seen, BEGIN)
    made = desired_status(old, say.outcome(decision, old, seen, lineage, "", BEGIN), 3, ago(0))
    assert problems(STATUS, made) == [], reason
    assert TrainingJobStatus.model_validate(made).attempt == made.get("attempt")


def test_a_new_run_is_written_as_the_crd_knows() -> None:
    assert problems(STATUS, desired_status(FAULTED, say.new_run("2", FAULTED), 3, ago(0))) == []


def test_the_check_itself_finds_what_is_wrong() -> None:
    wrong = {"attempt": "1", "unknown": 1, "progress": {"step": None}, "restarts": {"count": True}, "metrics": [{"name": "x"}]}
    assert problems(STATUS, wrong) == [
        "status.attempt: '1' is no integer",
        "status.unknown: unknown",
        "status.progress.step: None is no integer",
        "status.restarts.count: True is no integer",
        "status.metrics[0].value: missing",
    ]
