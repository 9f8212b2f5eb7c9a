"""Deletes folders on a claim when an object is deleted with dataPolicy Delete, and says so only when they are gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from millrace.podside.files import report

OWNERS = ".owners"
"""A folder in which each object that uses what lies beside it has a file named by its uid."""


def run(task: dict[str, Any]) -> int:
    """0 when no path of the task's `paths` is there any more, else 1 naming the first that is.

    With `owner`, a uid, a folder that other objects use stays; its own mark on it goes.
    """
    for path in map(Path, task["paths"]):
        try:
            _remove(path, task.get("owner"))
        except OSError as error:
            report({"schema": 1, "ok": False, "reason": "NotDeleted", "message": f"{path} was not deleted: {error.strerror}"})
            return 1
    report({"schema": 1, "ok": True})
    return 0


def _remove(path: Path, owner: str | None) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif owner is None or not _shared(path / OWNERS, owner):
        shutil.rmtree(path)


def _shared(owners: Path, owner: str) -> bool:
    (owners / owner).unlink(missing_ok=True)
    return owners.is_dir() and any(owners.iterdir())
