"""How fast the golden request was answered, as the status tells it."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.api.schema import structural
from millrace.api.v1alpha1.modelendpoint import ModelEndpointStatus
from millrace.engine.progress import Push, parse
from millrace_controllers.modelendpoint import speed
from millrace_controllers.modelendpoint.observed import Measured
from support.schemas import problems

Object = dict[str, Any]
QUICK, MUTE = Measured(500, 20), Measured(500)
# measured, status, reason
TOLD: list[tuple[Measured, Object, str]] = [
    (QUICK, {"tokens": 20, "tokensPerSecond": "40.0"}, "tokens by the time of the whole request"),
    (Measured(7000, 3), {"tokens": 3, "tokensPerSecond": "0.4"}, "slow ones have a fraction"),
    (MUTE, {}, "an answer that tells no tokens has no rate, and none is guessed"),
    (Measured(500, 0), {"tokens": 0}, "nothing was generated: that is no speed"),
    (Measured(0, 5), {"tokens": 5}, "less than a millisecond is too short to divide by"),
]


@pytest.mark.proves("08.13")
@pytest.mark.parametrize(("measured", "wanted", "reason"), TOLD, ids=[t[-1] for t in TOLD])
def test_a_rate_is_told_where_there_is_one(measured: Measured, wanted: Object, reason: str) -> None:
    made = speed.told("rev", measured)
    assert made == {"revision": "rev", "milliseconds": measured.milliseconds, **wanted}, reason
    schema = structural(ModelEndpointStatus)
    assert problems(schema, {"observedGeneration": 1, "conditions": [], "probe": made}) == []


HELD = {"probe": speed.told("rev", QUICK)}
OTHER = {"probe": speed.told("before", QUICK)}
# old status, measured, fields, reason
KEPT: list[tuple[Object, Measured | None, Object, str]] = [
    ({}, None, {}, "nobody has told yet"),
    ({}, QUICK, HELD, "the first pod has told"),
    (HELD, Measured(900, 20), {}, "another pod of the revision measures otherwise: nothing is written"),
    (HELD, None, {}, "an operator that starts again knows what is written"),
    (OTHER, None, {"probe": None}, "what another revision took says nothing of this one"),
    (OTHER, QUICK, HELD, "until this one tells"),
]


@pytest.mark.parametrize(("old", "measured", "fields", "reason"), KEPT, ids=[k[-1] for k in KEPT])
def test_it_is_written_once_for_a_revision(old: Object, measured: Measured | None, fields: Object, reason: str) -> None:
    assert speed.of_revision(old, "rev", measured) == fields, reason


def push(**change: Any) -> Push:
    body = {"uid": "u", "attempt": 0, "phase": "probed", "message": "rev", "metrics": {"milliseconds": 500, "tokens": 20}}
    return parse({**body, **change}, None, 0.0)


# push, what it tells, reason
PUSHES: list[tuple[Push | None, tuple[Measured | None, str], str]] = [
    (push(), (QUICK, "rev"), "a sidecar's"),
    (push(metrics={"milliseconds": 500}), (MUTE, "rev"), "of an answer that told no tokens"),
    (push(metrics={}), (None, ""), "that says nothing"),
    (push(phase="training"), (None, ""), "of somebody else"),
    (None, (None, ""), "none came"),
]


@pytest.mark.parametrize(("came", "told", "reason"), PUSHES, ids=[p[-1] for p in PUSHES])
def test_pushes_are_read(came: Push | None, told: tuple[Measured | None, str], reason: str) -> None:
    assert speed.pushed(came) == told, reason
