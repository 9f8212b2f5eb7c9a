"""The queue and rule that Millrace makes for an account's events (managed mode), again and again to the same end, and removes.

The queue takes messages from EventBridge only, for our rule only, and only from within the account (confused deputy):
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace.aws import events, tags
from millrace.aws.errors import Unavailable, Where

if TYPE_CHECKING:
    from millrace.aws.account import Account

Object = dict[str, Any]
_TARGET = "queue"
_RETENTION_SECONDS = 3600
"""Older hints than this tell nothing that a listing has not told."""


@dataclass(frozen=True)
class Plumbing:
    """Names and documents of one account's queue and rule."""

    name: str
    region: str
    account_id: str
    partition: str = "aws"

    @property
    def queue_arn(self) -> str:
        """ARN of the queue."""
        return f"arn:{self.partition}:sqs:{self.region}:{self.account_id}:{self.name}"

    @property
    def rule_arn(self) -> str:
        """ARN of the rule, on the default bus."""
        return f"arn:{self.partition}:events:{self.region}:{self.account_id}:rule/{self.name}"

    @property
    def policy(self) -> str:
        """Who may send to the queue."""
        statement = {
            "Sid": "OnlyOurRule",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": self.queue_arn,
            "Condition": {
                "ArnEquals": {"aws:SourceArn": self.rule_arn},
                "StringEquals": {"aws:SourceAccount": self.account_id},
            },
        }
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, sort_keys=True)

    @property
    def attributes(self) -> dict[str, str]:
        """Attributes of the queue."""
        return {
            "MessageRetentionPeriod": str(_RETENTION_SECONDS),
            "ReceiveMessageWaitTimeSeconds": "20",
            "VisibilityTimeout": "30",
            "SqsManagedSseEnabled": "true",
            "Policy": self.policy,
        }


async def ensure(account: Account, wanted: Plumbing, owned: Mapping[str, str]) -> str:
    """Make both, or bring them back to what they should be; gives the queue's URL. Raises CallError."""
    url = await _queue(account, wanted, owned)
    await account.call(
        "events",
        "PutRule",
        Name=wanted.name,
        EventPattern=events.pattern(wanted.account_id),
        State="ENABLED",
        Description="Millrace: changes of state, as hints",
        Tags=tags.as_list(owned),
    )
    answer = await account.call("events", "PutTargets", Rule=wanted.name, Targets=[{"Id": _TARGET, "Arn": wanted.queue_arn}])
    if failed := answer.get("FailedEntries"):
        where = Where("events", "PutTargets", str(failed[0].get("ErrorCode", "")))
        raise Unavailable(where, f"{where}: the queue was not taken as a target: {failed[0].get('ErrorMessage', '')}")
    return url


async def _queue(account: Account, wanted: Plumbing, owned: Mapping[str, str]) -> str:
    """Found first: CreateQueue refuses the name of a queue whose attributes somebody has changed."""
    found = await account.find("sqs", "GetQueueUrl", QueueName=wanted.name)
    if found is None:
        found = await account.call("sqs", "CreateQueue", QueueName=wanted.name, Attributes=wanted.attributes, tags=dict(owned))
        return str(found["QueueUrl"])
    url = str(found["QueueUrl"])
    held = await account.call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
    if _differs(held.get("Attributes") or {}, wanted.attributes):
        await account.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes=wanted.attributes)
    return url


def _differs(held: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Policies by what they say, not by how they are written."""
    plain = {k: v for k, v in wanted.items() if k != "Policy"}
    same_policy = json.loads(held.get("Policy") or "{}") == json.loads(wanted["Policy"])
    return not same_policy or any(held.get(k) != v for k, v in plain.items())


async def remove(account: Account, wanted: Plumbing) -> None:
    """Take both away, the rule first; gone already is success. Raises CallError."""
    if await account.find("events", "DescribeRule", Name=wanted.name) is not None:
        await account.remove("events", "RemoveTargets", Rule=wanted.name, Ids=[_TARGET])
        await account.remove("events", "DeleteRule", Name=wanted.name)
    found = await account.find("sqs", "GetQueueUrl", QueueName=wanted.name)
    if found is not None:
        await account.remove("sqs", "DeleteQueue", QueueUrl=found["QueueUrl"])
