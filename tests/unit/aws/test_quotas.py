"""Which quota a refusal is of, whether AWS is asked for more of it, and what is said of a request."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.aws import quotas
from millrace.aws.quotas import Lack

Object = dict[str, Any]
NAME = "ml.g5.12xlarge for endpoint usage"
REFUSAL = (
    f"sagemaker:CreateEndpoint: The account-level service limit '{NAME}' is 2 Instances, with current utilization of 2 Instances"
    " and a request delta of 1 Instances. Please use AWS Service Quotas to request an increase for this quota."
)
LACK = Lack(NAME, 3.0)
# what was said, what is lacking, reason
REFUSALS: list[tuple[str, Lack | None, str]] = [
    (REFUSAL, LACK, "what is in use and what is asked for, together"),
    (REFUSAL.replace("delta of 1", "delta of 4"), Lack(NAME, 6.0), "as many as are asked for"),
    ("Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error.", None, "no quota helps"),
    (f"The account-level service limit '{NAME}' is 0 Instances", None, "how much would do is not said"),
]


@pytest.mark.parametrize(("said", "found", "reason"), REFUSALS, ids=[r[-1] for r in REFUSALS])
def test_what_is_lacking_is_in_the_refusal(said: str, found: Lack | None, reason: str) -> None:
    assert quotas.lack(said) == found, reason


def test_only_what_the_account_names_may_be_asked_for_and_the_first_of_it() -> None:
    other = REFUSAL.replace("12xlarge", "24xlarge")
    assert quotas.may_ask([other, REFUSAL], {NAME: 4}) == LACK
    assert quotas.may_ask([other], {NAME: 4}) is None
    assert quotas.may_ask([REFUSAL], {}) is None


def request(status: str, value: float = 3.0, created: float = 1.0) -> Object:
    return {"Id": f"r{created:g}", "Status": status, "DesiredValue": value, "Created": created}


# history, the request that stands, reason
HISTORIES: list[tuple[list[Object], str | None, str]] = [
    ([], None, "nobody has ever asked"),
    ([request("PENDING")], "r1", "it is being looked at"),
    ([request("CASE_OPENED", 2)], "r1", "AWS takes one at a time, also where it is for less"),
    ([request("CASE_OPENED", created=1), request("DENIED", created=2)], "r1", "an open one counts, however old"),
    ([request("DENIED")], "r1", "AWS said no: people must speak with each other now"),
    ([request("NOT_APPROVED", 2)], "r1", "it said no to less"),
    ([request("CASE_CLOSED")], "r1", "the case was closed"),
    ([request("INVALID_REQUEST")], "r1", "it would be invalid again"),
    ([request("APPROVED")], "r1", "it is about to hold"),
    ([request("APPROVED", 2)], None, "that was for less than what is needed by now"),
    ([request("DENIED", created=1), request("APPROVED", 2, created=2)], None, "AWS has said yes since"),
]


@pytest.mark.proves("08.4")
@pytest.mark.parametrize(("history", "stands", "reason"), HISTORIES, ids=[h[-1] for h in HISTORIES])
def test_nothing_is_asked_for_twice(history: list[Object], stands: str | None, reason: str) -> None:
    found = quotas.standing(history, 3.0)
    assert (found or {}).get("Id") == stands, reason


# status, words, reason
SAYINGS = [
    ("PENDING", f"request r1 to raise '{NAME}' to 3 is PENDING", "it is open"),
    ("APPROVED", "is APPROVED and about to hold", "it will do"),
    ("DENIED", "ended as DENIED and is not made again: ask AWS on Service Quotas, or name other instance types", "what now"),
]


@pytest.mark.parametrize(("status", "words", "reason"), SAYINGS, ids=[s[-1] for s in SAYINGS])
def test_how_a_request_stands_is_said(status: str, words: str, reason: str) -> None:
    assert words in quotas.told(LACK, request(status)), reason
