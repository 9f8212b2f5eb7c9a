"""Sending, receiving, deleting, hiding."""

from __future__ import annotations

import hashlib
import re
import struct
import time
from collections.abc import Callable
from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.sqs.queues import Message, Queue, digest
from millrace_local_aws.services.sqs.service import SQS, queue_arn, queue_of
from millrace_local_aws.wire.errors import AwsError
from millrace_local_aws.wire.scalars import blob_from, blob_to

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MOST_IN_FLIGHT = 120_000


def _invalid(message: str, code: str = "InvalidParameterValue") -> AwsError:
    return AwsError(code, message, 400)


def attributes_digest(attributes: dict[str, Any]) -> str | None:
    """AWS's MD5 over message attributes: names sorted, each part behind its length."""
    if not attributes:
        return None
    sum_ = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        value = attributes[name]
        binary = value["DataType"].startswith("Binary")
        data = value["BinaryValue"] if binary else value["StringValue"].encode()
        for part in (name.encode(), value["DataType"].encode()):
            sum_.update(struct.pack(">I", len(part)) + part)
        sum_.update((b"\x02" if binary else b"\x01") + struct.pack(">I", len(data)) + data)
    return sum_.hexdigest()


def _stored(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: blob_to(value) if key == "BinaryValue" else value for key, value in attribute.items()}
        for name, attribute in attributes.items()
    }


def _shown(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: blob_from(value) if key == "BinaryValue" else value for key, value in attribute.items()}
        for name, attribute in attributes.items()
    }


