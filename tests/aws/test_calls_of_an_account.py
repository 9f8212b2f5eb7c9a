"""Calls of an account against a local AWS: who they are made as, what is refused, what expires and what is too fast."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time

import pytest

from millrace.aws import errors, sessions
from millrace.aws.pace import FASTEST
from millrace.telemetry.logs import JsonFormatter, bound
from millrace_local_aws import LocalAws
from support.aws import ACCOUNT, CLUSTER, ROLE, a_cloud, account_of, allowing, cloud_account, make_role, trust_policy


async def test_calls_are_made_as_the_role_with_the_external_id_of_the_namespace(aws: LocalAws) -> None:
    make_role(aws)
    async with a_cloud(aws) as cloud:
        who = await account_of(cloud, cloud_account(roleARN=ROLE)).call("sts", "GetCallerIdentity")
    assert who == {
        "Account": ACCOUNT,
        "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/millrace/millrace-team",
        "UserId": who["UserId"],
    }


async def test_another_namespace_cannot_borrow_the_role(aws: LocalAws) -> None:
    make_role(aws)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account(namespace="thieves", roleARN=ROLE))
        with pytest.raises(errors.Denied) as refused:
            await account.call("sqs", "ListQueues")
    assert refused.value.action == "sts:AssumeRole"
    assert f"is not allowed sts:AssumeRole on {ROLE}" in refused.value.message
    assert [m.action for m in account.missing] == ["sts:AssumeRole"]


async def test_without_a_role_calls_are_made_as_the_operator_itself(aws: LocalAws) -> None:
    async with a_cloud(aws) as cloud:
        who = await account_of(cloud, cloud_account()).call("sts", "GetCallerIdentity")
    assert who["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


async def test_one_role_is_assumed_once_for_many_calls_at_the_same_time(aws: LocalAws) -> None:
    make_role(aws)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account(roleARN=ROLE))
        await asyncio.gather(*(account.call("sqs", "ListQueues") for _ in range(20)))
    assert aws.admin.requests("sts.AssumeRole") == 1


async def test_a_trust_that_is_mended_is_seen_and_the_denial_forgotten(aws: LocalAws) -> None:
    make_role(aws, external_id="another")
    told: list[tuple[str, str]] = []
    async with a_cloud(aws) as cloud:
        cloud.wake_account = lambda namespace, name: told.append((namespace, name))
        account = account_of(cloud, cloud_account(roleARN=ROLE))
        with pytest.raises(errors.Denied):
            await account.call("sqs", "ListQueues")
        iam = aws.client("iam", account=ACCOUNT)
        iam.update_assume_role_policy(RoleName="millrace", PolicyDocument=trust_policy(f"{CLUSTER}/team"))
        await account.call("sqs", "ListQueues")
        assert account.missing == ()
    assert told == [("team", "default")] * 2


async def test_a_missing_action_is_named_with_its_role_until_it_is_granted(aws: LocalAws) -> None:
    make_role(aws, actions=("sqs:ListQueues",))
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account(roleARN=ROLE))
        for _ in range(2):
            with pytest.raises(errors.Denied, match=f"{ROLE} is not allowed sqs:CreateQueue"):
                await account.call("sqs", "CreateQueue", QueueName="q")
        await account.call("sqs", "ListQueues")
        assert [(m.action, m.identity) for m in account.missing] == [("sqs:CreateQueue", ROLE)]
        policy = allowing("sqs:ListQueues", "sqs:CreateQueue")
        aws.client("iam", account=ACCOUNT).put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=policy)
        await account.call("sqs", "CreateQueue", QueueName="q")
        assert account.missing == ()


async def test_credentials_that_expire_in_mid_flight_are_renewed_and_the_call_made_again(aws: LocalAws) -> None:
    make_role(aws)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account(roleARN=ROLE))
        await account.call("sqs", "ListQueues")
        aws.admin.expire_credentials("millrace")
        await account.call("sqs", "CreateQueue", QueueName="q")
    assert aws.admin.requests("sts.AssumeRole") == 2
    assert len(aws.client("sqs", account=ACCOUNT).list_queues()["QueueUrls"]) == 1


async def test_many_calls_that_are_told_so_at_once_renew_once(aws: LocalAws) -> None:
    make_role(aws)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account(roleARN=ROLE))
        await account.call("sqs", "ListQueues")
        aws.admin.expire_credentials("millrace")
        await asyncio.gather(*(account.call("sqs", "ListQueues") for _ in range(20)))
    assert aws.admin.requests("sts.AssumeRole") == 2


async def test_credentials_are_renewed_before_they_expire(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of a quarter of an hour is within the time before its end in which it is renewed."""
    monkeypatch.setattr(sessions, "ROLE_SECONDS", 900)
    make_role(aws)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account(roleARN=ROLE))
        for _ in range(3):
            await account.call("sqs", "ListQueues")
    assert aws.admin.requests("sts.AssumeRole") >= 3
    assert aws.admin.requests("sqs.ListQueues.ExpiredToken") == 0


