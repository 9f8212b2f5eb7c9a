"""Faults that end the start, for the pod's termination message, and faults of a request, in OpenAI's shape."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

REASONS = frozenset({"BadParameter", "ModelUnreadable", "OutOfMemory"})
MAX_MESSAGE = 2000


class StartProblem(Exception):
    """Serving cannot begin: one of REASONS, and one plain sentence that says what to change."""

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason}")
        super().__init__(message)
        self.reason, self.message = reason, message


def write_termination(problem: StartProblem) -> None:
    """Write the message where Kubernetes looks for it (MILLRACE_TERMINATION_LOG, else /dev/termination-log)."""
    content = {"schema": 1, "reason": problem.reason, "message": problem.message[:MAX_MESSAGE]}
    path = Path(os.environ.get("MILLRACE_TERMINATION_LOG", "/dev/termination-log"))
    with suppress(OSError):  # outside a pod there is no such file, and the log says the same
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


class ApiError(Exception):
    """A request that gets no answer: HTTP status, OpenAI's type and code, and the parameter at fault where there is one."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None, wait: int = 0) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after = wait

    def body(self) -> dict[str, Any]:
        """The JSON that OpenAI's clients turn into exceptions."""
        return {"error": {"message": self.message, "type": self._type(), "param": self.param, "code": self.code}}

    def _type(self) -> str:
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"


def bad(param: str, message: str, code: str | None = None) -> ApiError:
    """A 400 that names its parameter."""
    return ApiError(400, message, param=param, code=code)