def _check_body(queue: Queue, request: Input) -> None:
    body = request["MessageBody"]
    if not body:
        raise _invalid("The request must contain the parameter MessageBody.", "MissingParameter")
    if _FORBIDDEN.search(body):
        raise _invalid("Invalid characters found.", "InvalidMessageContents")
    limit = queue.number("MaximumMessageSize")
    if len(body.encode()) > limit:
        raise _invalid(f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes.")


def _fifo_parts(queue: Queue, request: Input) -> tuple[str | None, str | None]:
    group, deduplication = request.get("MessageGroupId"), request.get("MessageDeduplicationId")
    if not queue.fifo:
        if deduplication:
            raise _invalid("The request include parameter that is not valid for this queue type")
        return None, None
    if group is None:
        raise _invalid("The request must contain the parameter MessageGroupId.", "MissingParameter")
    if deduplication is None:
        if queue.attributes.get("ContentBasedDeduplication") != "true":
            raise _invalid(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
            )
        deduplication = hashlib.sha256(request["MessageBody"].encode()).hexdigest()
    return group, deduplication


def _send(call: Call, queue: Queue, request: Input) -> dict[str, Any]:
    _check_body(queue, request)
    group, deduplication = _fifo_parts(queue, request)
    delay = request.get("DelaySeconds", queue.number("DelaySeconds"))
    if not 0 <= delay <= 900:
        raise _invalid(f"Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.")
    attributes = request.get("MessageAttributes", {})
    sender = call.principal.unique_id
    name, seq = queue.send(
        request["MessageBody"], _stored(attributes), sender, delay=delay, group=group, deduplication=deduplication
    )
    answer: dict[str, Any] = {"MessageId": name, "MD5OfMessageBody": digest(request["MessageBody"])}
    if attributes:
        answer["MD5OfMessageAttributes"] = attributes_digest(attributes)
    return answer | ({"SequenceNumber": f"{seq:020d}"} if queue.fifo else {})


@SQS.operation("SendMessage", resource=queue_arn)
def send_message(call: Call, request: Input) -> dict[str, Any]:
    return _send(call, queue_of(call, request), request)


def _batch(entries: list[Input], one: Callable[[Input], dict[str, Any]]) -> dict[str, Any]:
    """Each entry by itself: some may fail."""
    if not entries:
        raise AwsError("EmptyBatchRequest", "There should be at least one entry in the request.", 400)
    if len(entries) > 10:
        raise AwsError("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10.", 400)
    if len({entry["Id"] for entry in entries}) < len(entries):
        raise AwsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.", 400)
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for entry in entries:
        try:
            good.append({"Id": entry["Id"]} | one(entry))
        except AwsError as error:
            bad.append({"Id": entry["Id"], "Code": error.code, "Message": error.message, "SenderFault": True})
    return {"Successful": good, "Failed": bad}


@SQS.operation("SendMessageBatch", resource=queue_arn, action="SendMessage")
def send_message_batch(call: Call, request: Input) -> dict[str, Any]:
    queue = queue_of(call, request)
    return _batch(request["Entries"], lambda entry: _send(call, queue, entry))


def _number(request: Input, name: str, default: int, least: int, most: int) -> int:
    value = int(request.get(name, default))
    if not least <= value <= most:
        raise _invalid(f"Value {value} for parameter {name} is invalid. Reason: Must be between {least} and {most}, if provided.")
    return value


@SQS.operation("ReceiveMessage", resource=queue_arn)
async def receive_message(call: Call, request: Input) -> dict[str, Any]:
    queue = queue_of(call, request)
    most = _number(request, "MaxNumberOfMessages", 1, 1, 10)
    timeout = _number(request, "VisibilityTimeout", queue.number("VisibilityTimeout"), 0, 43_200)
    wait = _number(request, "WaitTimeSeconds", queue.number("ReceiveMessageWaitTimeSeconds"), 0, 20)
    found = _received(queue, most, timeout)
    end = time.monotonic() + wait
    while not found and (left := end - time.monotonic()) > 0:
        # What was done so far must not wait for this poll to end.
        call.world.store.commit()
        await queue.wait(left)
        if call.world.sqs.find(f"{queue.account}/{queue.region}", queue.name) is not queue:
            break
        found = _received(queue, most, timeout)
    return {"Messages": [_view(message, request) for message in found]} if found else {}


def _received(queue: Queue, most: int, timeout: float) -> list[Message]:
    room = _MOST_IN_FLIGHT - queue.counts["flight"]
    if room <= 0:
        raise AwsError("OverLimit", "Too many messages in flight.", 403)
    return queue.receive(min(most, room), timeout)


def _view(message: Message, request: Input) -> dict[str, Any]:
    shown = {"MessageId": message.id, "ReceiptHandle": message.receipt, "Body": message.body, "MD5OfBody": digest(message.body)}
    wanted = set(request.get("AttributeNames", [])) | set(request.get("MessageSystemAttributeNames", []))
    system = {name: value for name, value in _system(message).items() if "All" in wanted or name in wanted}
    attributes = _wanted_attributes(message, request.get("MessageAttributeNames", []))
    if system:
        shown["Attributes"] = system  # type: ignore[assignment]
    if attributes:
        found = _shown(attributes)
        shown |= {"MessageAttributes": found, "MD5OfMessageAttributes": attributes_digest(found)}  # type: ignore[dict-item]
    return shown


def _wanted_attributes(message: Message, names: list[str]) -> dict[str, Any]:
    def wanted(name: str) -> bool:
        return any(one in ("All", ".*", name) or (one.endswith(".*") and name.startswith(one[:-1])) for one in names)

    return {name: value for name, value in message.attributes.items() if wanted(name)}


def _system(message: Message) -> dict[str, str]:
    shown = {
        "SenderId": message.sender,
        "SentTimestamp": str(int(message.sent * 1000)),
        "ApproximateReceiveCount": str(message.receives),
        "ApproximateFirstReceiveTimestamp": str(int((message.first or 0.0) * 1000)),
    }
    if message.group is not None:
        shown |= {"MessageGroupId": message.group, "SequenceNumber": f"{message.seq:020d}"}
        shown |= {"MessageDeduplicationId": message.deduplication or ""}
    if message.source is not None:
        shown["DeadLetterQueueSourceArn"] = message.source
    return shown


def _flying(queue: Queue, receipt: str) -> Message:
    if receipt.count("#") != 2:
        raise AwsError("ReceiptHandleIsInvalid", f'The input receipt handle "{receipt}" is not a valid receipt handle.', 404)
    message = queue.by_receipt(receipt)
    queue.settle()
    if message is None or message.state != "flight":
        raise AwsError(
            "MessageNotInflight",
            f"Value {receipt} for parameter ReceiptHandle is invalid. Reason: Message is not in flight.",
            400,
        )
    return message


def _delete(queue: Queue, receipt: str) -> dict[str, Any]:
    if receipt.count("#") != 2:
        raise AwsError("ReceiptHandleIsInvalid", f'The input receipt handle "{receipt}" is not a valid receipt handle.', 404)
    message = queue.by_receipt(receipt)
    if message is not None and (not queue.fifo or message.receipt.rpartition("#")[2] == receipt.rpartition("#")[2]):
        queue.remove(message)
    return {}


@SQS.operation("DeleteMessage", resource=queue_arn)
def delete_message(call: Call, request: Input) -> None:
    _delete(queue_of(call, request), request["ReceiptHandle"])


@SQS.operation("DeleteMessageBatch", resource=queue_arn, action="DeleteMessage")
def delete_message_batch(call: Call, request: Input) -> dict[str, Any]:
    queue = queue_of(call, request)
    return _batch(request["Entries"], lambda entry: _delete(queue, entry["ReceiptHandle"]))


def _change(queue: Queue, request: Input) -> dict[str, Any]:
    timeout = _number(request, "VisibilityTimeout", 0, 0, 43_200)
    queue.change_visibility(_flying(queue, request["ReceiptHandle"]), timeout)
    return {}


@SQS.operation("ChangeMessageVisibility", resource=queue_arn)
def change_message_visibility(call: Call, request: Input) -> None:
    _change(queue_of(call, request), request)


@SQS.operation("ChangeMessageVisibilityBatch", resource=queue_arn, action="ChangeMessageVisibility")
def change_message_visibility_batch(call: Call, request: Input) -> dict[str, Any]:
    queue = queue_of(call, request)
    return _batch(request["Entries"], lambda entry: _change(queue, entry))


@SQS.operation("PurgeQueue", resource=queue_arn)
def purge_queue(call: Call, request: Input) -> None:
    queue = queue_of(call, request)
    now = call.world.clock.wall()
    if now - call.world.sqs.record(queue).get("purged", 0) < 60:
        message = f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds."
        raise AwsError("PurgeQueueInProgress", message, 403)
    queue.purge()
    call.world.sqs.save(queue, purged=now)
