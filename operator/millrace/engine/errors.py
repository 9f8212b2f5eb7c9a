"""The three things that can be wrong, as a tree:

MillraceError
├── Retry      passes by itself: try again soon, with backoff; silent ones (conflicts) are never shown to users
├── Waiting    something outside must change; the message says what
└── Terminal   nothing will help until the spec changes

Backends raise subclasses of these; which condition reason they become is the business of the kind's status.py.
"""

from __future__ import annotations

from millrace.kube import errors as api


class MillraceError(Exception):
    """Base of what a pass may raise on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Retry(MillraceError):
    """Passes by itself. `after` is the least number of seconds to wait; None leaves it to the backoff."""

    def __init__(self, message: str, *, after: float | None = None, silent: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.silent = silent


class Waiting(MillraceError):
    """Something outside must change; looked at again after `after` seconds even if nothing wakes the object."""

    def __init__(self, message: str, *, after: float = 30.0) -> None:
        super().__init__(message)
        self.after = after


class Terminal(MillraceError):
    """Nothing will help until the spec changes."""


class NameConflict(Terminal):
    """A child's name is taken by an object that is not ours."""


class Denied(Waiting):
    """The API server refuses: RBAC, quota or an admission plugin."""


class Refused(Terminal):
    """The API server says that what the spec leads to is invalid."""


def from_api(error: api.ApiError) -> MillraceError:
    """What an API error means to a pass."""
    match error:
        case api.Conflict() | api.AlreadyExists():
            return Retry(error.message, silent=True)
        case api.Throttled():
            return Retry(error.message, after=error.after)
        case api.Forbidden():
            return Denied(error.message)
        case api.Invalid():
            return Refused(error.message)
        case _:
            return Retry(error.message)
