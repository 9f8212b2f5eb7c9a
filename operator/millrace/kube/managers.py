"""Who set a field, as far as the API server remembers: metadata.managedFields. Pure.

It names a program (kubectl, a GitOps tool), not a person, and the time of that program's last write to any of its fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Manager:
    """A field manager, and when it last wrote."""

    name: str
    time: str


def of_field(managed: Iterable[Object], *path: str) -> Manager | None:
    """The manager of a field of the spec; of several that of the oldest write. None where none is told."""
    owners = [m for m in managed if not m.get("subresource") and _has(m.get("fieldsV1") or {}, path)]
    found = min(owners, key=lambda m: str(m.get("time") or ""), default=None)
    return Manager(str(found.get("manager") or ""), str(found.get("time") or "")) if found else None


def _has(fields: Object, path: tuple[str, ...]) -> bool:
    for name in path:
        if f"f:{name}" not in fields:
            return False
        fields = fields[f"f:{name}"]
    return True
