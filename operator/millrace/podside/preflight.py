"""Runs before the user's program, in each pod of an attempt: what would fail after minutes of GPU time fails at once, by name.

Also where a run that has already been done is found: an object that was deleted and made again must not train again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from millrace.podside.files import RECORD, read_json, report

Task = dict[str, Any]
Problem = dict[str, str]


def run(task: Task) -> int:
    """0 when the program may start, else 1 with the reason in the termination message.

    The task has outputDir, checkpointDir, inputs ({name: path}), wrapperDir (or null), and run ({name, namespace, runID,
    specDigest}).
    """
    problem = already_done(task) or missing_input(task) or unwritable(task)
    if problem:
        report({"schema": 1, **problem})
        return 1
    if task.get("wrapperDir"):
        shutil.copyfile(Path(__file__).with_name("wrap.sh"), Path(task["wrapperDir"]) / "wrap.sh")
    return 0


def already_done(task: Task) -> Problem | None:
    """A finished run of the same name, runID and spec digest in the output."""
    try:
        record = read_json(Path(task["outputDir"]) / RECORD)
    except (OSError, ValueError):
        return None
    wanted = task["run"]
    if record is None or any(record.get(field) != wanted[field] for field in wanted):
        return None
    return {"reason": "AlreadyDone", "message": "the output holds the record of this very run"}


def missing_input(task: Task) -> Problem | None:
    """The first input that is not there or cannot be read."""
    for name, path in task["inputs"].items():
        if not os.path.exists(path):
            return {"reason": "InputMissing", "message": f"input {name!r} is not there: {path} does not exist"}
        if not os.access(path, os.R_OK):
            return {"reason": "InputUnreadable", "message": f"input {name!r} cannot be read: {path} denies user {os.getuid()}"}
    return None


def unwritable(task: Task) -> Problem | None:
    """The first folder that results must go to and cannot."""
    for what in ("outputDir", "checkpointDir"):
        folder = Path(task[what])
        probe = folder / f".millrace-{os.uname().nodename}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            said = f"{folder} cannot be written by user {os.getuid()}: {error.strerror}"
            return {"reason": "OutputNotWritable", "message": said}
    return None
