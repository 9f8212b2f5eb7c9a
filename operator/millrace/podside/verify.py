"""Reads a finished run back from its claim, byte by byte, before anybody says that it succeeded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millrace.podside.files import POINTER, PROGRESS, RECORD, read_json, report, sha256, tree_digest, write_json

_MAX_METRICS = 32
"""As many as fit into a termination message beside the rest."""

Task = dict[str, Any]
Report = dict[str, Any]


class NotVerified(Exception):
    """What was found is not what a finished run leaves."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def run(task: Task) -> int:
    """0 with {"ok": true, model, checkpoint, metrics} in the termination message, else 1 with the reason.

    The task has outputDir, checkpointDir, ownRuntime (our trainer wrote the record; otherwise it is written here) and run
    ({name, namespace, runID, specDigest}), uid and attempt.
    """
    return answered(lambda: read_back(task))


def answered(read: Callable[[], Report]) -> int:
    """The exit code of a reader, whose findings or failure it leaves in the termination message."""
    try:
        found = read()
    except NotVerified as problem:
        report({"schema": 1, "ok": False, "reason": problem.reason, "message": str(problem)})
        return 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"the output cannot be read back: {type(error).__name__}: {error}"
        report({"schema": 1, "ok": False, "reason": "OutputUnreadable", "message": said})
        return 1
    report({"schema": 1, "ok": True, **found})
    return 0


def read_back(task: Task) -> Report:
    """What the run left. Raises NotVerified; OSError, ValueError, KeyError, TypeError where a file is not what it should be."""
    output, checkpoints = Path(task["outputDir"]), Path(task["checkpointDir"])
    record = read_json(output / RECORD)
    if record is None or not matches(record, task["run"]):
        if task["ownRuntime"]:
            raise NotVerified("RecordMissing", f"{output / RECORD} is not the record of this run")
        record = seal(task, output, checkpoints)
    else:
        check_model(record, output, checkpoints)
    return {
        "model": record["model"],
        "checkpoint": check_pointer(checkpoints, task["run"]["runID"]),
        "metrics": dict(list((record.get("metrics") or {}).items())[:_MAX_METRICS]),
        "steps": record.get("steps"),
        "recordUID": record.get("uid"),
    }


def matches(record: Report, run_: dict[str, str]) -> bool:
    """Whether a record is of this very run."""
    return all(record.get(field) == value for field, value in run_.items())


def check_model(record: Report, output: Path, checkpoints: Path) -> None:
    """The model's files are the ones that the record tells of."""
    told = record["model"]
    digest, files, _ = tree_digest(output / told["path"], _aside(output, checkpoints))
    if digest != told["digest"]:
        raise NotVerified("ModelCorrupt", f"the model's {files} files have digest {digest}, the record says {told['digest']}")


def seal(task: Task, output: Path, checkpoints: Path) -> Report:
    """Write the record of a run whose program knows nothing of records. Raises NotVerified where there is nothing."""
    digest, files, size = tree_digest(output, _aside(output, checkpoints))
    if files == 0:
        raise NotVerified("OutputEmpty", f"all ranks ended with exit code 0, but {output} is empty")
    record = {
        "schema": 1,
        **task["run"],
        "uid": task["uid"],
        "attempt": task["attempt"],
        "completedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": {"path": ".", "digest": digest, "files": files, "bytes": size},
        "aside": [p.relative_to(output).as_posix() for p in _aside(output, checkpoints)],
    }
    write_json(output / RECORD, record)
    return record


def _aside(output: Path, checkpoints: Path) -> tuple[Path, ...]:
    """What lies in the output but is not the model. Checkpoints that do not lie in a folder below it cannot be told apart."""
    apart = output.resolve() in checkpoints.resolve().parents
    return (output / RECORD, output / PROGRESS, *((checkpoints,) if apart else ()))


def check_pointer(checkpoints: Path, run_id: str) -> Report | None:
    """The committed checkpoint, with every file of it re-hashed; None where there is none of this run."""
    pointer = read_json(checkpoints / POINTER)
    if pointer is None or pointer.get("runID") != run_id:
        return None
    folder = checkpoints / pointer["path"]
    for name, told in pointer["files"].items():
        if not is_file(folder / name, told):
            raise NotVerified("CheckpointCorrupt", f"{folder / name} is not the file that the commit pointer tells of")
    return {name: pointer[name] for name in ("step", "path", "committedAt", "attempt")}


def is_file(path: Path, told: dict[str, Any]) -> bool:
    """Whether a file has the bytes (their number and sha256) that are told of it."""
    return path.is_file() and path.stat().st_size == told["bytes"] and sha256(path) == told["sha256"]
