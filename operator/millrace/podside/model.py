"""Reads a model before a server loads it, so that what is served is what was asked for and not what has since taken its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millrace.podside.files import PROGRESS, RECORD, read_json, report, tree_digest

Task = dict[str, Any]


def run(task: Task) -> int:
    """0 with {"ok": true, digest, files, bytes} in the termination message, else 1 with the reason.

    The task has path (the model's folder) and digest (what it must have; null takes what is there).
    """
    try:
        answer = read(Path(task["path"]), task.get("digest"))
    except (OSError, ValueError) as error:
        answer = _refused("ModelUnreadable", f"{task['path']} cannot be read: {error}")
    report({"schema": 1, **answer})
    return 0 if answer["ok"] else 1


def read(folder: Path, wanted: str | None) -> dict[str, Any]:
    """The answer for a folder. Raises OSError and ValueError where its files cannot be read."""
    if not folder.is_dir():
        return _refused("ModelMissing", f"{folder} is not a folder")
    digest, files, size = tree_digest(folder, aside(folder))
    if files == 0:
        return _refused("ModelMissing", f"{folder} is empty")
    if wanted is not None and digest != wanted:
        return _refused("ModelChanged", f"the {files} files in {folder} have digest {digest}, not {wanted}")
    return {"ok": True, "digest": digest, "files": files, "bytes": size}


def aside(folder: Path) -> list[Path]:
    """What lies beside the model where a run left it in its output's root: the record and what the record tells of."""
    record = read_json(folder / RECORD)
    return [] if record is None else [folder / name for name in (RECORD, PROGRESS, *(record.get("aside") or ()))]


def _refused(reason: str, message: str) -> dict[str, Any]:
    return {"ok": False, "reason": reason, "message": message}
