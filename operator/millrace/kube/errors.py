"""Errors of the Kubernetes API, one class a meaning:

ApiError
├── NotFound            404
├── Conflict            409 on an update: somebody else wrote first, or the uid is another's
├── AlreadyExists       409 on a create
├── Forbidden           403: RBAC, quota, or an admission plugin
├── Invalid             422 or 400: the object itself is wrong
├── Throttled           429, with the seconds to wait
└── Unavailable         5xx, a broken connection or a time-out
"""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer other than 2xx, or none. `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):
    """The object does not exist."""


class Conflict(ApiError):
    """Somebody else wrote first, or the object of that name is another one (uid)."""


class AlreadyExists(ApiError):
    """An object of that name exists."""


class Forbidden(ApiError):
    """Refused by RBAC, a quota or an admission plugin."""


class Invalid(ApiError):
    """The API server says that the object is wrong."""


class Throttled(ApiError):
    """Too many requests; `after` is the number of seconds to wait."""

    after: float = 1.0


class Unavailable(ApiError):
    """The API server is out of reach or broken; it may answer later."""


_BY_STATUS: dict[int, type[ApiError]] = {400: Invalid, 403: Forbidden, 404: NotFound, 422: Invalid, 429: Throttled}


def from_answer(status: int, body: dict[str, Any], retry_after: str | None) -> ApiError:
    """The typed error of a Status answer, or of what a server behind the API server's proxy says in OpenAI's form."""
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or _inner(body.get("error")) or f"HTTP {status}")
    if status == 409:
        return (AlreadyExists if reason == "AlreadyExists" else Conflict)(status, reason, message)
    error = _BY_STATUS.get(status, Unavailable if status >= 500 else ApiError)(status, reason, message)
    if isinstance(error, Throttled) and retry_after and retry_after.isdigit():
        error.after = float(retry_after)
    return error


def _inner(error: Any) -> str:
    return str(error.get("message") or "") if isinstance(error, dict) else str(error or "")
