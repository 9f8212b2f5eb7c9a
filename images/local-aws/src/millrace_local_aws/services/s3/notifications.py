"""S3 tells: queues in the records S3 has used since 2014, and EventBridge in its own form. Keys are ordered by `sequencer`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from millrace_local_aws.access.authorize import resource_policy_allows
from millrace_local_aws.access.conditions import like
from millrace_local_aws.access.policies import Question
from millrace_local_aws.engine.ids import new_uuid
from millrace_local_aws.services.s3.objects import Version
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError
from millrace_local_aws.wire.scalars import iso

if TYPE_CHECKING:
    from millrace_local_aws.services.sqs.queues import Queue
    from millrace_local_aws.world import World


def _bucket_arn(bucket: Record) -> str:
    return f"arn:aws:s3:::{bucket['name']}"


def queue_for(world: World, bucket: Record, arn: str) -> Queue | None:
    """The queue, if it is there and its policy lets this bucket send."""
    queue = world.sqs.by_arn(arn)
    context = {"aws:SourceArn": _bucket_arn(bucket), "aws:SourceAccount": bucket["account"]}
    question = Question("sqs:SendMessage", arn, context, (("Service", "s3.amazonaws.com"),))
    allowed = queue is not None and resource_policy_allows(queue.attributes.get("Policy"), question)
    return queue if allowed else None


def validate(world: World, bucket: Record, configuration: dict[str, Any]) -> None:
    """As S3 does when a configuration is put: every queue is there and may be sent to; a test message goes to each."""
    for kind in ("TopicConfigurations", "LambdaFunctionConfigurations"):
        if configuration.get(kind):
            raise AwsError("InvalidArgument", f"local-aws delivers to queues and EventBridge, not {kind}", 400)
    for one in configuration.get("QueueConfigurations", []):
        queue = queue_for(world, bucket, one["QueueArn"])
        if queue is None:
            raise AwsError("InvalidArgument", "Unable to validate the following destination configurations", 400)
        test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": iso(world.clock.wall()), "Bucket": bucket["name"]}
        _send(queue, test)


def _send(queue: Queue, body: dict[str, Any]) -> None:
    queue.send(json.dumps(body), {}, "S3", delay=queue.number("DelaySeconds"), group=None, deduplication=None)


def _wanted(configuration: dict[str, Any], event: str, key: str) -> bool:
    rules = (configuration.get("Filter") or {}).get("Key", {}).get("FilterRules", [])
    tests = {"prefix": key.startswith, "suffix": key.endswith}
    return any(like(pattern, f"s3:{event}") for pattern in configuration["Events"]) and all(
        tests[rule["Name"].lower()](rule["Value"]) for rule in rules
    )


def _record(bucket: Record, event: str, found: Version, when: float, configuration_id: str, principal: str) -> dict[str, Any]:
    obj: dict[str, Any] = {"key": quote_plus(found.key), "sequencer": f"{found.seq:018X}"}
    if not found.marker and event.startswith("ObjectCreated"):
        obj |= {"size": found.size, "eTag": found.etag}
    if found.id != "null":
        obj["versionId"] = found.id
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket["region"],
        "eventTime": iso(when),
        "eventName": event,
        "userIdentity": {"principalId": f"AWS:{principal}"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": new_uuid()[:16].upper(), "x-amz-id-2": new_uuid()},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration_id,
            "bucket": {"name": bucket["name"], "ownerIdentity": {"principalId": bucket["account"]}, "arn": _bucket_arn(bucket)},
            "object": obj,
        },
    }


def _to_queues(world: World, bucket: Record, event: str, found: Version, principal: str) -> None:
    configuration = bucket["configuration"].get("notification") or {}
    for one in configuration.get("QueueConfigurations", []):
        if _wanted(one, event, found.key):
            queue = queue_for(world, bucket, one["QueueArn"])
            if queue is not None:
                _send(queue, {"Records": [_record(bucket, event, found, world.clock.wall(), one.get("Id", ""), principal)]})


def created(world: World, found: Version, how: str, reason: str, principal: str) -> None:
    """An object is there. `how` is Put, Copy or CompleteMultipartUpload; `reason` the API's name."""
    bucket = world.s3.bucket(found.bucket)
    _to_queues(world, bucket, f"ObjectCreated:{how}", found, principal)
    detail = {"object": _event_object(found) | {"size": found.size, "etag": found.etag}, "reason": reason}
    _to_bus(world, bucket, "Object Created", detail, principal)


def deleted(world: World, found: Version, principal: str) -> None:
    """A version is gone, or a delete marker is there."""
    bucket = world.s3.bucket(found.bucket)
    _to_queues(world, bucket, f"ObjectRemoved:{'DeleteMarkerCreated' if found.marker else 'Delete'}", found, principal)
    kind = "Delete Marker Created" if found.marker else "Permanently Deleted"
    detail = {"object": _event_object(found), "reason": "DeleteObject", "deletion-type": kind}
    _to_bus(world, bucket, "Object Deleted", detail, principal)


def _event_object(found: Version) -> dict[str, Any]:
    version = {"version-id": found.id} if found.id != "null" else {}
    return {"key": found.key, "sequencer": f"{found.seq:018X}"} | version


def _to_bus(world: World, bucket: Record, kind: str, detail: dict[str, Any], principal: str) -> None:
    if "EventBridgeConfiguration" not in (bucket["configuration"].get("notification") or {}):
        return
    common = {
        "version": "0",
        "bucket": {"name": bucket["name"]},
        "request-id": new_uuid()[:16].upper(),
        "requester": principal,
        "source-ip-address": "127.0.0.1",
    }
    world.events.emit("aws.s3", kind, bucket["account"], bucket["region"], [_bucket_arn(bucket)], common | detail)