async def test_keys_that_aws_does_not_know_are_a_matter_for_whoever_gives_them(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
    async with a_cloud(aws) as cloud:
        with pytest.raises(errors.NoCredentials):
            await account_of(cloud, cloud_account()).call("sqs", "ListQueues")


async def test_an_operator_without_any_identity_says_what_it_needs(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with a_cloud(aws) as cloud:
        with pytest.raises(errors.NoCredentials, match="give its service account a role"):
            await account_of(cloud, cloud_account(roleARN=ROLE)).call("sqs", "ListQueues")


async def test_a_throttled_operation_slows_down_and_other_operations_do_not(aws: LocalAws) -> None:
    aws.admin.add_fault("throttle", service="sqs", operation="ListQueues", per_second=2.0, burst=1.0)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account())
        answers = await asyncio.gather(*(account.call("sqs", "ListQueues") for _ in range(10)), return_exceptions=True)
        throttled = [a for a in answers if isinstance(a, errors.Throttled)]
        assert throttled
        assert all(error.after >= 0.5 for error in throttled)
        assert account._turns("sqs", "ListQueues").pace.rate < FASTEST
        assert account._turns("sqs", "CreateQueue").pace.rate == FASTEST
        await account.call("sqs", "CreateQueue", QueueName="q")


async def test_a_call_that_would_wait_too_long_gives_its_worker_back(aws: LocalAws) -> None:
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account())
        turns = account._turns("sqs", "ListQueues")
        turns.throttled(time.monotonic())
        turns.pace.rate = 0.1
        turns.pace.take(time.monotonic())
        with pytest.raises(errors.Throttled, match="waits for its turn") as late:
            await account.call("sqs", "ListQueues")
    assert late.value.after > 5
    assert aws.admin.requests("sqs.ListQueues") == 0


async def test_pages_follow_each_other_to_the_end(aws: LocalAws) -> None:
    sqs = aws.client("sqs", account=ACCOUNT)
    for n in range(7):
        sqs.create_queue(QueueName=f"q-{n}")
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account())
        urls = await account.items("sqs", "ListQueues", "QueueUrls", MaxResults=3)
    assert sorted(url[-1] for url in urls) == list("0123456")
    assert aws.admin.requests("sqs.ListQueues") == 3


async def test_what_is_not_there_and_what_is_there_already(aws: LocalAws) -> None:
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account())
        assert await account.find("sqs", "GetQueueUrl", QueueName="q") is None
        assert not await account.remove("events", "DescribeRule", Name="r")
        assert await account.make("iam", "CreateRole", RoleName="r", AssumeRolePolicyDocument=trust_policy("x")) is not None
        assert await account.make("iam", "CreateRole", RoleName="r", AssumeRolePolicyDocument=trust_policy("x")) is None


async def test_an_aws_that_does_not_answer_is_tried_again_later(aws: LocalAws) -> None:
    class Nobody:
        endpoint_url = "http://127.0.0.1:9"

    async with a_cloud(Nobody()) as cloud:
        with pytest.raises(errors.Unavailable, match="sqs:ListQueues was not answered"):
            await account_of(cloud, cloud_account()).call("sqs", "ListQueues")


async def test_a_request_that_botocore_itself_refuses_is_invalid(aws: LocalAws) -> None:
    async with a_cloud(aws) as cloud:
        with pytest.raises(errors.Invalid, match="QueueName"):
            await account_of(cloud, cloud_account()).call("sqs", "CreateQueue")


async def test_each_call_is_counted_by_its_code_and_logged_with_its_request_id(
    aws: LocalAws, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "millrace.aws.calls")
    aws.admin.add_fault("error", service="sqs", operation="CreateQueue", code="NobodyKnows", status=400, times=1)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account())
        with pytest.raises(errors.Unavailable):
            await account.call("sqs", "CreateQueue", QueueName="q")
        await account.call("sqs", "CreateQueue", QueueName="q")
        text = cloud.metrics.text().decode()
    assert 'millrace_aws_calls_total{code="NobodyKnows",operation="CreateQueue",service="sqs"} 1.0' in text
    assert 'millrace_aws_calls_total{code="ok",operation="CreateQueue",service="sqs"} 1.0' in text
    assert 'millrace_aws_unknown_codes_total{code="NobodyKnows",service="sqs"} 1.0' in text
    lines = [r.getMessage() for r in caplog.records if "sqs:CreateQueue" in r.getMessage()]
    assert len(lines) == 2
    assert not any("request none" in line for line in lines)


async def test_what_hardly_changes_is_read_once_in_its_time_and_what_is_not_there_every_time(aws: LocalAws) -> None:
    async with a_cloud(aws) as cloud:
        account, now, reads = account_of(cloud, cloud_account()), 100.0, 0
        account.monotonic = lambda: now
        answers: list[dict[str, int] | None] = [None, {"a": 1}, {"a": 2}]

        async def read() -> dict[str, int] | None:
            nonlocal reads
            reads += 1
            return answers[reads - 1]

        assert await account.known("x", 60, read) is None
        assert await account.known("x", 60, read) == {"a": 1}
        now += 59
        assert (await account.known("x", 60, read), reads) == ({"a": 1}, 2)
        now += 1
        assert await account.known("x", 60, read) == {"a": 2}


async def test_the_log_of_a_call_names_the_object_that_it_was_made_for(aws: LocalAws) -> None:
    """Calls are made on threads, which do not have the pass's context by themselves."""
    told = io.StringIO()
    handler, logger = logging.StreamHandler(told), logging.getLogger("millrace.aws.calls")
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        async with a_cloud(aws) as cloud:
            with bound(kind="TrainingJob", name="gpt"):
                await account_of(cloud, cloud_account()).call("sqs", "CreateQueue", QueueName="q")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    line = next(json.loads(line) for line in told.getvalue().splitlines() if "sqs:CreateQueue" in line)
    assert (line["kind"], line["name"]) == ("TrainingJob", "gpt")
