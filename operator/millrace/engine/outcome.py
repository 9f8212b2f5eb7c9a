"""What one pass says: conditions, status fields, events and when to look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Verdict:
    """A condition without its times: type, status, CamelCase reason and one plain sentence."""

    type: str
    status: Status
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened; posted only after the status that tells of it was written."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True)
class Outcome:
    """The result of one pass.

    `conditions` is the whole list: a condition that is not in it is removed. `fields` are the other status fields, in API
    names; None removes one, a missing one stays. `released` says, of an object being deleted, that nothing is left outside.
    `failed` keeps the backoff growing: the pass ended in an error that is tried again.
    """

    conditions: tuple[Verdict, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    released: bool = False
    failed: bool = False
