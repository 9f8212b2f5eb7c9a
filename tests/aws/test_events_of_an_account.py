"""Events of an account against a local AWS: the managed queue and rule, and what a listener does with what comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from millrace.aws import plumbing, subscriptions
from millrace.aws.account import Account
from millrace.aws.cloud import Cloud
from millrace.aws.errors import Denied
from millrace.aws.plumbing import Plumbing
from millrace_local_aws import LocalAws
from support.aws import ACCOUNT, a_cloud, account_of, cloud_account, make_role, until

WANTED = Plumbing("millrace-team-default-0a1b2c", "us-east-1", ACCOUNT)
TAGS = {"millrace.dev/uid": "u"}
ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:training-job/gpt-1"
BODY = json.dumps(
    {"source": "aws.sagemaker", "detail-type": "SageMaker Training Job State Change", "detail": {"TrainingJobArn": ARN}}
)


@contextlib.asynccontextmanager
async def managed(aws: LocalAws) -> AsyncIterator[tuple[Cloud, Account, str]]:
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account())
        yield cloud, account, await plumbing.ensure(account, WANTED, TAGS)


def left(aws: LocalAws) -> tuple[list[str], list[str]]:
    """Queues and rules that exist."""
    queues = aws.client("sqs", account=ACCOUNT).list_queues().get("QueueUrls", [])
    rules = aws.client("events", account=ACCOUNT).list_rules()["Rules"]
    return [q.rsplit("/", 1)[-1] for q in queues], [r["Name"] for r in rules]


async def test_queue_and_rule_are_made_once_and_removed_without_a_trace(aws: LocalAws) -> None:
    async with managed(aws) as (_, account, url):
        assert await plumbing.ensure(account, WANTED, TAGS) == url
        assert left(aws) == ([WANTED.name], [WANTED.name])
        targets = aws.client("events", account=ACCOUNT).list_targets_by_rule(Rule=WANTED.name)["Targets"]
        assert [t["Arn"] for t in targets] == [WANTED.queue_arn]
        assert aws.client("sqs", account=ACCOUNT).list_queue_tags(QueueUrl=url)["Tags"] == TAGS
        for _ in range(2):
            await plumbing.remove(account, WANTED)
    assert left(aws) == ([], [])


async def test_what_somebody_changed_is_brought_back(aws: LocalAws) -> None:
    async with managed(aws) as (_, account, url):
        sqs, events = aws.client("sqs", account=ACCOUNT), aws.client("events", account=ACCOUNT)
        everybody = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
        opened = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": opened, "VisibilityTimeout": "900"})
        events.disable_rule(Name=WANTED.name)
        events.remove_targets(Rule=WANTED.name, Ids=["queue"])
        await plumbing.ensure(account, WANTED, TAGS)
        held = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert json.loads(held["Policy"]) == json.loads(WANTED.policy)
        assert held["VisibilityTimeout"] == "30"
        assert events.describe_rule(Name=WANTED.name)["State"] == "ENABLED"
        assert len(events.list_targets_by_rule(Rule=WANTED.name)["Targets"]) == 1


async def test_another_rule_of_the_same_account_cannot_send_to_the_queue(aws: LocalAws) -> None:
    async with managed(aws) as (_, account, url):
        events = aws.client("events", account=ACCOUNT)
        events.put_rule(Name="theirs", EventPattern=json.dumps({"source": ["my.app"]}))
        events.put_targets(Rule="theirs", Targets=[{"Id": "q", "Arn": WANTED.queue_arn}])
        events.put_events(Entries=[{"Source": "my.app", "DetailType": "x", "Detail": "{}"}])
        held = await account.call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
    assert held["Attributes"]["ApproximateNumberOfMessages"] == "0"
    assert aws.admin.counters()["events"]["failed-invocations"] == 1


async def test_the_policy_that_the_documentation_names_is_enough(aws: LocalAws) -> None:
    page = (Path(__file__).parents[2] / "docs/kinds/cloudaccount.md").read_text()
    told = next(json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if "sqs:CreateQueue" in block)
    actions = tuple(told["Action"])
    role = make_role(aws, actions=actions)
    async with a_cloud(aws) as cloud:
        account = account_of(cloud, cloud_account(roleARN=role))
        url = await plumbing.ensure(account, WANTED, TAGS)
        aws.client("sqs", account=ACCOUNT).send_message(QueueUrl=url, MessageBody=BODY)
        listener = await cloud.listen(account, url)
        await until(lambda: listener.heard, "the message")
        await cloud.hush("team", "default")
        await plumbing.ensure(account, WANTED, TAGS)
        await plumbing.remove(account, WANTED)
        assert account.missing == ()
    assert left(aws) == ([], [])


class Heard:
    """Who was woken, and what there was left in the queue at that moment."""

    def __init__(self, aws: LocalAws, cloud: Cloud, url: str) -> None:
        self.sqs, self.url, self.ids = aws.client("sqs", account=ACCOUNT), url, list[str]()
        self.cloud, self.broken = cloud, list[tuple[str, str]]()
        cloud.wake_by_id = self.wake
        cloud.wake_account = lambda namespace, name: self.broken.append((namespace, name))

    def wake(self, id_: str) -> int:
        self.ids.append(id_)
        assert self.left() > 0, "a message is deleted only after its wake is queued"
        return 1

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(int(v) for v in self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"].values())

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def counted(self, result: str) -> float:
        samples = [s for m in self.cloud.metrics.aws_events.collect() for s in m.samples if s.name.endswith("_total")]
        return sum(s.value for s in samples if s.labels["result"] == result)


async def test_an_event_wakes_and_everything_else_is_counted_and_dropped(aws: LocalAws) -> None:
    async with managed(aws) as (cloud, account, url):
        heard = Heard(aws, cloud, url)
        heard.send(BODY, "not json", json.dumps({"source": "aws.ec2", "detail-type": "x", "detail": {}}))
        listener = await cloud.listen(account, url)
        assert await cloud.listen(account, url) is listener
        await until(lambda: heard.left() == 0, "an empty queue")
        assert heard.ids == [ARN]
        assert [heard.counted(result) for result in ("woke", "malformed", "unknown")] == [1.0, 1.0, 1.0]


@pytest.mark.proves("15.7")
async def test_a_subscription_is_heard_of_by_the_managed_queue(aws: LocalAws) -> None:
    async with managed(aws) as (cloud, account, url):
        heard = Heard(aws, cloud, url)
        await cloud.listen(account, url)
        aws.admin.subscribe("prod-1", account="999988887777")
        aws.admin.subscribe("prod-1", account=ACCOUNT)
        await until(lambda: heard.ids and heard.left() == 0, "the event")
    assert heard.ids.count(subscriptions.AWAITED) == 1, "another account's is no business of this one"


async def test_a_storage_event_comes_all_the_way_from_the_bucket(aws: LocalAws) -> None:
    """EventBridge to a queue of the user's own, by a rule of the user's own."""
    sqs, events, s3 = (aws.client(s, account=ACCOUNT) for s in ("sqs", "events", "s3"))
    url = sqs.create_queue(QueueName="mine")["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:mine"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})})
    s3.create_bucket(Bucket="data")
    s3.put_bucket_notification_configuration(Bucket="data", NotificationConfiguration={"EventBridgeConfiguration": {}})
    events.put_rule(Name="mine", EventPattern=json.dumps({"source": ["aws.s3"]}))
    events.put_targets(Rule="mine", Targets=[{"Id": "q", "Arn": arn}])
    async with a_cloud(aws) as cloud:
        heard = Heard(aws, cloud, url)
        await cloud.listen(account_of(cloud, cloud_account()), url)
        s3.put_object(Bucket="data", Key="in/a.csv", Body=b"x")
        await until(lambda: heard.ids, "the event")
    assert "arn:aws:s3:::data/in/a.csv" in heard.ids


async def test_a_queue_that_is_gone_is_told_and_listened_to_again_when_it_is_back(aws: LocalAws) -> None:
    async with managed(aws) as (cloud, account, url):
        heard = Heard(aws, cloud, url)
        heard.sqs.delete_queue(QueueUrl=url)
        await cloud.listen(account, url)
        await until(lambda: heard.broken, "the account is woken")
        assert heard.broken[0] == ("team", "default")
        aws.admin.step(61)  # SQS keeps a deleted queue's name for a minute
        assert await plumbing.ensure(account, WANTED, TAGS) == url
        heard.send(BODY)
        await until(lambda: heard.ids, "the event")


async def test_an_account_that_is_denied_its_queue_says_so(aws: LocalAws) -> None:
    role = make_role(aws, actions=("sqs:GetQueueUrl",))
    async with a_cloud(aws) as cloud:
        with pytest.raises(Denied, match="sqs:CreateQueue"):
            await plumbing.ensure(account_of(cloud, cloud_account(roleARN=role)), WANTED, TAGS)


async def test_the_end_of_leadership_waits_for_no_long_poll(aws: LocalAws) -> None:
    async with asyncio.timeout(5):
        async with managed(aws) as (cloud, account, url):
            await cloud.listen(account, url)
            await until(lambda: aws.admin.requests("sqs.GetQueueUrl") > 0, "a call")
        assert cloud._ears == {}
