"""A CloudAccount from its first pass to its deletion, against a local AWS: who it is, what is denied, heard and spent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from millrace.engine import conditions
from millrace_local_aws import LocalAws
from support.accounts import a_world
from support.aws import ACCOUNT, CLUSTER, ROLE, a_cloud, allowing, make_role, trust_policy, until

Object = dict[str, Any]
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/millrace/millrace-team"


def left(aws: LocalAws) -> tuple[int, int]:
    """Queues and rules that exist."""
    queues = aws.client("sqs", account=ACCOUNT).list_queues().get("QueueUrls", [])
    return len(queues), len(aws.client("events", account=ACCOUNT).list_rules()["Rules"])


def user(name: str = "gpt", accrued: str = "1.50", hourly: str | None = "0.50") -> Object:
    cost = {"accruedUSD": accrued, **({"hourlyUSD": hourly} if hourly else {})}
    return {"kind": "TrainingJob", "metadata": {"name": name, "uid": name}, "status": {"externalID": "arn", "cost": cost}}


# -- who ---------------------------------------------------------------------------------------------------------------


async def test_the_external_id_is_told_before_the_first_call_and_ready_comes_after_aws_said_who(aws: LocalAws) -> None:
    make_role(aws)
    async with a_world(aws, roleARN=ROLE, expectedAccountID=ACCOUNT) as world:
        await world.once()
        assert aws.admin.requests("sts") == 0
        assert world.told["trust"] == {"externalID": f"{CLUSTER}/team"}
        assert world.said("Ready") == ("False", "Connecting")
        await world.once()
        assert world.said("Ready") == ("True", "Authenticated")
        assert world.said("Permitted") == ("True", "NothingDenied")
        assert (world.told["accountID"], world.told["identityARN"]) == (ACCOUNT, SESSION)
        before = world.told
        await world.once()
        assert world.told == before


async def test_a_role_that_refuses_is_told_with_the_missing_action_and_recovers_by_itself(aws: LocalAws) -> None:
    make_role(aws, external_id="somebody-elses")
    async with a_world(aws, roleARN=ROLE) as world:
        made = await world.settled()
        assert world.said("Ready") == ("False", "PermissionDenied")
        assert world.said("Reconciling") == ("True", "PermissionDenied")
        assert [m["action"] for m in world.told["missingIAMActions"]] == ["sts:AssumeRole"]
        assert world.told["trust"] == {"externalID": f"{CLUSTER}/team"}
        assert made.requeue_after is not None
        await world.once()
        assert world.reasons == ["PermissionDenied"]
        aws.client("iam", account=ACCOUNT).update_assume_role_policy(
            RoleName="millrace", PolicyDocument=trust_policy(f"{CLUSTER}/team")
        )
        await world.once()
        assert world.said("Ready") == ("True", "Authenticated")
        assert "missingIAMActions" not in world.told


async def test_what_any_object_is_denied_is_listed_here_until_it_is_granted(aws: LocalAws) -> None:
    make_role(aws, actions=("sts:GetCallerIdentity",))
    async with a_world(aws, roleARN=ROLE) as world:
        await world.settled()
        account = world.cloud.account("team", "default", lambda _plural, _name: world.object)
        with pytest.raises(Exception, match="is not allowed sqs:CreateQueue"):
            await account.call("sqs", "CreateQueue", QueueName="q")
        await world.once()
        assert world.told["missingIAMActions"] == [{"action": "sqs:CreateQueue", "identity": ROLE}]
        assert world.said("Permitted") == ("False", "ActionsDenied")
        assert world.said("Ready") == ("True", "Authenticated")
        assert world.reasons == ["ActionsDenied"]
        policy = allowing("sts:GetCallerIdentity", "sqs:CreateQueue")
        aws.client("iam", account=ACCOUNT).put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=policy)
        await account.call("sqs", "CreateQueue", QueueName="q")
        await world.once()
        assert world.said("Permitted") == ("True", "NothingDenied")


async def test_another_account_than_the_expected_one_stops_everything(aws: LocalAws) -> None:
    async with a_world(aws, expectedAccountID="444455556666") as world:
        await world.settled()
        assert world.said("Ready") == ("False", "AccountMismatch")
        assert world.said("Stalled") == ("True", "AccountMismatch")
        assert "accountID" not in world.told


async def test_an_account_does_not_become_another_one(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made in the old one would be forgotten."""
    async with a_world(aws) as world:
        await world.settled()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "444455556666")
        await world.cloud.forget("team", "default")
        await world.once()
        assert world.said("Stalled") == ("True", "AccountMismatch")
        assert world.told["accountID"] == ACCOUNT


# settings, spec, cluster id, reason, stalled, why
REFUSALS = [
    ({}, {"endpointURL": "http://127.0.0.1:9"}, CLUSTER, "EndpointNotAllowed", True, "a tenant may not choose the server"),
    ({"own_identity": False}, {}, CLUSTER, "OwnIdentityNotAllowed", True, "the installer wants roles"),
    ({}, {"roleARN": ROLE}, "", "ClusterUnknown", False, "never a role without the external id"),
]


@pytest.mark.parametrize(("settings", "spec", "cluster", "reason", "stalled", "why"), REFUSALS)
async def test_what_the_installation_does_not_allow_is_refused_before_any_call(
    aws: LocalAws, settings: Object, spec: Object, cluster: str, reason: str, stalled: bool, why: str
) -> None:
    async with a_world(aws, settings=settings, **spec) as world:
        world.cloud.cluster_id = cluster
        await world.settled()
        assert world.said("Ready") == ("False", reason), why
        assert (world.said("Stalled") is not None) is stalled, why
    assert aws.admin.requests() == 0


