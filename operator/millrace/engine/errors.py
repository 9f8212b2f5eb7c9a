"""The three things that can be wrong, as a tree:

MillraceError
├── Retry      passes by itself: try again soon, with backoff; silent ones (conflicts) are never shown to users
├── Waiting    something outside must change; the message says what
│   ├── Denied            a permission is missing
│   ├── QuotaExceeded     a limit of the account: it is waited for, as in a queue
│   ├── NotSubscribed     a product that somebody must subscribe to
│   ├── AccountNotReady   the CloudAccount that is used
│   └── BudgetExceeded    the CloudAccount's budget lets nothing new begin
└── Terminal   nothing will help until the spec changes
    ├── NameConflict
    └── Refused

Backends raise subclasses of these; which condition reason they become is the business of the kind's status.py.
"""

from __future__ import annotations

from millrace.aws import errors as aws
from millrace.kube import errors as api


class MillraceError(Exception):
    """Base of what a pass may raise on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Retry(MillraceError):
    """Passes by itself. `after` is the least number of seconds to wait; None leaves it to the backoff.

    A `patient` one comes again after just these seconds: that its turn had not come is no failure for a backoff to grow by.
    """

    def __init__(self, message: str, *, after: float | None = None, silent: bool = False, patient: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.silent = silent
        self.patient = patient


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
    """The API server refuses (RBAC, quota or an admission plugin), or AWS does (IAM)."""


class QuotaExceeded(Waiting):
    """A limit of the AWS account is reached."""


class NotSubscribed(Waiting):
    """The AWS account has not subscribed to a product."""


class AccountNotReady(Waiting):
    """The CloudAccount is missing or not Ready; a change of it wakes the object."""

    def __init__(self, message: str, *, after: float = 300.0) -> None:
        super().__init__(message, after=after)


class BudgetExceeded(Waiting):
    """The CloudAccount's budget lets nothing new begin."""

    def __init__(self, message: str, *, after: float = 300.0) -> None:
        super().__init__(message, after=after)


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


def from_aws(error: aws.AwsError) -> MillraceError:
    """What an error of AWS means to a pass."""
    match error:
        case aws.Throttled():
            return Retry(error.message, after=error.after, patient=True)
        case aws.InUse():
            return Retry(error.message, after=5.0, patient=True)
        case aws.Denied() | aws.NoCredentials():
            return Denied(error.message)
        case aws.QuotaExceeded():
            return QuotaExceeded(error.message)
        case aws.NotSubscribed():
            return NotSubscribed(error.message, after=error.after)
        case aws.AccountNotReady():
            return AccountNotReady(error.message)
        case aws.BudgetExceeded():
            return BudgetExceeded(error.message)
        case aws.AlreadyExists():
            return NameConflict(error.message)
        case aws.Invalid() | aws.AccountRefused():
            return Refused(error.message)
        case _:
            return Retry(error.message)


def understood(raised: Exception) -> Exception:
    """An error of either API as what it means to a pass; anything else as it is."""
    if isinstance(raised, api.ApiError):
        return from_api(raised)
    return from_aws(raised) if isinstance(raised, aws.AwsError) else raised
