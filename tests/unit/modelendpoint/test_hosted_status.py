"""What an endpoint on SageMaker says of itself: reasons, what is remembered, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from millrace.api.schema import structural
from millrace.api.v1alpha1.modelendpoint import ModelEndpointStatus
from millrace.engine.conditions import desired_status
from millrace_controllers.modelendpoint import hosted_status as say
from millrace_controllers.modelendpoint.hosted_status import Told
from millrace_controllers.modelendpoint.observed import Hosted, Memory, Stage, Target
from millrace_controllers.modelendpoint.plan import Move
from support.clock import BEGIN
from support.schemas import problems

Object = dict[str, Any]
TARGET = Target("jumpstart://m/1.0.0", None, "0123456789ab", version="1.0.0")
ARN = "arn:aws:sagemaker:us-east-1:111122223333:endpoint/t-abc123"
CONFIG = "t-abc123-0123456789ab-0"


def at(stage: Stage, **change: Any) -> Hosted:
    plain = Hosted("t-abc123", stage, stage.value, ARN, CONFIG, instance_type="ml.g5.xlarge", instances=2, desired=2)
    return replace(plain, **change)


def told(move: Move, hosted: Hosted, **change: Any) -> Told:
    return replace(Told(move, TARGET, hosted, Memory()), **change)


def status(made: Told, old: Object | None = None, passed: float = 0.0) -> Object:
    new = desired_status(old or {}, say.outcome(made, 2, old or {}, BEGIN + timedelta(seconds=passed)), 1, "2026-01-01T12:00:00Z")
    assert problems(structural(ModelEndpointStatus), new) == []
    return new


def condition(found: Object, type_: str = "Ready") -> tuple[str, str, str]:
    one = next((c for c in found["conditions"] if c["type"] == type_), None)
    return (one["status"], one["reason"], one["message"]) if one else ("", "", "")


def suspended(found: Hosted, old: Object, passed: float = 0.0) -> Object:
    made = say.suspended(found, old, Decimal(1), BEGIN + timedelta(seconds=passed))
    new = desired_status(old, made, 1, "2026-01-01T12:00:00Z")
    assert problems(structural(ModelEndpointStatus), new) == []
    return new


def test_suspended_it_says_whether_anything_is_left() -> None:
    going, gone = suspended(at(Stage.DELETING), {}), suspended(NONE, {})
    assert condition(going) == ("False", "Suspended", "The endpoint is being taken away")
    assert condition(gone) == ("False", "Suspended", "Nothing runs")


NONE = at(Stage.MISSING, arn="", config="", instances=0)
CAPACITY = Memory(passed_over=(("ml.g5.xlarge", "no room"), ("ml.g5.2xlarge", "quota 0")))
# what was found, status, reason, says, other condition, reason
SAID = [
    (
        told(Move.CREATE, at(Stage.CREATING)),
        "False",
        "Loading",
        "starts 2 instances of jumpstart://m/1.0.0",
        "Reconciling",
        "begun",
    ),
    (told(Move.WAIT, at(Stage.UPDATING, pending="next")), "False", "RollingOut", "to next", "Reconciling", "an update"),
    (told(Move.PROBE, at(Stage.SERVING)), "True", "Serving", "2 instances serve jumpstart://m/1.0.0", "", "it answered"),
    (told(Move.NOTHING, at(Stage.SERVING, instances=1)), "True", "Serving", "1 instance serves", "", "at rest"),
    (
        told(Move.PROBE, at(Stage.SERVING), note="no text"),
        "False",
        "ProbeFailed",
        "failed: no text",
        "Reconciling",
        "a wrong answer",
    ),
    (
        told(Move.ROLLED_BACK, at(Stage.SERVING, failure="alarm")),
        "False",
        "RolledBack",
        f"went back to {CONFIG}: alarm",
        "Stalled",
        "a silent return is told",
    ),
    (
        told(Move.BROKEN, at(Stage.FAILED, failure="ping")),
        "False",
        "ServerFailed",
        "The endpoint is failed: ping",
        "Stalled",
        "broken",
    ),
    (
        told(Move.NOWHERE, NONE, memory=CAPACITY),
        "False",
        "CapacityUnavailable",
        "ml.g5.2xlarge: quota 0",
        "Reconciling",
        "no type",
    ),
    (told(Move.WAIT, at(Stage.UPDATING), proven=True), "True", "Serving", "2 are wanted", "", "scaling takes nothing away"),
    (
        told(Move.BROKEN, at(Stage.FAILED, failure="ping"), note="no such file"),
        "False",
        "ServerFailed",
        "ping; the log ends: no such file",
        "Stalled",
        "with its log",
    ),
    (
        told(Move.REMOVE, at(Stage.FAILED, failure="x")),
        "False",
        "Loading",
        "that failed is being taken away: x",
        "Reconciling",
        "retry",
    ),
]


@pytest.mark.parametrize(("made", "ready", "reason", "says", "second", "why"), SAID, ids=[s[-1] for s in SAID])
def test_what_it_says(made: Told, ready: str, reason: str, says: str, second: str, why: str) -> None:
    found = status(made)
    assert condition(found)[:2] == (ready, reason), why
    assert says in condition(found)[2]
    assert {c["type"] for c in found["conditions"]} - {"Ready", "Available"} == ({second} if second else set())


def test_what_serves_is_available_even_while_it_is_not_what_is_wanted() -> None:
    assert condition(status(told(Move.WAIT, at(Stage.UPDATING))), "Available")[0] == "True"
    assert condition(status(told(Move.NOWHERE, at(Stage.SERVING), memory=CAPACITY)), "Available")[0] == "True"
    assert condition(status(told(Move.CREATE, at(Stage.CREATING))), "Available")[0] == "False"


def test_what_was_tried_is_forgotten_with_the_revision_and_after_the_last_type() -> None:
    held = Memory(passed_over=(("ml.g5.xlarge", "no room"),), updating_to="x", probed="y", scaled="2")
    written = status(told(Move.WAIT, at(Stage.UPDATING), memory=held))
    assert say.memory(written, TARGET) == held
    changed = say.memory(written, replace(TARGET, revision="ba9876543210"))
    assert (changed.passed_over, changed.updating_to) == ((), ""), "another revision is tried from the beginning"
    assert say.memory(status(told(Move.NOWHERE, NONE, memory=CAPACITY)), TARGET).passed_over == (), "so are all types, later"


@pytest.mark.proves("08.13")
def test_it_costs_what_its_instances_cost_while_they_are_there() -> None:
    priced = {"hourly": Decimal("1.408")}
    up = status(told(Move.PROBE, at(Stage.SERVING), **priced))
    assert up["cost"] == {"hourlyUSD": "2.82", "accruedUSD": "0.000000", "accruedAt": "2026-01-01T12:00:00Z"}
    soon = status(told(Move.NOTHING, at(Stage.SERVING), **priced), up, passed=60)
    assert soon["cost"] == up["cost"], "a minute is not worth a write"
    hour = status(told(Move.NOTHING, at(Stage.SERVING), **priced), up, passed=3600)
    assert hour["cost"]["accruedUSD"] == "2.820000"
    gone = suspended(NONE, hour, passed=7200)
    assert (gone["cost"]["hourlyUSD"], gone["cost"]["accruedUSD"]) == ("0.00", "5.640000"), "until now, as far as anybody knows"
    assert suspended(NONE, gone, passed=72000) == gone, "what is not there is not written about"


def test_what_has_no_price_is_not_said_to_cost_nothing() -> None:
    assert "cost" not in status(told(Move.PROBE, at(Stage.SERVING)))
    assert "cost" not in status(told(Move.CREATE, NONE))


def test_at_rest_nothing_is_written() -> None:
    at_rest = told(Move.NOTHING, at(Stage.SERVING), memory=Memory(probed="p", scaled="2"), hourly=Decimal(1))
    first = status(at_rest)
    assert status(at_rest, first, passed=599) == first
