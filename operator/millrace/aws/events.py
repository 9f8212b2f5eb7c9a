"""EventBridge events: which thing does one tell of? A table as data (events.toml); pure.

Events are hints. Losing, doubling or reordering them changes nothing but latency, so a message that cannot be read is dropped.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

Object = dict[str, Any]
_HOLE = re.compile(r"\{([\w.]+)\}")


@dataclass(frozen=True)
class EventType:
    """One row: where it comes from, what it is called, and how the id of the thing that it tells of is made."""

    source: str
    type: str
    id: str
    own_rule: bool = False


@dataclass(frozen=True)
class Told:
    """What a message tells: ids of things, or why it tells nothing. `type` is a known one, for metrics, or ""."""

    ids: tuple[str, ...] = ()
    type: str = ""
    dropped: str = ""


@cache
def types() -> dict[tuple[str, str], EventType]:
    """The table by source and detail-type."""
    text = resources.files(__package__).joinpath("events.toml").read_text(encoding="utf-8")
    rows = (EventType(**row) for row in tomllib.loads(text)["types"])
    return {(row.source, row.type): row for row in rows}


def read(body: str) -> Told:
    """What the body of a message tells."""
    try:
        event = json.loads(body)
    except ValueError:
        return Told(dropped="malformed")
    if not isinstance(event, dict) or not isinstance(event.get("detail"), dict):
        return Told(dropped="malformed")
    known = types().get((str(event.get("source")), str(event.get("detail-type"))))
    if known is None:
        return Told(dropped="unknown")
    ids = _ids(known, event)
    return Told(ids, known.type, "" if ids else "malformed")


def _ids(known: EventType, event: Object) -> tuple[str, ...]:
    """The id that the table makes, and the ARNs that the event itself names."""
    made = filled(known.id, event)
    named = [r for r in event.get("resources") or () if isinstance(r, str)]
    return tuple(dict.fromkeys([*([made] if made else []), *named]))


def filled(template: str, event: Mapping[str, Any]) -> str:
    """A template with its holes filled from an event; "" where the event lacks one."""
    values = {hole: _at(event, hole.split(".")) for hole in _HOLE.findall(template)}
    if not all(isinstance(v, str) and v for v in values.values()):
        return ""
    return _HOLE.sub(lambda found: str(values[found[1]]), template)


def _at(value: Any, path: list[str]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def pattern(account_id: str) -> str:
    """The event pattern of our rule: everything in the table that needs no rule of its own."""
    asked = [row for row in types().values() if not row.own_rule]
    return json.dumps(
        {
            "account": [account_id],
            "source": sorted({row.source for row in asked}),
            "detail-type": sorted({row.type for row in asked}),
        },
        sort_keys=True,
    )
