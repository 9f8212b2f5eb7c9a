"""Rules, targets, buses, put_events."""

from __future__ import annotations

import json
from typing import Any

from millrace_local_aws.engine.ids import new_uuid
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.events.patterns import matches, parsed
from millrace_local_aws.services.events.service import EVENTS
from millrace_local_aws.state.store import Record, Table
from millrace_local_aws.wire.errors import AwsError, NotServed
from millrace_local_aws.wire.scalars import iso


def bus_name(request: Input, member: str = "EventBusName") -> str:
    """Buses go by name or by ARN."""
    return str(request.get(member, "default")).rpartition("/")[2]


def rules(call: Call) -> Table:
    return call.world.store.table("events.rule")


def bus_scope(call: Call, request: Input, member: str = "EventBusName") -> str:
    name = bus_name(request, member)
    if name != "default" and call.world.store.table("events.bus").get(call.scope, name) is None:
        raise AwsError("ResourceNotFoundException", f"Event bus {name} does not exist.", 400)
    return f"{call.scope}/{name}"


def rule_resource(name: str, bus: str) -> str:
    return f"rule/{name}" if bus == "default" else f"rule/{bus}/{name}"


def rule_arn(call: Call, request: Input) -> str:
    return call.arn(rule_resource(request.get("Name") or request.get("Rule", "*"), bus_name(request)))


def rule_of(call: Call, request: Input, member: str = "Name") -> Record:
    found = rules(call).get(bus_scope(call, request), request[member])
    if found is None:
        raise AwsError(
            "ResourceNotFoundException", f"Rule {request[member]} does not exist on EventBus {bus_name(request)}.", 400
        )
    return found


def save(call: Call, rule: Record) -> None:
    rules(call).put(f"{call.scope}/{rule['EventBusName']}", rule["Name"], rule)


def view(rule: Record) -> dict[str, Any]:
    return {name: value for name, value in rule.items() if name not in ("targets", "tags")}


@EVENTS.operation("PutRule", resource=rule_arn)
def put_rule(call: Call, request: Input) -> dict[str, Any]:
    scope, name = bus_scope(call, request), request["Name"]
    if "EventPattern" not in request and "ScheduleExpression" not in request:
        raise AwsError("ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.", 400)
    if "EventPattern" in request:
        parsed(request["EventPattern"])
    if "ScheduleExpression" in request:
        raise NotServed("events", "PutRule with ScheduleExpression")
    old = rules(call).get(scope, name) or {"targets": {}, "tags": {}}
    rule = {
        "Name": name,
        "Arn": rule_arn(call, request),
        "EventBusName": bus_name(request),
        "State": request.get("State", "ENABLED"),
        "targets": old["targets"],
        "tags": old["tags"] | {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])},
    }
    rule |= {key: request[key] for key in ("EventPattern", "Description", "RoleArn") if key in request}
    rules(call).put(scope, name, rule)
    return {"RuleArn": rule["Arn"]}


@EVENTS.operation("DescribeRule", resource=rule_arn)
def describe_rule(call: Call, request: Input) -> dict[str, Any]:
    return view(rule_of(call, request)) | {"CreatedBy": call.account}


def _page(items: list[Any], request: Input, member: str) -> dict[str, Any]:
    start, size = int(request.get("NextToken") or 0), request.get("Limit", 100)
    more = start + size < len(items)
    return {member: items[start : start + size]} | ({"NextToken": str(start + size)} if more else {})


@EVENTS.operation("ListRules")
def list_rules(call: Call, request: Input) -> dict[str, Any]:
    found = [
        view(rule) for rule in rules(call).of(bus_scope(call, request)) if rule["Name"].startswith(request.get("NamePrefix", ""))
    ]
    return _page(sorted(found, key=lambda rule: rule["Name"]), request, "Rules")


@EVENTS.operation("DeleteRule", resource=rule_arn)
def delete_rule(call: Call, request: Input) -> None:
    found = rules(call).get(bus_scope(call, request), request["Name"])
    if found is None:
        return
    if found["targets"]:
        raise AwsError("ValidationException", "Rule can't be deleted since it has targets.", 400)
    rules(call).drop(bus_scope(call, request), request["Name"])


@EVENTS.operation("EnableRule", resource=rule_arn)
def enable_rule(call: Call, request: Input) -> None:
    save(call, rule_of(call, request) | {"State": "ENABLED"})


@EVENTS.operation("DisableRule", resource=rule_arn)
def disable_rule(call: Call, request: Input) -> None:
    save(call, rule_of(call, request) | {"State": "DISABLED"})


@EVENTS.operation("PutTargets", resource=rule_arn)
def put_targets(call: Call, request: Input) -> dict[str, Any]:
    rule, failed = rule_of(call, request, "Rule"), []
    for target in request["Targets"]:
        if not target["Arn"].startswith("arn:aws:sqs:"):
            call.world.counters.not_served(f"events:target {':'.join(target['Arn'].split(':')[:3])}")
            failed.append(
                {"TargetId": target["Id"], "ErrorCode": "NotImplemented", "ErrorMessage": "local-aws delivers to SQS only"}
            )
        elif len(rule["targets"].keys() | {target["Id"]}) > 5:
            raise AwsError("LimitExceededException", "The requested resource exceeds the maximum number allowed.", 400)
        else:
            rule["targets"][target["Id"]] = target
    save(call, rule)
    return {"FailedEntryCount": len(failed), "FailedEntries": failed}


