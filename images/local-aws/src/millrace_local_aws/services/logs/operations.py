"""What clients ask of CloudWatch Logs."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services.logs.events import Event, LogStore
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError, NotServed

LOGS = Service("logs", "logs", target="Logs_20140328", invalid="InvalidParameterException")
_LATEST = 2**62
_DAY = 86_400_000


def group_arn(call: Call, request: Input) -> str:
    return call.world.logs.group_arn(call.scope, _name(request)) + ":*"


def _name(request: Input) -> str:
    """Groups go by name or by ARN."""
    identifier = request.get("logGroupName") or request.get("logGroupIdentifier") or "*"
    return str(identifier.split(":")[6] if identifier.startswith("arn:") else identifier)


def _missing(what: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"The specified log {what} does not exist.", 400)


def _group(call: Call, request: Input) -> tuple[LogStore, str]:
    store, name = call.world.logs, _name(request)
    if store.groups.get(call.scope, name) is None:
        raise _missing("group")
    return store, name


def _stream(call: Call, request: Input) -> tuple[LogStore, str, str]:
    store, group = _group(call, request)
    if store.streams.get(f"{call.scope}/{group}", request["logStreamName"]) is None:
        raise _missing("stream")
    return store, group, request["logStreamName"]


@LOGS.operation("CreateLogGroup", resource=group_arn)
def create_log_group(call: Call, request: Input) -> None:
    if call.world.logs.groups.get(call.scope, request["logGroupName"]):
        raise AwsError("ResourceAlreadyExistsException", "The specified log group already exists", 400)
    call.world.logs.add_group(call.scope, request["logGroupName"], request.get("tags"))


@LOGS.operation("DeleteLogGroup", resource=group_arn)
def delete_log_group(call: Call, request: Input) -> None:
    store, group = _group(call, request)
    for stream in store.streams.keys(f"{call.scope}/{group}"):
        store.drop_stream(call.scope, group, stream)
    store.groups.drop(call.scope, group)


def _page(items: list[Any], request: Input, member: str, size: int) -> dict[str, Any]:
    start = int(request.get("nextToken") or 0)
    size = min(size, request.get("limit", size))
    more = {"nextToken": str(start + size)} if start + size < len(items) else {}
    return {member: items[start : start + size]} | more


def _group_view(record: Record) -> dict[str, Any]:
    hidden = {name: value for name, value in record.items() if name != "tags"}
    return hidden | {"metricFilterCount": 0, "storedBytes": 0, "logGroupClass": "STANDARD"}


@LOGS.operation("DescribeLogGroups", resource=group_arn)
def describe_log_groups(call: Call, request: Input) -> dict[str, Any]:
    prefix, pattern = request.get("logGroupNamePrefix", ""), request.get("logGroupNamePattern", "")
    found = sorted(call.world.logs.groups.of(call.scope), key=lambda record: record["logGroupName"])
    shown = [_group_view(r) for r in found if r["logGroupName"].startswith(prefix) and pattern in r["logGroupName"]]
    return _page(shown, request, "logGroups", 50)


@LOGS.operation("PutRetentionPolicy", resource=group_arn)
def put_retention_policy(call: Call, request: Input) -> None:
    store, group = _group(call, request)
    record = store.groups.get(call.scope, group) or {}
    store.groups.put(call.scope, group, record | {"retentionInDays": request["retentionInDays"]})


@LOGS.operation("DeleteRetentionPolicy", resource=group_arn)
def delete_retention_policy(call: Call, request: Input) -> None:
    store, group = _group(call, request)
    record = dict(store.groups.get(call.scope, group) or {})
    record.pop("retentionInDays", None)
    store.groups.put(call.scope, group, record)


@LOGS.operation("CreateLogStream", resource=group_arn)
def create_log_stream(call: Call, request: Input) -> None:
    store, group = _group(call, request)
    if store.streams.get(f"{call.scope}/{group}", request["logStreamName"]):
        raise AwsError("ResourceAlreadyExistsException", "The specified log stream already exists", 400)
    store.add_stream(call.scope, group, request["logStreamName"])


@LOGS.operation("DeleteLogStream", resource=group_arn)
def delete_log_stream(call: Call, request: Input) -> None:
    store, group, stream = _stream(call, request)
    store.drop_stream(call.scope, group, stream)


@LOGS.operation("DescribeLogStreams", resource=group_arn)
def describe_log_streams(call: Call, request: Input) -> dict[str, Any]:
    store, group = _group(call, request)
    found = [
        r
        for r in store.streams.of(f"{call.scope}/{group}")
        if r["logStreamName"].startswith(request.get("logStreamNamePrefix", ""))
    ]
    by_time = request.get("orderBy") == "LastEventTime"
    found.sort(
        key=lambda r: r.get("lastEventTimestamp", 0) if by_time else r["logStreamName"], reverse=request.get("descending", False)
    )
    return _page(found, request, "logStreams", 50)


@LOGS.operation("PutLogEvents", resource=group_arn)
def put_log_events(call: Call, request: Input) -> dict[str, Any]:
    store, group, stream = _stream(call, request)
    times = [event["timestamp"] for event in request["logEvents"]]
    if times != sorted(times):
        raise AwsError(
            "InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.", 400
        )
    now = store.now()
    kept = [
        (event["timestamp"], event["message"])
        for event in request["logEvents"]
        if now - 14 * _DAY <= event["timestamp"] <= now + 2 * _DAY // 24
    ]
    store.append(call.scope, group, stream, kept)
    answer: dict[str, Any] = {"nextSequenceToken": str(now)}
    late = sum(at > now + 2 * _DAY // 24 for at in times)
    old = sum(at < now - 14 * _DAY for at in times)
    info = ({"tooNewLogEventStartIndex": len(times) - late} if late else {}) | ({"tooOldLogEventEndIndex": old} if old else {})
    return answer | ({"rejectedLogEventsInfo": info} if info else {})


def _view(event: Event) -> dict[str, Any]:
    return {"timestamp": event[0], "message": event[2], "ingestionTime": event[3]}


@LOGS.operation("GetLogEvents", resource=group_arn)
def get_log_events(call: Call, request: Input) -> dict[str, Any]:
    store, group, stream = _stream(call, request)
    found = store.read(call.scope, group, [stream], request.get("startTime", 0), request.get("endTime", _LATEST))
    size, token = request.get("limit", 10_000), request.get("nextToken")
    if token is None:
        first = 0 if request.get("startFromHead") else max(0, len(found) - size)
        last = min(len(found), first + size)
    elif token.startswith("f/"):
        first = int(token[2:])
        last = min(len(found), first + size)
    else:
        last = int(token[2:])
        first = max(0, last - size)
    return {
        "events": [_view(event) for event in found[first:last]],
        "nextForwardToken": f"f/{last:056d}",
        "nextBackwardToken": f"b/{first:056d}",
    }


def _filter(pattern: str) -> list[tuple[bool, str]]:
    """Words that must be there, or with a minus must not."""
    if pattern.startswith(("{", "[", "%")):
        raise NotServed("logs", f"FilterLogEvents with the pattern {pattern}")
    if pattern.startswith('"') and pattern.endswith('"'):
        return [(True, pattern.strip('"'))]
    return [(not word.startswith("-"), word.lstrip("-?").strip('"')) for word in pattern.split()]


@LOGS.operation("FilterLogEvents", resource=group_arn)
def filter_log_events(call: Call, request: Input) -> dict[str, Any]:
    store, group = _group(call, request)
    names = request.get("logStreamNames") or store.streams.keys(f"{call.scope}/{group}")
    prefix = request.get("logStreamNamePrefix", "")
    names = [name for name in names if name.startswith(prefix)]
    words = _filter(request.get("filterPattern", ""))
    found = store.read(call.scope, group, names, request.get("startTime", 0), request.get("endTime", _LATEST)) if names else []
    kept = [event for event in found if all((word in event[2]) == wanted for wanted, word in words)]
    shown = [_view(event) | {"logStreamName": event[4], "eventId": f"{event[0]:020d}{event[1]:020d}"} for event in kept]
    return _page(shown, request, "events", 10_000) | {"searchedLogStreams": []}


def _tagged(call: Call, arn: str) -> Record:
    found = call.world.logs.groups.get(call.scope, arn.split(":")[6] if arn.count(":") >= 6 else arn)
    if found is None:
        raise _missing("group")
    return found


@LOGS.operation("TagResource")
def tag_resource(call: Call, request: Input) -> None:
    record = _tagged(call, request["resourceArn"])
    call.world.logs.groups.put(call.scope, record["logGroupName"], record | {"tags": record["tags"] | request["tags"]})


@LOGS.operation("UntagResource")
def untag_resource(call: Call, request: Input) -> None:
    record = _tagged(call, request["resourceArn"])
    tags = {key: value for key, value in record["tags"].items() if key not in request["tagKeys"]}
    call.world.logs.groups.put(call.scope, record["logGroupName"], record | {"tags": tags})


@LOGS.operation("ListTagsForResource")
def list_tags_for_resource(call: Call, request: Input) -> dict[str, Any]:
    return {"tags": _tagged(call, request["resourceArn"])["tags"]}
