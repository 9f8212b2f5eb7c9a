"""Which instance type an attempt runs on, of several that are named. Pure.

A type without quota refuses a job before there is one, and the next is tried at once. One without capacity fails it minutes
later: it is passed over until the others were tried, too, and only then is there a pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from millrace.engine.clock import seconds_since
from millrace_controllers.trainingjob.observed import Observed

Object = dict[str, Any]
PassedOver = tuple[tuple[str, str], ...]
"""Instance types, and what was said of each."""


def passed_over(status: Object) -> PassedOver:
    """What is remembered of this round."""
    return tuple((p["instanceType"], p["reason"]) for p in status.get("passedOver") or ())


def in_line(types: Sequence[str], over: PassedOver) -> tuple[str, ...]:
    """In the order of trying: as named, those that had no capacity last."""
    gone = {name for name, _ in over}
    return (*(t for t in types if t not in gone), *(t for t in types if t in gone))


def after(types: Sequence[str], over: PassedOver, name: str, why: str) -> PassedOver:
    """What is to be remembered once a type had no capacity; nothing where the round is over, and the first is next again."""
    gone = {other for other, _ in over}
    left = [t for t in types if t not in gone and t != name]
    return (*over, (name, why[:512])) if left and name not in gone else ()


def used(status: Object, observed: Observed, now: datetime) -> list[Object] | None:
    """status.usage once the attempt is over: what the service bills, or how long it was seen to run where it does not say."""
    name, cloud = observed.instance_type, observed.current.cloud
    billed = cloud.billable_seconds if cloud else None
    seconds = int(seconds_since(status.get("attemptStartTime"), now) or 0) if billed is None else billed
    told: dict[str, int] = {u["instanceType"]: u["seconds"] for u in status.get("usage") or ()}
    if name and seconds:
        told[name] = told.get(name, 0) + seconds
    return [{"instanceType": each, "seconds": told[each]} for each in sorted(told)] or None
