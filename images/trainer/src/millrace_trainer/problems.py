"""Faults that a user can act on, and the termination message in which the operator finds them."""

import json
import os
from contextlib import suppress
from pathlib import Path

REASONS = frozenset(
    {
        "NaNLoss",
        "InputMissing",
        "InputUnreadable",
        "OutputNotWritable",
        "CheckpointUnreadable",
        "Superseded",
        "BadParameter",
        "DeviceCount",
        "OutOfMemory",
    }
)
MAX_MESSAGE = 2000


class Problem(Exception):
    """A fault with one of REASONS, one plain sentence that says what to change, and the step where known."""

    def __init__(self, reason: str, message: str, step: int | None = None) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason}")
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.step = step


def write_termination(problem: Problem) -> None:
    """Write the message where Kubernetes looks for it (MILLRACE_TERMINATION_LOG, else /dev/termination-log)."""
    content: dict[str, object] = {"schema": 1, "reason": problem.reason, "message": problem.message[:MAX_MESSAGE]}
    if problem.step is not None:
        content["step"] = problem.step
    path = Path(os.environ.get("MILLRACE_TERMINATION_LOG", "/dev/termination-log"))
    with suppress(OSError):  # outside a pod there is no such file, and the log says the same
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
