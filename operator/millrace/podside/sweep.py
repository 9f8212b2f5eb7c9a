"""Deletes folders on a claim when an object is deleted with dataPolicy Delete, and says so only when they are gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from millrace.podside.files import report


def run(task: dict[str, Any]) -> int:
    """0 when no path of the task's `paths` is there any more, else 1 naming the first that is."""
    for path in map(Path, task["paths"]):
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            report({"schema": 1, "ok": False, "reason": "NotDeleted", "message": f"{path} was not deleted: {error.strerror}"})
            return 1
    report({"schema": 1, "ok": True})
    return 0
