"""Asks AWS for more of a quota where the CloudAccount lets it: for what is needed, never beyond what was said, and never twice.

Which quota it is and how much of it would do stands in SageMaker's refusal and nowhere else. What was asked for is remembered by
AWS, not here: its history is read before anything is asked, so that a restart, or another object, asks no second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace.aws.errors import CallError, Denied
from millrace.aws.permissions import Grant

if TYPE_CHECKING:
    from millrace.aws.account import Account

Object = dict[str, Any]
GRANTS = (
    Grant(
        (
            "servicequotas:ListAWSDefaultServiceQuotas",
            "servicequotas:ListRequestedServiceQuotaChangeHistoryByQuota",
            "servicequotas:RequestServiceQuotaIncrease",
        ),
        implied=("iam:CreateServiceLinkedRole",),
    ),
)
NOTE = "The role is the one with which Service Quotas opens cases at AWS Support; the account's first request makes it."
_SERVICE = "sagemaker"
_OPEN = frozenset({"PENDING", "CASE_OPENED"})
_CODES_SECONDS = 86400.0
_HISTORY_SECONDS = 60.0
_REFUSAL = re.compile(r"service limit '([^']+)' is .*?utilization of ([0-9.]+) .*?request delta of ([0-9.]+) ")


@dataclass(frozen=True)
class Lack:
    """A quota that does not suffice, and what would."""

    quota: str
    wanted: float


def lack(refusal: str) -> Lack | None:
    """What SageMaker's words of a refusal lack; None where they are of something else."""
    found = _REFUSAL.search(refusal)
    return Lack(found[1], float(found[2]) + float(found[3])) if found else None


def may_ask(refusals: Iterable[str], increases: Mapping[str, int]) -> Lack | None:
    """The first of what is lacking that may be asked for."""
    found = (lack(refusal) for refusal in refusals)
    return next((each for each in found if each is not None and each.quota in increases), None)


def standing(history: Sequence[Object], wanted: float) -> Object | None:
    """The request that makes another one needless: an open one, the last one where AWS said no, or one for as much."""
    newest = sorted(history, key=lambda each: each["Created"], reverse=True)
    still_open = next((each for each in newest if each["Status"] in _OPEN), None)
    if still_open is not None or not newest:
        return still_open
    last = newest[0]
    return last if last["Status"] != "APPROVED" or last["DesiredValue"] >= wanted else None


def told(lacking: Lack, request: Object) -> str:
    """One sentence about a request."""
    what = f"request {request['Id']} to raise '{lacking.quota}' to {request['DesiredValue']:g}"
    if request["Status"] in _OPEN:
        return f"{what} is {request['Status']}"
    if request["Status"] == "APPROVED":
        return f"{what} is APPROVED and about to hold"
    return f"{what} ended as {request['Status']} and is not made again: ask AWS on Service Quotas, or name other instance types"


async def asked(account: Account, refusals: Iterable[str]) -> str:
    """Ask, where it may be and was not, and say how it stands; "" where nothing may be asked, or AWS cannot be asked now."""
    increases = dict(account.standing.quota_increases)
    lacking = may_ask(refusals, increases)
    if lacking is None:
        return ""
    if lacking.wanted > increases[lacking.quota]:
        most = f"quotaIncreases of CloudAccount {account.name!r} lets ask for {increases[lacking.quota]} at most"
        return f"'{lacking.quota}' would have to be {lacking.wanted:g}, and {most}"
    try:
        return await _asked(account, lacking)
    except Denied as error:
        return f"no increase can be asked for: {error.message}"
    except CallError:
        return ""


async def _asked(account: Account, lacking: Lack) -> str:
    async def read() -> Object:
        return {"words": await _request(account, lacking)}

    held = await account.known(("quota", lacking), _HISTORY_SECONDS, read)
    return str((held or {}).get("words", ""))


async def _request(account: Account, lacking: Lack) -> str:
    code = (await _codes(account)).get(lacking.quota)
    if code is None:
        return f"Service Quotas knows no quota '{lacking.quota}': correct quotaIncreases of CloudAccount {account.name!r}"
    which = {"ServiceCode": _SERVICE, "QuotaCode": code}
    history = await account.items("service-quotas", "ListRequestedServiceQuotaChangeHistoryByQuota", "RequestedQuotas", **which)
    found = standing(history, lacking.wanted)
    if found is None:
        wanted = {**which, "DesiredValue": lacking.wanted}
        made = await account.make("service-quotas", "RequestServiceQuotaIncrease", **wanted)
        found = made["RequestedQuota"] if made else None
    return told(lacking, found) if found else f"an increase of '{lacking.quota}' was asked for by somebody else just now"


async def _codes(account: Account) -> dict[str, str]:
    """Of SageMaker's quotas by their names: refusals tell names, Service Quotas wants codes. Read once a day."""

    async def read() -> Object:
        listed = await account.items(
            "service-quotas", "ListAWSDefaultServiceQuotas", "Quotas", ServiceCode=_SERVICE, MaxResults=100
        )
        return {str(each["QuotaName"]): str(each["QuotaCode"]) for each in listed}

    return await account.known("quota codes", _CODES_SECONDS, read) or {}
