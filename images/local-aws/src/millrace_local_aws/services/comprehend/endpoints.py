"""Endpoints of classifiers, made and changed by the clock: what serves is told apart from what is wanted, until it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend import tags
from millrace_local_aws.services.comprehend.classifiers import usable
from millrace_local_aws.services.comprehend.service import (
    COMPREHEND,
    check_role,
    check_tags,
    filtered,
    find,
    in_use,
    invalid,
    over_limit,
    page,
    remember,
    replayed,
    table,
    unavailable,
    view,
)
from millrace_local_aws.services.sagemaker import plans
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

KIND = "document-classifier-endpoint"
MOST_UNITS = 10
MOST_ENDPOINTS = 20


def _arn(call: Call, request: Input) -> str:
    return str(request["EndpointArn"]) if "EndpointArn" in request else call.arn(f"{KIND}/{request.get('EndpointName', '*')}")


def _check_units(units: int) -> None:
    if units > MOST_UNITS:
        raise over_limit(f"The number of inference units ({units}) exceeds the maximum of {MOST_UNITS} for an endpoint.")


def _model(call: Call, request: Input, member: str) -> str | None:
    """The model asked for, or a flywheel's active one."""
    if member in request and "FlywheelArn" in request:
        raise invalid(f"Specify either {member} or FlywheelArn, not both.")
    arn = request.get(member)
    if "FlywheelArn" in request:
        arn = find(call, request["FlywheelArn"]).get("ActiveModelArn")
        if arn is None:
            raise unavailable("The specified flywheel has no active model.")
    if arn is None:
        return None
    if ":entity-recognizer/" in arn:
        raise NotServed("comprehend", "an endpoint of an entity recognizer")
    return str(usable(call, arn)["DocumentClassifierArn"])


def save(world: World, scope: str, record: Record) -> None:
    record["LastModifiedTime"] = world.clock.now()
    table(world, KIND).put(scope, record["EndpointArn"], record)


def _after(world: World, scope: str, record: Record, state: str, what: str) -> None:
    world.scheduler.after(duration(world, f"comprehend.endpoint/{state}"), what, scope=scope, arn=record["EndpointArn"])


@COMPREHEND.operation("CreateEndpoint", resource=_arn)
def create_endpoint(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    arn, units = _arn(call, request), request["DesiredInferenceUnits"]
    if table(call.world, KIND).get(call.scope, arn) is not None:
        raise in_use()
    _check_units(units)
    if len(table(call.world, KIND).of(call.scope)) >= MOST_ENDPOINTS:
        raise over_limit(f"The maximum number of endpoints per account ({MOST_ENDPOINTS}) has been reached.")
    model = _model(call, request, "ModelArn")
    if model is None:
        raise invalid("Specify either ModelArn or FlywheelArn.")
    check_tags(request)
    if "DataAccessRoleArn" in request:
        check_role(call, request["DataAccessRoleArn"], arn)
    record = {
        "EndpointArn": arn,
        "Status": "CREATING",
        "ModelArn": model,
        "DesiredModelArn": model,
        "DesiredInferenceUnits": units,
        "CreationTime": call.world.clock.now(),
        "_failure": plans.failure(call.world, "classifier-endpoint", request["EndpointName"]),
    } | {name: request[name] for name in ("DataAccessRoleArn", "FlywheelArn") if name in request}
    tags.put(call.world, arn, request.get("Tags"))
    save(call.world, call.scope, record)
    _after(call.world, call.scope, record, "CREATING", "comprehend.endpoint.done")
    return remember(call, request, {"EndpointArn": arn, "ModelArn": model})


@action("comprehend.endpoint.done")
def done(world: World, scope: str, arn: str) -> None:
    """What was wanted serves; or a new endpoint has failed."""
    record = table(world, KIND).get(scope, arn)
    if record is None or record["Status"] not in ("CREATING", "UPDATING"):
        return
    if record.get("_failure") and record["Status"] == "CREATING":
        save(world, scope, record | {"Status": "FAILED", "Message": record["_failure"]})
        return
    record |= {
        "Status": "IN_SERVICE",
        "ModelArn": record["DesiredModelArn"],
        "CurrentInferenceUnits": record["DesiredInferenceUnits"],
    }
    if "DesiredDataAccessRoleArn" in record:
        record["DataAccessRoleArn"] = record.pop("DesiredDataAccessRoleArn")
    save(world, scope, record)


@COMPREHEND.operation("DescribeEndpoint", resource=_arn)
def describe_endpoint(call: Call, request: Input) -> dict[str, Any]:
    return {"EndpointProperties": view(find(call, request["EndpointArn"]))}


@COMPREHEND.operation("ListEndpoints")
def list_endpoints(call: Call, request: Input) -> dict[str, Any]:
    return page(request, filtered(request, table(call.world, KIND).of(call.scope), "CreationTime"), "EndpointPropertiesList")


@COMPREHEND.operation("UpdateEndpoint", resource=_arn)
def update_endpoint(call: Call, request: Input) -> dict[str, Any]:
    record = find(call, request["EndpointArn"])
    if record["Status"] != "IN_SERVICE":
        raise unavailable(f"The specified endpoint cannot be updated while its status is {record['Status']}.")
    units, model = request.get("DesiredInferenceUnits"), _model(call, request, "DesiredModelArn")
    if units is None and model is None:
        raise invalid("Specify DesiredInferenceUnits, DesiredModelArn or FlywheelArn.")
    _check_units(units or 1)
    if "DesiredDataAccessRoleArn" in request:
        check_role(call, request["DesiredDataAccessRoleArn"], record["EndpointArn"])
        record["DesiredDataAccessRoleArn"] = request["DesiredDataAccessRoleArn"]
    record |= {name: request[name] for name in ("FlywheelArn",) if name in request}
    record |= {"DesiredInferenceUnits": units or record["DesiredInferenceUnits"], "DesiredModelArn": model or record["ModelArn"]}
    save(call.world, call.scope, record | {"Status": "UPDATING"})
    _after(call.world, call.scope, record, "UPDATING", "comprehend.endpoint.done")
    return {"DesiredModelArn": record["DesiredModelArn"]}


@COMPREHEND.operation("DeleteEndpoint", resource=_arn)
def delete_endpoint(call: Call, request: Input) -> None:
    record = find(call, request["EndpointArn"])
    if record["Status"] in ("CREATING", "UPDATING"):
        raise in_use(f"The specified endpoint cannot be deleted while its status is {record['Status']}.")
    if record["Status"] != "DELETING":
        save(call.world, call.scope, record | {"Status": "DELETING"})
        _after(call.world, call.scope, record, "DELETING", "comprehend.endpoint.deleted")


@action("comprehend.endpoint.deleted")
def deleted(world: World, scope: str, arn: str) -> None:
    table(world, KIND).drop(scope, arn)
    tags.drop(world, arn)