@EVENTS.operation("RemoveTargets", resource=rule_arn)
def remove_targets(call: Call, request: Input) -> dict[str, Any]:
    rule, failed = rule_of(call, request, "Rule"), []
    for name in request["Ids"]:
        if rule["targets"].pop(name, None) is None:
            message = f"Rule {rule['Name']} does not have a target with the Id {name}."
            failed.append({"TargetId": name, "ErrorCode": "ResourceNotFoundException", "ErrorMessage": message})
    save(call, rule)
    return {"FailedEntryCount": len(failed), "FailedEntries": failed}


@EVENTS.operation("ListTargetsByRule", resource=rule_arn)
def list_targets_by_rule(call: Call, request: Input) -> dict[str, Any]:
    return _page(list(rule_of(call, request, "Rule")["targets"].values()), request, "Targets")


@EVENTS.operation("ListRuleNamesByTarget")
def list_rule_names_by_target(call: Call, request: Input) -> dict[str, Any]:
    arn = request["TargetArn"]
    found = [r["Name"] for r in rules(call).of(bus_scope(call, request)) if any(t["Arn"] == arn for t in r["targets"].values())]
    return _page(sorted(found), request, "RuleNames")


def _event(call: Call, entry: Input) -> dict[str, Any]:
    return {
        "version": "0",
        "id": new_uuid(),
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": call.account,
        "time": iso(entry.get("Time", call.world.clock.now()), millis=False),
        "region": call.region,
        "resources": entry.get("Resources", []),
        "detail": json.loads(entry["Detail"]),
    }


def _put(call: Call, entry: Input) -> dict[str, Any]:
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            return {
                "ErrorCode": "InvalidArgument",
                "ErrorMessage": f"Parameter {name} is not valid. Reason: {name} is a required argument.",
            }
    if entry["Source"].startswith("aws."):
        message = f"Not authorized for the source {entry['Source']}."
        return {"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": message}
    try:
        event = _event(call, entry)
    except ValueError:
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    call.world.events.deliver(bus_name(entry), event)
    return {"EventId": event["id"]}


@EVENTS.operation("PutEvents", resource=lambda call, request: call.arn("event-bus/default"))
def put_events(call: Call, request: Input) -> dict[str, Any]:
    entries = [_put(call, entry) for entry in request["Entries"]]
    return {"FailedEntryCount": sum("ErrorCode" in entry for entry in entries), "Entries": entries}


@EVENTS.operation("TestEventPattern")
def test_event_pattern(call: Call, request: Input) -> dict[str, Any]:
    return {"Result": matches(parsed(request["EventPattern"]), json.loads(request["Event"]))}


@EVENTS.operation("CreateEventBus")
def create_event_bus(call: Call, request: Input) -> dict[str, Any]:
    table, name = call.world.store.table("events.bus"), request["Name"]
    if name == "default" or table.get(call.scope, name):
        raise AwsError("ResourceAlreadyExistsException", f"Event bus {name} already exists.", 400)
    arn = call.arn(f"event-bus/{name}")
    table.put(call.scope, name, {"Name": name, "Arn": arn})
    return {"EventBusArn": arn}


@EVENTS.operation("DescribeEventBus")
def describe_event_bus(call: Call, request: Input) -> dict[str, Any]:
    bus_scope(call, request, "Name")
    name = bus_name(request, "Name")
    return {"Name": name, "Arn": call.arn(f"event-bus/{name}")}


@EVENTS.operation("ListEventBuses")
def list_event_buses(call: Call, request: Input) -> dict[str, Any]:
    default = {"Name": "default", "Arn": call.arn("event-bus/default")}
    found = [default, *call.world.store.table("events.bus").of(call.scope)]
    return _page([bus for bus in found if bus["Name"].startswith(request.get("NamePrefix", ""))], request, "EventBuses")


@EVENTS.operation("DeleteEventBus")
def delete_event_bus(call: Call, request: Input) -> None:
    name = request["Name"]
    if rules(call).of(f"{call.scope}/{name}"):
        raise AwsError("ValidationException", f"EventBus {name} cannot be deleted because it has rules.", 400)
    call.world.store.table("events.bus").drop(call.scope, name)


def _tagged(call: Call, arn: str) -> Record:
    for rule in [rule for _, _, rule in rules(call).everything()]:
        if rule["Arn"] == arn:
            return rule
    raise AwsError("ResourceNotFoundException", f"Rule {arn.rpartition('/')[2]} does not exist on EventBus default.", 400)


@EVENTS.operation("TagResource")
def tag_resource(call: Call, request: Input) -> None:
    rule = _tagged(call, request["ResourceARN"])
    rule["tags"] |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    save(call, rule)


@EVENTS.operation("UntagResource")
def untag_resource(call: Call, request: Input) -> None:
    rule = _tagged(call, request["ResourceARN"])
    for key in request["TagKeys"]:
        rule["tags"].pop(key, None)
    save(call, rule)


@EVENTS.operation("ListTagsForResource")
def list_tags_for_resource(call: Call, request: Input) -> dict[str, Any]:
    return {"Tags": [{"Key": key, "Value": value} for key, value in _tagged(call, request["ResourceARN"])["tags"].items()]}
