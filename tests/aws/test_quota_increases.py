"""Waiting for a quota, with an account that lets Millrace ask for more of it: once, for what is needed, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millrace.aws import quotas
from millrace.engine.cache import Key
from support import hosting, sagemaker
from support.aws import ACCOUNT
from support.hosting import FIRST, SECOND

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
QUOTA = f"{FIRST} for endpoint usage"


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How a request stands is read in every pass: tests have no minute."""
    monkeypatch.setattr(quotas, "_HISTORY_SECONDS", 0.0)


def let_ask(world: Any, up_to: int, quota: str = QUOTA) -> None:
    held = world.cache.get(Key("cloudaccounts", world.object["metadata"]["namespace"], "default"))
    held["spec"]["quotaIncreases"] = [{"quota": quota, "upTo": up_to}]


def requests(aws: LocalAws) -> list[Object]:
    client = aws.client("service-quotas", account=ACCOUNT)
    return list(client.list_requested_service_quota_change_history(ServiceCode="sagemaker")["RequestedQuotas"])


async def refused(aws: LocalAws, world: hosting.World) -> str:
    """The message of an endpoint that there is no quota for."""
    for type_ in (FIRST, SECOND):
        hosting.quota(aws, type_, 0)
    await world.until("CapacityUnavailable", seconds=1)
    return world.said()[2]


@pytest.mark.proves("08.4")
async def test_an_increase_is_asked_for_once_and_the_endpoint_comes_up_with_it(aws: LocalAws) -> None:
    async with hosting.a_world(aws) as world:
        let_ask(world, 4)
        said = await refused(aws, world)
        (asked,) = requests(aws)
        assert (asked["QuotaName"], asked["DesiredValue"]) == (QUOTA, 1), "as far as it needs, and no further"
        assert f"request {asked['Id']} to raise '{QUOTA}' to 1 is PENDING" in said
        aws.admin.decide_quota_requests("CASE_OPENED")
        await refused(aws, world)
        assert f"{asked['Id']} to raise '{QUOTA}' to 1 is CASE_OPENED" in (await refused(aws, world))
        assert len(requests(aws)) == 1
        client = aws.client("service-quotas", account=ACCOUNT)
        aws.admin.decide_quota_requests("APPROVED")
        which = {"ServiceCode": "sagemaker", "QuotaCode": asked["QuotaCode"]}
        assert client.get_service_quota(**which)["Quota"]["Value"] == 1
        assert (await world.until("Serving"))["sageMaker"]["instanceType"] == FIRST


@pytest.mark.proves("08.4")
async def test_what_aws_denied_is_said_with_what_to_do_and_not_asked_for_again(aws: LocalAws) -> None:
    async with hosting.a_world(aws) as world:
        let_ask(world, 4)
        await refused(aws, world)
        aws.admin.decide_quota_requests("DENIED")
        said = await refused(aws, world)
        assert "ended as DENIED and is not made again: ask AWS on Service Quotas, or name other instance types" in said
        assert [one["Status"] for one in requests(aws)] == ["DENIED"]


# what may be asked for, words, reason
BOUNDS: list[tuple[tuple[int, str] | None, str, str]] = [
    (None, "", "nobody said that anything may be asked for"),
    ((9, "ml.p5.48xlarge for endpoint usage"), "", "another quota may be asked for"),
    (
        (1, QUOTA),
        f"'{QUOTA}' would have to be 3, and quotaIncreases of CloudAccount 'default' lets ask for 1 at most",
        "too much",
    ),
]


@pytest.mark.proves("08.4")
@pytest.mark.parametrize(("allowed", "words", "reason"), BOUNDS, ids=[b[-1] for b in BOUNDS])
async def test_nothing_is_asked_for_beyond_what_the_account_says(
    aws: LocalAws, allowed: tuple[int, str] | None, words: str, reason: str
) -> None:
    serving = {"roleARN": hosting.SERVING_ROLE, "image": hosting.IMAGE, "instanceTypes": [FIRST], "replicas": {"min": 3}}
    async with hosting.a_world(aws, sageMaker=serving) as world:
        if allowed:
            let_ask(world, *allowed)
        said = await refused(aws, world)
        assert words in said, reason
        assert aws.admin.requests("service-quotas.") == 0, "no permission is needed for what is not done"
        assert requests(aws) == [], reason


async def test_a_role_that_may_not_ask_says_which_action_it_lacks(aws: LocalAws) -> None:
    async with hosting.a_world(aws) as world:
        let_ask(world, 4)
        aws.admin.add_fault(
            "error", service="service-quotas", operation="*", code="AccessDeniedException", status=400, times=None,
            message="User: x is not authorized to perform: servicequotas:ListAWSDefaultServiceQuotas",
        )  # fmt: skip
        said = await refused(aws, world)
        assert f"{FIRST}: sagemaker:CreateEndpoint: " in said, "what it waits for is told all the same"
        assert "no increase can be asked for: " in said
        assert "servicequotas:ListAWSDefaultServiceQuotas" in said


async def test_a_name_that_service_quotas_does_not_know_is_told(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    async with hosting.a_world(aws) as world:
        let_ask(world, 4)

        async def none(_: Any) -> Object:
            return {}

        monkeypatch.setattr(quotas, "_codes", none)
        assert f"Service Quotas knows no quota '{QUOTA}'" in (await refused(aws, world))


@pytest.mark.proves("08.4")
async def test_a_run_asks_too_and_two_of_them_once(still: LocalAws) -> None:
    quota = "ml.g5.2xlarge for training job usage"
    still.admin.set_quota("training", "ml.g5.2xlarge", 0, account=ACCOUNT)
    async with sagemaker.a_world(still) as world:
        let_ask(world, 4, quota)
        assert world.cloud is not None
        other = sagemaker.World(still, world.cloud, uid="9f8e7d6c-0000-4000-8000-000000000000")
        let_ask(other, 4, quota)
        for each in (world, other, world):
            await each.once()
            assert each.reason == "QuotaExceeded"
        (asked,) = requests(still)
        message = next(c["message"] for c in world.told["conditions"] if c["type"] == "Succeeded")
        assert f"request {asked['Id']} to raise '{quota}' to 1 is PENDING" in message
        still.admin.decide_quota_requests("APPROVED")
        await world.until("Succeeded")
