"""Reads published files back from their claim, byte by byte, in a pod that did not write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millrace.podside.verify import NotVerified, Report, answered, is_file

Task = dict[str, Any]


def run(task: Task) -> int:
    """0 with {"ok": true, files, bytes}, else 1 with the reason. The task has files: [{path, sha256, bytes}]."""
    return answered(lambda: read_back(task))


def read_back(task: Task) -> Report:
    """What was read. Raises NotVerified naming the first file that is not what its writer said; OSError, KeyError."""
    for told in task["files"]:
        if not is_file(Path(told["path"]), told):
            raise NotVerified("NotReadBack", f"{told['path']} is not the file that the worker wrote: its content differs")
    return {"files": len(task["files"]), "bytes": sum(told["bytes"] for told in task["files"])}
