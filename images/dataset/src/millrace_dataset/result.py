"""The worker's answer: one JSON object in the pod's termination message, which Kubernetes cuts at 4096 bytes."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace_dataset.places import located
from millrace_dataset.problems import Problem
from millrace_dataset.publish import Published
from millrace_dataset.quality.examined import Examined
from millrace_dataset.request import Request
from millrace_dataset.scan import Scan

LIMIT_BYTES = 4096
MAX_COLUMNS = 40


@dataclass(frozen=True)
class Done:
    """What the work came to; `published` is None where nothing was asked to be, or a gate is shut."""

    scan: Scan
    published: Published | None = None
    quality: Examined | None = None
    conversations: Mapping[str, int] | None = None
    layout: Mapping[str, Any] | None = None


def answer(done: Done, request: Request) -> dict[str, Any]:
    """The answer for a source that is in order, or whose quality is not what it must be."""
    quality = done.quality
    told: dict[str, Any] = {"quality": quality.summary, "report": _report(quality, request)} if quality is not None else {}
    if done.conversations is not None:
        told |= {"conversations": dict(done.conversations)}
    if done.layout is not None:
        told |= {"layout": dict(done.layout)}
    if quality is not None and quality.failure is not None:
        return failure(quality.failure) | told
    return success(done.scan, done.published, request) | told


def _report(quality: Examined, request: Request) -> dict[str, Any] | None:
    if quality.folder is None:
        return None
    return {**located(quality.folder, request), "files": quality.files}


def success(found: Scan, published: Published | None, request: Request) -> dict[str, Any]:
    """The answer for a source that is in order."""
    splits = {}
    if published is not None:
        for name, split in published.splits.items():
            place = located(published.folder / split["file"], request)
            splits[name] = {**place, **{key: split[key] for key in ("rows", "bytes", "digest")}}
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


def encode(answer: dict[str, Any]) -> str:
    """JSON within LIMIT_BYTES: columns are dropped from the end, then the mildest findings, then a message is cut."""
    answer = dict(answer)
    while len(text := json.dumps(answer, ensure_ascii=False)) and len(text.encode()) > LIMIT_BYTES:
        if answer.get("columns"):
            answer["columns"] = answer["columns"][:-1]
        elif worst := (answer.get("quality") or {}).get("worst"):
            answer["quality"] = {**answer["quality"], "worst": worst[:-1]}
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
