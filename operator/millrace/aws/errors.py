"""Errors of AWS, one class a meaning. Which code means what is data: codes/, one table a service.

AwsError
├── CallError          an answer other than success, or none; with service, operation, code and request id
│   ├── Throttled      too fast; `after` seconds later it is this call's turn
│   ├── Denied         IAM says no; names the action that is missing and who lacks it
│   ├── NoCredentials  nobody to be: no identity, or one that AWS does not know
│   ├── Expired        the credentials are too old (renewed and tried again once before anybody sees this)
│   ├── QuotaExceeded  an account's limit
│   ├── NotSubscribed  a Marketplace product or a service that the account has not subscribed to
│   ├── NotFound
│   ├── AlreadyExists
│   ├── InUse          something else is being done to it; passes by itself
│   ├── Invalid        the request itself is wrong
│   └── Unavailable    a fault of the service, a broken connection, a time-out, or a code that no table has
├── AccountNotReady    the CloudAccount is missing or not Ready
├── AccountRefused     the installer does not allow what the CloudAccount asks for
│   ├── EndpointRefused
│   └── OwnIdentityRefused
└── BudgetExceeded     the CloudAccount's budget is spent and blocks new work
"""

from __future__ import annotations

from dataclasses import dataclass


class AwsError(Exception):
    """Base; `message` is one plain sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AccountNotReady(AwsError):
    """The CloudAccount that an object uses is missing or not Ready."""


class AccountRefused(AwsError):
    """The installer does not allow what the CloudAccount asks for."""


class EndpointRefused(AccountRefused):
    """An endpoint of its own."""


class OwnIdentityRefused(AccountRefused):
    """To be the operator itself."""


class BudgetExceeded(AwsError):
    """The CloudAccount's budget is spent, and its policy is to let nothing new begin."""


@dataclass(frozen=True)
class Where:
    """Which call it was, as AWS names it."""

    service: str
    operation: str
    code: str = ""
    request_id: str = ""

    def __str__(self) -> str:
        return f"{self.service}:{self.operation}"


class CallError(AwsError):
    """A call that did not succeed. Without the request id in `message`: conditions must not change with every try."""

    def __init__(self, where: Where, message: str) -> None:
        super().__init__(message)
        self.where = where


class Throttled(CallError):
    """Too fast. `after`: seconds until it is this call's turn."""

    after: float = 1.0


class Denied(CallError):
    """IAM refuses. `action` is what is missing, `identity` the ARN of who lacks it ("" where AWS does not say)."""

    action: str = ""
    identity: str = ""


class NoCredentials(CallError):
    """There is no identity, or AWS does not know it."""


class Expired(CallError):
    """The credentials are too old."""


class QuotaExceeded(CallError):
    """A limit of the account is reached."""


class NotSubscribed(CallError):
    """The account has not subscribed to the product or service. `after`: seconds until it is looked at again without an event."""

    after: float = 300.0


class NotFound(CallError):
    """The thing does not exist."""


class AlreadyExists(CallError):
    """A thing of that name exists."""


class InUse(CallError):
    """Something else is being done to the thing just now."""


class Invalid(CallError):
    """The request is wrong and stays so."""


class Unavailable(CallError):
    """The service does not work just now, or says something that no table knows."""
