"""Queues themselves: made, described, changed, tagged, deleted."""

from __future__ import annotations

import json
import re
from typing import Any

from millrace_local_aws.access.policies import parsed
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.sqs.queues import DEFAULTS, Queue
from millrace_local_aws.services.sqs.service import SQS, missing, queue_arn, queue_of
from millrace_local_aws.wire.errors import AwsError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
# What may be set, and between what; None for text.
_SETTABLE: dict[str, tuple[int, int] | None] = {
    "VisibilityTimeout": (0, 43_200),
    "MaximumMessageSize": (1_024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "DelaySeconds": (0, 900),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
    "Policy": None,
    "RedrivePolicy": None,
    "RedriveAllowPolicy": None,
    "KmsMasterKeyId": None,
    "SqsManagedSseEnabled": None,
    "ContentBasedDeduplication": None,
    "DeduplicationScope": None,
    "FifoThroughputLimit": None,
    "FifoQueue": None,
}


def url(call: Call, queue: Queue) -> str:
    return f"http://{call.incoming.host}/{queue.account}/{queue.name}"


def _bad(message: str, code: str = "InvalidAttributeValue") -> AwsError:
    return AwsError(code, message, 400)


def _checked(call: Call, attributes: dict[str, str]) -> dict[str, str]:
    for name, value in attributes.items():
        if name not in _SETTABLE:
            raise _bad(f"Unknown Attribute {name}.", "InvalidAttributeName")
        limits = _SETTABLE[name]
        if limits and not (value.isdigit() and limits[0] <= int(value) <= limits[1]):
            raise _bad(f"Invalid value for the parameter {name}.")
    _check_documents(call, attributes)
    return {name: value for name, value in attributes.items() if value != ""}


def _check_documents(call: Call, attributes: dict[str, str]) -> None:
    if attributes.get("Policy"):
        try:
            parsed(attributes["Policy"])
        except AwsError as error:
            raise _bad("Invalid value for the parameter Policy.") from error
    if attributes.get("RedrivePolicy"):
        try:
            redrive = json.loads(attributes["RedrivePolicy"])
            known = call.world.sqs.by_arn(redrive["deadLetterTargetArn"]) is not None and int(redrive["maxReceiveCount"]) > 0
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            value = attributes["RedrivePolicy"]
            raise _bad(f"Value {value} for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.")


@SQS.operation("CreateQueue", resource=queue_arn)
def create_queue(call: Call, request: Input) -> dict[str, Any]:
    name, attributes = request["QueueName"], _checked(call, request.get("Attributes", {}))
    if not _NAME.fullmatch(name):
        reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        raise AwsError("InvalidParameterValue", reason, 400)
    if name.endswith(".fifo") != (attributes.get("FifoQueue") == "true"):
        raise AwsError(
            "InvalidParameterValue", "The name of a FIFO queue can only end with .fifo, and its FifoQueue is true.", 400
        )
    found = call.world.sqs.find(call.scope, name)
    if found is not None:
        return {"QueueUrl": url(call, _same(found, attributes))}
    _not_too_soon(call, name)
    return {"QueueUrl": url(call, call.world.sqs.create(call.account, call.region, name, attributes, request.get("tags", {})))}


def _same(queue: Queue, attributes: dict[str, str]) -> Queue:
    for name, value in attributes.items():
        if queue.attributes.get(name, DEFAULTS.get(name)) != value:
            message = f"A queue already exists with the same name and a different value for attribute {name}"
            raise AwsError("QueueNameExists", message, 400)
    return queue


def _not_too_soon(call: Call, name: str) -> None:
    gone = call.world.store.table("sqs.deleted").get(call.scope, name)
    if gone is not None and call.world.clock.wall() - gone["when"] < 60:
        message = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
        raise AwsError("QueueDeletedRecently", message, 400)


@SQS.operation("DeleteQueue", resource=queue_arn)
def delete_queue(call: Call, request: Input) -> None:
    queue = queue_of(call, request)
    call.world.sqs.delete(queue)
    scope = f"{queue.account}/{queue.region}"
    call.world.store.table("sqs.deleted").put(scope, queue.name, {"when": call.world.clock.wall()})


@SQS.operation("GetQueueUrl", resource=queue_arn)
def get_queue_url(call: Call, request: Input) -> dict[str, Any]:
    account = request.get("QueueOwnerAWSAccountId", call.account)
    queue = call.world.sqs.find(f"{account}/{call.region}", request["QueueName"])
    if queue is None:
        raise missing()
    return {"QueueUrl": url(call, queue)}


@SQS.operation("ListQueues")
def list_queues(call: Call, request: Input) -> dict[str, Any]:
    found = [
        url(call, queue) for queue in call.world.sqs.of(call.scope) if queue.name.startswith(request.get("QueueNamePrefix", ""))
    ]
    start, size = int(request.get("NextToken") or 0), request.get("MaxResults", 1000)
    more = {"NextToken": str(start + size)} if "MaxResults" in request and start + size < len(found) else {}
    return ({"QueueUrls": found[start : start + size]} if found else {}) | more


def _all_attributes(call: Call, queue: Queue) -> dict[str, str]:
    queue.settle()
    record = call.world.sqs.record(queue)
    return {
        **DEFAULTS,
        "SqsManagedSseEnabled": "true",
        **queue.attributes,
        "QueueArn": queue.arn,
        "ApproximateNumberOfMessages": str(queue.counts["ready"]),
        "ApproximateNumberOfMessagesNotVisible": str(queue.counts["flight"]),
        "ApproximateNumberOfMessagesDelayed": str(queue.counts["delayed"]),
        "CreatedTimestamp": str(int(queue.created)),
        "LastModifiedTimestamp": str(int(record["changed"])),
    }


@SQS.operation("GetQueueAttributes", resource=queue_arn)
def get_queue_attributes(call: Call, request: Input) -> dict[str, Any]:
    wanted = set(request.get("AttributeNames", []))
    found = {k: v for k, v in _all_attributes(call, queue_of(call, request)).items() if "All" in wanted or k in wanted}
    return {"Attributes": found} if found else {}


@SQS.operation("SetQueueAttributes", resource=queue_arn)
def set_queue_attributes(call: Call, request: Input) -> None:
    queue = queue_of(call, request)
    checked = _checked(call, request["Attributes"])
    for name in request["Attributes"]:
        queue.attributes.pop(name, None)
    queue.attributes |= checked
    call.world.sqs.save(queue)


@SQS.operation("AddPermission", resource=queue_arn)
def add_permission(call: Call, request: Input) -> None:
    queue = queue_of(call, request)
    policy = json.loads(queue.attributes.get("Policy", '{"Version": "2012-10-17", "Statement": []}'))
    if any(statement.get("Sid") == request["Label"] for statement in policy["Statement"]):
        raise AwsError(
            "InvalidParameterValue", f"Value {request['Label']} for parameter Label is invalid. Reason: Already exists.", 400
        )
    statement = {
        "Sid": request["Label"],
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{account}:root" for account in request["AWSAccountIds"]]},
        "Action": [f"sqs:{action}" for action in request["Actions"]],
        "Resource": queue.arn,
    }
    policy["Statement"].append(statement)
    queue.attributes["Policy"] = json.dumps(policy)
    call.world.sqs.save(queue)


@SQS.operation("RemovePermission", resource=queue_arn)
def remove_permission(call: Call, request: Input) -> None:
    queue = queue_of(call, request)
    policy = json.loads(queue.attributes.get("Policy", '{"Statement": []}'))
    kept = [statement for statement in policy["Statement"] if statement.get("Sid") != request["Label"]]
    if len(kept) == len(policy["Statement"]):
        message = f"Value {request['Label']} for parameter Label is invalid. Reason: can't find label on existing policy."
        raise AwsError("InvalidParameterValue", message, 400)
    queue.attributes["Policy"] = json.dumps(policy | {"Statement": kept})
    if not kept:
        del queue.attributes["Policy"]
    call.world.sqs.save(queue)


@SQS.operation("TagQueue", resource=queue_arn)
def tag_queue(call: Call, request: Input) -> None:
    queue = queue_of(call, request)
    call.world.sqs.save(queue, tags=call.world.sqs.record(queue)["tags"] | request["Tags"])


@SQS.operation("UntagQueue", resource=queue_arn)
def untag_queue(call: Call, request: Input) -> None:
    queue = queue_of(call, request)
    tags = call.world.sqs.record(queue)["tags"]
    call.world.sqs.save(queue, tags={key: value for key, value in tags.items() if key not in request["TagKeys"]})


@SQS.operation("ListQueueTags", resource=queue_arn)
def list_queue_tags(call: Call, request: Input) -> dict[str, Any]:
    tags = call.world.sqs.record(queue_of(call, request))["tags"]
    return {"Tags": tags} if tags else {}


@SQS.operation("ListDeadLetterSourceQueues", resource=queue_arn)
def list_dead_letter_source_queues(call: Call, request: Input) -> dict[str, Any]:
    target = queue_of(call, request).arn
    found = [
        url(call, queue)
        for queue in call.world.sqs.of(call.scope)
        if json.loads(queue.attributes.get("RedrivePolicy", "{}")).get("deadLetterTargetArn") == target
    ]
    return {"queueUrls": found}
