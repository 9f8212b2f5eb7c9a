"""From reports to figures that change seldom and never lie."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_controllers.trainingjob import progress
from support.builders import ago, attempt, observed, push
from support.clock import BEGIN

Object = dict[str, Any]
SAVED = {"step": 100, "path": "claim://results/gpt/checkpoints/step-00000100-a1", "committedAt": ago(5)}


def test_without_a_report_nothing_changes() -> None:
    assert progress.fields({"progress": {"step": 5}}, observed(pushes=()), BEGIN) == {}


def test_rank_0_speaks_for_all_and_without_it_the_furthest() -> None:
    def step(*pushes: Any) -> int:
        return int(progress.fields({}, observed(pushes=pushes), BEGIN)["progress"]["step"])

    assert step(push(0, step=10), push(1, step=99)) == 10
    assert step(push(2, step=10), push(1, step=99)) == 99


def test_a_report_in_mid_training() -> None:
    made = progress.fields({}, observed(pushes=(push(0),), monotonic=3.0), BEGIN)
    assert made["progress"] == {
        "step": 120,
        "phase": "training",
        "heartbeatAge": "<30s",
        "maxSteps": 400,
        "percent": 30,
        "etaSeconds": 150,
        "tokensPerSecond": 5120,
    }
    assert made["metrics"] == [{"name": "loss", "value": "3.25", "step": 120}]


# push, missing or given, why
FIGURES: list[tuple[Any, Object, str]] = [
    (push(0, max_steps=None), {"percent": None, "etaSeconds": None}, "nobody knows how far it is"),
    (push(0, step=999), {"percent": 100, "etaSeconds": 0}, "further than told"),
    (push(0, phase="exporting"), {"percent": 30, "etaSeconds": None}, "steps say nothing of an export"),
    (push(0, step_seconds=None), {"etaSeconds": None}, "no rate, no estimate"),
    (push(0, tokens_per_second=None), {"tokensPerSecond": None}, "not told"),
]


@pytest.mark.parametrize(("report", "expected", "why"), FIGURES, ids=[f[-1] for f in FIGURES])
def test_figures_that_cannot_be_known_are_not_told(report: Any, expected: Object, why: str) -> None:
    made = progress.fields({}, observed(pushes=(report,)), BEGIN)["progress"]
    assert {name: made.get(name) for name in expected} == expected, why


@pytest.mark.parametrize(
    ("age", "bucket"), [(0, "<30s"), (29.9, "<30s"), (30, "<2m"), (119, "<2m"), (120, "<10m"), (600, ">=10m"), (9e9, ">=10m")]
)
def test_the_age_of_the_newest_report_is_told_in_buckets(age: float, bucket: str) -> None:
    seen = observed(pushes=(push(0, received=-5000.0), push(1, received=0.0)), monotonic=age)
    assert progress.fields({}, seen, BEGIN)["progress"]["heartbeatAge"] == bucket


@given(st.integers(-1000, 10**9).map(lambda hundredths: hundredths / 100))
def test_an_estimate_is_never_too_short_and_never_far_off(seconds: float) -> None:
    told = progress.rounded(seconds)
    assert told >= seconds
    assert told - max(0.0, seconds) <= (5 if seconds < 120 else 30 if seconds < 3600 else 300)


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.25, "3.25"), (3.2519999, "3.252"), (1e-7, "1e-07"), (12345678.0, "1.23457e+07"), (0.0, "0"),
     (float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")],
)  # fmt: skip
def test_numbers_are_told_as_decimal_strings(value: float, text: str) -> None:
    assert progress.decimal(value) == text


# -- checkpoints ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_told_with_its_attempt() -> None:
    made = progress.fields({}, observed(pushes=(push(0, checkpoint=SAVED),)), BEGIN)
    assert made["checkpoint"] == {"step": 100, "uri": SAVED["path"], "committedAt": SAVED["committedAt"], "attempt": 1}


def test_a_checkpoint_that_a_later_attempt_started_from_stays_that_of_its_own_attempt() -> None:
    held = {"step": 100, "uri": SAVED["path"], "committedAt": SAVED["committedAt"], "attempt": 1}
    seen = observed(attempt(number=2), pushes=(push(0, attempt=2, checkpoint=SAVED),))
    assert progress.fields({"checkpoint": held}, seen, BEGIN)["checkpoint"] == held


def test_no_checkpoint_in_a_report_leaves_the_one_that_is_known() -> None:
    assert "checkpoint" not in progress.fields({"checkpoint": {"step": 1}}, observed(pushes=(push(0),)), BEGIN)


# -- the end -------------------------------------------------------------------------------------------------------------

MODEL = {"uri": "u", "digest": "d"}


def test_a_foreign_run_keeps_its_last_figures_without_those_of_a_running_one() -> None:
    old = {"progress": {"step": 5, "etaSeconds": 9, "heartbeatAge": "<30s"}}
    made = progress.final_fields(old, {"model": MODEL, "checkpoint": None, "metrics": {}, "steps": None})
    assert made == {"model": MODEL, "progress": {"step": 5}}


def test_final_metrics_join_those_that_were_pushed() -> None:
    old = {"metrics": [{"name": "loss", "value": "9", "step": 1}, {"name": "grad", "value": "2", "step": 1}]}
    made = progress.final_fields(old, {"model": MODEL, "metrics": {"loss": 1.25}, "steps": 400})
    assert made["metrics"] == [{"name": "grad", "value": "2", "step": 1}, {"name": "loss", "value": "1.25", "step": 400}]
