"""Whether an endpoint shall be there now, by spec.schedule, and when that changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from millrace.api.v1alpha1.modelendpoint import Schedule, UpWindow
from millrace.engine.errors import Refused

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK = 8
"""Days to look ahead and back: every window comes again within them."""


@dataclass(frozen=True)
class Hours:
    """`seconds` until `up` changes; None where it never does. `since`: when it opened, where it ever does."""

    up: bool
    seconds: float | None
    since: datetime | None = None


ALWAYS = Hours(True, None)


def look(schedule: Schedule, now: datetime) -> Hours:
    """What holds at a moment. Raises Refused for a time zone that there is not."""
    joined = _joined(sorted(_spans(schedule, now.astimezone(_zone(schedule.time_zone)))))
    for begin, end in joined:
        if begin <= now < end:
            forever = end == joined[-1][1]
            return ALWAYS if forever else Hours(True, (end - now).total_seconds(), begin)
    return Hours(False, (min(begin for begin, _ in joined if begin > now) - now).total_seconds())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise Refused(f"spec.schedule.timeZone {name!r} is no time zone: use an IANA name such as Europe/Berlin") from error


def _spans(schedule: Schedule, here: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Begin and end of every window from a week ago on, in UTC: local hours stay what they are when the clocks change."""
    for ahead in range(-_WEEK, _WEEK + 1):
        day = here.date() + timedelta(days=ahead)
        for window in schedule.up:
            if window.days is None or _DAYS[day.weekday()] in window.days:
                yield _span(window, datetime.combine(day, time(), here.tzinfo))


def _span(window: UpWindow, midnight: datetime) -> tuple[datetime, datetime]:
    begin, end = time.fromisoformat(window.from_), time.fromisoformat(window.to)
    over = timedelta(days=1 if end <= begin else 0)
    first = datetime.combine(midnight.date(), begin, midnight.tzinfo)
    last = datetime.combine(midnight.date() + over, end, midnight.tzinfo)
    return first.astimezone(UTC), last.astimezone(UTC)


def _joined(spans: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Windows that touch are one."""
    made: list[tuple[datetime, datetime]] = []
    for begin, end in spans:
        if made and begin <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((begin, end))
    return made