async def test_an_endpoint_of_its_own_is_used_where_the_installer_allows_it(aws: LocalAws) -> None:
    async with a_world(aws, settings={"custom_endpoints": True}, endpointURL=aws.endpoint_url) as world:
        await world.settled()
        assert world.said("Ready") == ("True", "Authenticated")


async def test_an_outage_of_sts_does_not_take_ready_away_from_those_who_use_it(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.settled()
        aws.admin.add_fault("error", service="sts", operation="GetCallerIdentity", code="ServiceUnavailable", status=503)
        await world.once()
        assert world.said("Ready") == ("True", "Authenticated")
        assert world.said("Reconciling") == ("True", "RetryingAfterError")
        aws.admin.clear_faults()
        await world.once()
        assert world.said("Reconciling") is None


# -- events ------------------------------------------------------------------------------------------------------------


async def test_managed_events_are_made_listened_to_and_taken_away_when_the_spec_no_longer_wants_them(aws: LocalAws) -> None:
    async with a_world(aws, events={"managed": {}}) as world:
        await world.settled()
        assert world.said("Listening") == ("True", "Listening")
        assert left(aws) == (1, 1)
        url = world.told["events"]["queueURL"]
        aws.client("sqs", account=ACCOUNT).send_message(QueueUrl=url, MessageBody="{}")
        listener = world.cloud._ears["team", "default"].listener
        await until(lambda: listener.heard, "the message")
        await world.once()
        assert world.told["events"]["lastEventTime"].endswith(":00Z")
        world.change(events=None)
        await world.once()
        assert left(aws) == (0, 0)
        assert "events" not in world.told
        assert world.cloud._ears == {}


async def test_an_account_that_may_not_listen_is_ready_all_the_same_and_says_so(aws: LocalAws) -> None:
    make_role(aws, actions=("sts:GetCallerIdentity", "sqs:GetQueueUrl"))
    async with a_world(aws, roleARN=ROLE, events={"managed": {}}) as world:
        await world.settled()
        assert world.said("Ready") == ("True", "Authenticated")
        assert world.said("Listening") == ("False", "NotListening")
        assert [m["action"] for m in world.told["missingIAMActions"]] == ["sqs:CreateQueue"]


async def test_a_suspended_account_makes_no_call(aws: LocalAws) -> None:
    async with a_world(aws, events={"managed": {}}) as world:
        await world.settled()
        world.change(suspend=True)
        aws.admin.reset_counters()
        await world.once()
        assert world.said("Ready") == ("False", "Suspended")
        assert world.cloud._ears == {}
        assert aws.admin.requests("sts") == 0
        with pytest.raises(Exception, match="is suspended"):
            world.cloud.account("team", "default", lambda _plural, _name: world.object)


# -- costs -------------------------------------------------------------------------------------------------------------


async def test_costs_are_summed_over_everything_that_uses_it_and_a_spent_budget_blocks(aws: LocalAws) -> None:
    async with a_world(aws, budget={"monthlyUSD": "5", "onExceeded": "Block"}) as world:
        world.users = [user("a"), user("b", accrued="2.00"), user("c", accrued="0", hourly=None)]
        await world.settled()
        assert world.told["costs"] == {
            "month": "2026-01", "monthUSD": "3.50", "accruedUSD": "3.50", "hourlyUSD": "1.00", "objects": 3, "unpriced": 1
        }  # fmt: skip
        assert world.said("WithinBudget") == ("True", "WithinBudget")
        world.users = [user("b", accrued="3.50")]
        world.clock.advance(timedelta(hours=1).total_seconds())
        await world.once()
        assert world.told["costs"]["monthUSD"] == "5.00"
        assert world.said("WithinBudget") == ("False", "BudgetExceeded")
        assert world.reasons == ["BudgetExceeded"]
        account = world.cloud.account("team", "default", lambda _plural, _name: world.object)
        with pytest.raises(Exception, match="nothing that costs may begin"):
            account.check_budget()
        world.change(budget={"monthlyUSD": "50", "onExceeded": "Block"})
        await world.once()
        world.cloud.account("team", "default", lambda _plural, _name: world.object).check_budget()


async def test_a_restarted_operator_goes_on_with_the_month(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        world.users = [user("a", accrued="4.00")]
        await world.settled()
    async with a_cloud(aws) as after:
        world.cloud = after
        world.users = [user("a", accrued="4.50")]
        await world.once()
        assert world.told["costs"]["monthUSD"] == "4.50"


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_it_goes_after_the_last_object_that_needs_it_and_leaves_nothing(aws: LocalAws) -> None:
    async with a_world(aws, events={"managed": {}}) as world:
        await world.settled()
        world.users = [user(n) for n in ("d", "c", "b", "a")]
        made = await world.once(finalize=True)
        assert not made.released
        assert world.said("Ready") == ("True", "Authenticated")
        assert world.said("Reconciling") == ("True", "InUse")
        message = conditions.find(world.told["conditions"], "Reconciling")
        assert message is not None
        assert message["message"] == "Still used by TrainingJob 'a', TrainingJob 'b', TrainingJob 'c' and 1 more"
        world.users = []
        assert (await world.once(finalize=True)).released
        assert left(aws) == (0, 0)
        assert world.cloud._ears == {}


async def test_retained_events_stay(aws: LocalAws) -> None:
    async with a_world(aws, events={"managed": {}}, deletionPolicy="Retain") as world:
        await world.settled()
        assert (await world.once(finalize=True)).released
        assert left(aws) == (1, 1)


async def test_one_that_was_never_ready_is_deleted_without_a_call(aws: LocalAws) -> None:
    async with a_world(aws, roleARN=ROLE) as world:
        await world.settled()
        aws.admin.reset_counters()
        assert (await world.once(finalize=True)).released
    assert aws.admin.requests() == 0
