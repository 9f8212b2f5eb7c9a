"""Whether an endpoint is asked so seldom that it shall not be there, and what brings it back. Pure.

That it was stopped is remembered with what it was stopped under: the spec's generation, the annotation millrace.dev/start-at and
the opening of the schedule. When one of them is another, it starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from millrace.engine.clock import moment, stamp
from millrace.kube.labels import START_AT

Object = dict[str, Any]
LATE_SECONDS = 120
"""CloudWatch tells of a request a minute or two after it."""
_POINTS = 1440
"""Data points that one answer may have."""


def under(obj: Object, opening: datetime | None) -> str:
    """Names what an endpoint is stopped under."""
    metadata = obj["metadata"]
    asked = (metadata.get("annotations") or {}).get(START_AT, "")
    return f"{metadata.get('generation', 0)}/{asked}/{stamp(opening) if opening else ''}"


def is_stopped(obj: Object, opening: datetime | None) -> bool:
    """Whether it was stopped, and nothing has brought it back."""
    told = (obj.get("status") or {}).get("idle")
    return told is not None and told["under"] == under(obj, opening)


def last_use(hosted: Object) -> datetime | None:
    """As far as status.sageMaker knows: what has just come into service was not idle before."""
    known = [moment(hosted[name]) for name in ("changed", "lastUsed") if hosted.get(name)]
    return max(known, default=None)


def left(last: datetime, idle_seconds: int, now: datetime) -> float:
    """Seconds until it may be idle; none or less where it is time to ask."""
    return idle_seconds + LATE_SECONDS - (now - last).total_seconds()


def period(begin: datetime, end: datetime) -> int:
    """Seconds of a data point, whole minutes, so that one answer has all of them."""
    return max(1, -(-int((end - begin).total_seconds()) // (60 * _POINTS))) * 60


def newest(points: Iterable[Object], seconds: int, now: datetime) -> datetime | None:
    """The end of the last period with a request."""
    asked = [p["Timestamp"].timestamp() + seconds for p in points if p.get("Sum")]
    return datetime.fromtimestamp(min(max(asked), now.timestamp()), now.tzinfo) if asked else None
