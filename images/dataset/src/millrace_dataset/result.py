"""The worker's answer: one JSON object in the pod's termination message, which Kubernetes cuts at 4096 bytes."""

import json
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from millrace_dataset.problems import Problem
from millrace_dataset.publish import Published
from millrace_dataset.scan import Scan

LIMIT_BYTES = 4096
MAX_COLUMNS = 40
DEFAULT_CLAIMS = "/millrace/claims"


def success(found: Scan, published: Published | None) -> dict[str, Any]:
    """The answer for a source that is in order; paths are relative to the publish claim's root."""
    splits = {}
    if published is not None:
        for name, split in published.splits.items():
            path = path_in_claim(published.folder / split["file"])
            splits[name] = {"path": path, **{key: split[key] for key in ("rows", "bytes", "digest")}}
    return {
        "schema": 1,
        "ok": True,
        "digest": found.digest,
        "version": published.folder.name if published else "",
        "rows": found.rows,
        "bytes": found.bytes,
        "columns": [{"name": column.name, "type": column.type} for column in found.columns[:MAX_COLUMNS]],
        "columnCount": len(found.columns),
        "splits": splits,
    }


def failure(problem: Problem) -> dict[str, Any]:
    """The answer for a source that is not."""
    return {"schema": 1, "ok": False, "reason": problem.reason, "message": problem.message}


def path_in_claim(path: Path) -> str:
    """`/millrace/claims/<claim>/a/b` -> `a/b`; a path outside every claim stays as it is."""
    root = PurePosixPath(os.environ.get("MILLRACE_CLAIMS_ROOT", DEFAULT_CLAIMS))
    if not path.is_relative_to(root):
        return path.as_posix()
    return PurePosixPath(*path.relative_to(root).parts[1:]).as_posix()


def encode(answer: dict[str, Any]) -> str:
    """JSON within LIMIT_BYTES: columns are dropped from the end, then a message is cut."""
    answer = dict(answer)
    while len(text := json.dumps(answer, ensure_ascii=False)) and len(text.encode()) > LIMIT_BYTES:
        if answer.get("columns"):
            answer["columns"] = answer["columns"][:-1]
        elif len(message := str(answer.get("message", ""))) > 100:
            answer["message"] = message[: len(message) * 3 // 4] + "…"
        else:
            return text.encode()[:LIMIT_BYTES].decode(errors="ignore")
    return text


def write(answer: dict[str, Any]) -> str:
    """Write the answer where Kubernetes looks for it, and return the text."""
    text = encode(answer)
    path = Path(os.environ.get("MILLRACE_TERMINATION_LOG", "/dev/termination-log"))
    with suppress(OSError):  # outside a pod there is no such file; the text goes to the log as well
        path.write_text(text, encoding="utf-8")
    return text
