"""Who calls are made as: what a tenant may choose, and what the installer and AWS decide."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.aws.errors import AccountNotReady, AccountRefused, AwsError, EndpointRefused, OwnIdentityRefused
from millrace.aws.identity import Identity
from millrace.aws.resolve import resolve
from millrace.aws.settings import AwsSettings

Object = dict[str, Any]
ROLE = "arn:aws:iam::111122223333:role/millrace"
READY = {"type": "Ready", "status": "True", "observedGeneration": 1, "message": "ok"}


def cloud_account(*conditions: Object, generation: int = 1, **spec: Any) -> Object:
    return {
        "metadata": {"name": "default", "namespace": "team", "generation": generation},
        "spec": {"region": "us-east-1", "roleARN": ROLE, **spec},
        "status": {"accountID": "111122223333", "conditions": list(conditions)},
    }


def test_a_role_is_assumed_with_the_external_id_of_cluster_and_namespace() -> None:
    made = resolve(cloud_account(READY), AwsSettings(), "cluster-uid", must_be_ready=True)
    assert made.identity == Identity("us-east-1", ROLE, "cluster-uid/team", "millrace-team", "")
    assert made.standing.account_id == "111122223333"


def test_the_operator_itself_needs_no_external_id() -> None:
    obj = cloud_account(READY)
    del obj["spec"]["roleARN"]
    assert resolve(obj, AwsSettings(endpoint_url="http://aws:4566"), "", must_be_ready=True).identity == Identity(
        "us-east-1", "", "", "millrace-team", "http://aws:4566"
    )


# object, settings, cluster id, error, words, why
REFUSED = [
    (cloud_account(READY, endpointURL="http://evil"), AwsSettings(), "c", EndpointRefused, "customEndpoints", "a status of yesterday may be Ready by settings that hold no more"),
    (cloud_account(READY, roleARN=None), AwsSettings(own_identity=False), "c", OwnIdentityRefused, "roleARN", "nobody is the operator without leave"),
    (cloud_account(READY), AwsSettings(), "", AccountNotReady, "external id", "never a role without the external id"),
    (cloud_account(), AwsSettings(), "c", AccountNotReady, "is not Ready", "nothing was read back yet"),
    (cloud_account({**READY, "status": "False", "message": "no"}), AwsSettings(), "c", AccountNotReady, "not Ready: no", "it says why"),
    (cloud_account(READY, generation=2), AwsSettings(), "c", AccountNotReady, "is not Ready", "Ready for an earlier spec"),
    (cloud_account(READY, suspend=True), AwsSettings(), "c", AccountNotReady, "suspended", "no calls in its name"),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "settings", "cluster_id", "error", "words", "why"), REFUSED)
def test_an_account_is_not_used(
    obj: Object, settings: AwsSettings, cluster_id: str, error: type[AwsError], words: str, why: str
) -> None:
    with pytest.raises(error) as raised:
        resolve(obj, settings, cluster_id, must_be_ready=True)
    assert words in raised.value.message, why


def test_before_it_is_ready_only_what_the_installer_refuses_stands_in_the_way() -> None:
    assert resolve(cloud_account(), AwsSettings(), "c", must_be_ready=False).identity.role_arn == ROLE
    with pytest.raises(AccountRefused):
        resolve(cloud_account(endpointURL="http://evil"), AwsSettings(), "c", must_be_ready=False)


# policy, condition's status, blocked, why
BUDGETS = [
    ("Block", "False", True, "spent"),
    ("Block", "True", False, "not spent"),
    ("Warn", "False", False, "a warning stops nothing"),
]


@pytest.mark.parametrize(("policy", "status", "blocked", "why"), BUDGETS)
def test_a_spent_budget_blocks_where_it_is_to(policy: str, status: str, blocked: bool, why: str) -> None:
    condition = {"type": "WithinBudget", "status": status, "message": "The month has cost 5 USD or more"}
    obj = cloud_account(READY, condition, budget={"monthlyUSD": "5", "onExceeded": policy})
    assert bool(resolve(obj, AwsSettings(), "c", must_be_ready=True).standing.blocked) is blocked, why
