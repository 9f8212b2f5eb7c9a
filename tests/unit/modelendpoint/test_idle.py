"""When an endpoint is called idle, and what brings it back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace.engine.clock import stamp
from millrace_controllers.modelendpoint import idle

Object = dict[str, Any]
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OPENED = NOW - timedelta(hours=4)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def stopped(generation: int = 1, asked: str = "", opening: datetime | None = None) -> Object:
    """An endpoint that was stopped under these."""
    metadata: Object = {"generation": generation, **({"annotations": {"millrace.dev/start-at": asked}} if asked else {})}
    told = {"since": stamp(OPENED), "under": idle.under({"metadata": metadata}, opening)}
    return {"metadata": metadata, "status": {"idle": told}}


def test_what_was_stopped_stays_so() -> None:
    assert idle.is_stopped(stopped(), None)
    assert idle.is_stopped(stopped(3, "x", OPENED), OPENED), "whatever it was stopped under"
    assert not idle.is_stopped({"metadata": {"generation": 1}}, None), "never was"


# change of the metadata, opening, reason
COMEBACKS = [
    ({"generation": 2}, OPENED, "the spec changed"),
    ({"annotations": {"millrace.dev/start-at": "now"}}, OPENED, "somebody asked for it"),
    ({"annotations": {"millrace.dev/start-at": "again", "other": "x"}}, OPENED, "and once more"),
    ({}, NOW, "the schedule opened anew"),
]


@pytest.mark.parametrize(("change", "opening", "reason"), COMEBACKS, ids=[row[-1] for row in COMEBACKS])
def test_what_brings_it_back(change: Object, opening: datetime, reason: str) -> None:
    obj = stopped(1, "", OPENED)
    assert not idle.is_stopped({**obj, "metadata": {**obj["metadata"], **change}}, opening), reason


def test_other_annotations_bring_nothing_back() -> None:
    obj = stopped(1, "now")
    obj["metadata"]["annotations"]["other"] = "x"
    assert idle.is_stopped(obj, None)


def test_what_has_just_come_into_service_was_not_idle_before() -> None:
    hosted = {"changed": stamp(ago(10)), "lastUsed": stamp(ago(5000))}
    assert idle.last_use(hosted) == ago(10)
    assert idle.last_use({**hosted, "lastUsed": stamp(ago(1))}) == ago(1)
    assert idle.last_use({}) is None
    assert idle.left(ago(10), 600, NOW) == 710, "CloudWatch is late, and that time is waited for"


# time looked back, seconds of a data point
PERIODS = [(60, 60), (86400, 60), (86401, 120), (1209600, 840)]


@pytest.mark.parametrize(("back", "seconds"), PERIODS)
def test_one_answer_has_all_data_points(back: int, seconds: int) -> None:
    made = idle.period(ago(back), NOW)
    assert made == seconds
    assert made % 60 == 0
    assert back / made <= 1440, "as many as CloudWatch gives"


def test_the_newest_request_is_the_end_of_the_last_period_that_had_one() -> None:
    points = [{"Timestamp": ago(600), "Sum": 2.0}, {"Timestamp": ago(900), "Sum": 1.0}, {"Timestamp": ago(60), "Sum": 0.0}]
    assert idle.newest(points, 60, NOW) == ago(540)
    assert idle.newest([{"Timestamp": ago(10), "Sum": 1.0}], 60, NOW) == NOW, "not in the future"
    assert idle.newest(points[-1:], 60, NOW) is None
