"""When an endpoint shall be there, by hours of the day where its users live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from millrace.api.v1alpha1.modelendpoint import Schedule
from millrace.engine.errors import Refused
from millrace.engine.outcome import Outcome, Verdict
from millrace_controllers.modelendpoint import hours, status

Object = dict[str, Any]
HOUR = 3600.0
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri"]
WORK = {"days": WEEKDAYS, "from": "08:00", "to": "18:00"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(*windows: Object, zone: str = "UTC") -> Schedule:
    return Schedule.model_validate({"timeZone": zone, "up": list(windows)})


# 2026-11-20 is a Friday. moment, schedule, up, hours until that changes, reason
MOMENTS = [
    ("2026-11-20 08:00", schedule(WORK), True, 10, "from its first minute"),
    ("2026-11-20 17:59", schedule(WORK), True, 1 / 60, "to its last"),
    ("2026-11-20 18:00", schedule(WORK), False, 62, "then the weekend"),
    ("2026-11-21 12:00", schedule(WORK), False, 44, "until Monday"),
    ("2026-11-23 02:00", schedule({"from": "22:00", "to": "06:00"}), True, 4, "a night begins on the day before"),
    ("2026-11-23 01:00", schedule({"days": ["Mon"], "from": "22:00", "to": "06:00"}), False, 21, "but on a day that is named"),
    (
        "2026-11-20 12:00",
        schedule({"from": "08:00", "to": "13:00"}, {"from": "13:00", "to": "18:00"}),
        True,
        6,
        "hours that touch",
    ),
    (
        "2026-11-20 12:00",
        schedule({"from": "08:00", "to": "20:00"}, {"from": "20:00", "to": "08:00"}),
        True,
        None,
        "all day long",
    ),
    ("2026-11-20 07:30", schedule(WORK, zone="Europe/Berlin"), True, 9.5, "winter: an hour before UTC"),
    ("2026-07-20 06:30", schedule(WORK, zone="Europe/Berlin"), True, 9.5, "summer: two"),
    (
        "2026-03-28 23:30",
        schedule({"from": "01:00", "to": "04:00"}, zone="Europe/Berlin"),
        False,
        0.5,
        "before the clocks change",
    ),
    ("2026-03-29 00:00", schedule({"from": "01:00", "to": "04:00"}, zone="Europe/Berlin"), True, 2, "a night of an hour less"),
]


@pytest.mark.parametrize(("moment", "wanted", "up", "left", "reason"), MOMENTS, ids=[m[-1] for m in MOMENTS])
def test_whether_it_shall_be_there(moment: str, wanted: Schedule, up: bool, left: float | None, reason: str) -> None:
    found = hours.look(wanted, at(moment))
    assert found.up is up, reason
    assert found.seconds == (None if left is None else pytest.approx(left * HOUR)), reason


def test_a_time_zone_that_there_is_not_is_named() -> None:
    with pytest.raises(Refused, match="'Europe/Atlantis' is no time zone"):
        hours.look(schedule(WORK, zone="Europe/Atlantis"), at("2026-11-20 12:00"))


def test_nobody_suspended_it() -> None:
    made = Outcome((Verdict("Ready", "False", "Suspended", "Nothing runs"),), requeue_after=500.0)
    shut = status.by_the_hour(made, 60.0, status.OUTSIDE_HOURS)
    assert (shut.conditions[0].reason, shut.requeue_after) == ("OutsideHours", 60.0)
    assert status.by_the_hour(made, None, None) == made, "what somebody suspended is called so"


def test_an_opening_is_told_apart_from_the_next_and_is_the_same_all_the_while() -> None:
    days = schedule(*({"days": [day], "from": "00:00", "to": end} for day in WEEKDAYS for end in ("12:00",)))
    monday, tuesday = (hours.look(days, at(f"2026-11-{day} 09:00")).since for day in (23, 24))
    assert (monday, tuesday) == (at("2026-11-23 00:00"), at("2026-11-24 00:00"))
    long = schedule(
        {"days": ["Mon", "Tue", "Wed"], "from": "06:00", "to": "18:00"}, {"days": ["Mon", "Tue"], "from": "18:00", "to": "06:00"}
    )
    for moment in ("2026-11-23 07:00", "2026-11-24 12:00", "2026-11-25 17:00"):
        assert hours.look(long, at(moment)).since == at("2026-11-23 06:00"), "windows that touch are one"
    always = schedule({"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "00:00"})
    assert hours.look(always, at("2026-11-23 07:00")) == hours.ALWAYS
