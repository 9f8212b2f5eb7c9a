"""Decides what an AWS account's answers mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from millrace.api.v1alpha1.cloudaccount import Budget, CloudAccountSpec
from millrace.aws import costs
from millrace.aws import errors as aws
from millrace.aws.costs import Ledger
from millrace.engine.errors import MillraceError, Terminal, Waiting, from_aws

Object = dict[str, Any]


class AccountMismatch(Terminal):
    """AWS says that it is another account."""


class EndpointNotAllowed(Terminal):
    """The installer allows no endpoints in manifests."""


class OwnIdentityNotAllowed(Terminal):
    """The installer wants a role to be named."""


class ClusterUnknown(Waiting):
    """The external id cannot be told."""


@dataclass(frozen=True)
class Observed:
    """Who AWS says that we are."""

    account_id: str
    arn: str


@dataclass(frozen=True)
class Heard:
    """What is listened to, and when an event last came."""

    queue_url: str
    last: datetime | None = None


@dataclass(frozen=True)
class Costs:
    """What the objects that use the account cost."""

    fields: Object
    over_budget: bool = False


def check_account(spec: CloudAccountSpec, status: Object, observed: Observed) -> None:
    """Raises AccountMismatch: for what the spec expects, or for what the account was when something was made in it."""
    if spec.expected_account_id and spec.expected_account_id != observed.account_id:
        raise AccountMismatch(f"AWS says account {observed.account_id}, but spec.expectedAccountID is {spec.expected_account_id}")
    before = status.get("accountID")
    if before and before != observed.account_id:
        raise AccountMismatch(
            f"AWS says account {observed.account_id}, but it was {before}: make a new object for another account"
        )


def meant(error: aws.AwsError) -> MillraceError:
    """What an error means to a CloudAccount itself."""
    match error:
        case aws.EndpointRefused():
            return EndpointNotAllowed(error.message)
        case aws.OwnIdentityRefused():
            return OwnIdentityNotAllowed(error.message)
        case aws.AccountNotReady():
            return ClusterUnknown(error.message)
        case _:
            return from_aws(error)


def costs_of(users: Sequence[Object], ledger: Ledger, budget: Budget | None) -> Costs:
    """The status field `costs`, and whether the month's budget is spent."""
    fields = {
        "month": ledger.month,
        "monthUSD": costs.text(ledger.total),
        "accruedUSD": costs.text(sum(ledger.counted.values(), Decimal(0))),
        "hourlyUSD": costs.text(costs.hourly_of(users)),
        "objects": len(users),
        "unpriced": sum(1 for user in users if _unpriced(user)),
    }
    return Costs(fields, budget is not None and ledger.total >= Decimal(budget.monthly_usd))


def _unpriced(user: Object) -> bool:
    """Runs something that has no price."""
    status = user.get("status") or {}
    return bool(status.get("externalID")) and not (status.get("cost") or {}).get("hourlyUSD")


def names(users: Sequence[Object]) -> str:
    """The first three, and how many more."""
    first = [
        f"{u['kind']} {u['metadata']['name']!r}" for u in sorted(users, key=lambda u: (u["kind"], u["metadata"]["name"]))[:3]
    ]
    return ", ".join(first) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
