"""The page on /: what is in this AWS, for eyes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from millrace_local_aws.wire.incoming import Incoming
from millrace_local_aws.wire.scalars import iso

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_STYLE = "body{font:14px system-ui;margin:2em}td,th{text-align:left;padding:2px 12px 2px 0;border-bottom:1px solid #ddd}"
_HIDDEN = {"timer", "clock", "sts.session", "iam.access-key"}


def wanted(request: Incoming) -> bool:
    """A browser asks; an SDK that lists buckets signs."""
    return request.method == "GET" and request.path == "/" and not request.query and "Authorization" not in request.headers


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2><table>{body}</table>" if rows else ""


def html(world: World) -> str:
    parts = [f"<p>clock {iso(world.clock.now())}, speed {world.clock.speed:g}</p>"]
    parts.append(
        _table("Services", [(name, f"{len(world.services[name].operations)} operations") for name in sorted(world.services)])
    )
    for name, table in sorted(world.store.tables().items()):
        if name not in _HIDDEN:
            rows = [(scope, key, _status(record)) for scope, key, record in table.everything()]
            parts.append(_table(f"{name} ({len(rows)})", rows[:200]))
    parts.append(_table("Not served", [(what, str(count)) for what, count in sorted(world.counters.unserved.items())]))
    parts.append(_table("Own faults", [(fault["kind"], fault["text"]) for fault in world.counters.faults]))
    return f"<!doctype html><title>local AWS</title><style>{_STYLE}</style><h1>Local AWS</h1>{''.join(parts)}"


def _status(record: object) -> str:
    if not isinstance(record, dict):
        return ""
    return next((str(value) for name, value in record.items() if name.endswith("Status") and isinstance(value, str)), "")
