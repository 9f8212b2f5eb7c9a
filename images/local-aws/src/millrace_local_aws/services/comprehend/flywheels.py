"""Flywheels: a model, the data that its next versions are trained on, and a data lake that holds both's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend import datasets, tags
from millrace_local_aws.services.comprehend.classifiers import check_language, usable
from millrace_local_aws.services.comprehend.service import (
    COMPREHEND,
    check_role,
    check_tags,
    filtered,
    find,
    in_use,
    invalid,
    page,
    remember,
    replayed,
    stamp,
    table,
    unavailable,
    view,
)
from millrace_local_aws.services.roles import split_uri
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_SUMMARY = (
    "FlywheelArn",
    "ActiveModelArn",
    "DataLakeS3Uri",
    "Status",
    "ModelType",
    "Message",
    "CreationTime",
    "LastModifiedTime",
    "LatestFlywheelIteration",
)


def save(world: World, scope: str, record: Record) -> None:
    record["LastModifiedTime"] = world.clock.now()
    table(world, "flywheel").put(scope, record["FlywheelArn"], record)


def _after(world: World, scope: str, record: Record, state: str, what: str) -> None:
    world.scheduler.after(duration(world, f"comprehend.flywheel/{state}"), what, scope=scope, arn=record["FlywheelArn"])


def _arn(call: Call, request: Input) -> str:
    return str(request["FlywheelArn"]) if "FlywheelArn" in request else call.arn(f"flywheel/{request.get('FlywheelName', '*')}")


def _task(call: Call, request: Input) -> dict[str, Any]:
    """What the flywheel's model does: told in the request, or as its active model does."""
    if request.get("ModelType") == "ENTITY_RECOGNIZER" or ":entity-recognizer/" in request.get("ActiveModelArn", ""):
        raise NotServed("comprehend", "a flywheel of entity recognizers")
    if "ActiveModelArn" in request:
        if "TaskConfig" in request:
            raise invalid("TaskConfig is not allowed with ActiveModelArn.")
        model = usable(call, request["ActiveModelArn"])
        return {"LanguageCode": model["LanguageCode"], "DocumentClassificationConfig": {"Mode": model["Mode"]}}
    task = request.get("TaskConfig") or {}
    if "ModelType" not in request or "DocumentClassificationConfig" not in task:
        raise invalid("ModelType and a TaskConfig with DocumentClassificationConfig are required without ActiveModelArn.")
    check_language(task["LanguageCode"])
    return dict(task)


def _check_lake(call: Call, uri: str) -> None:
    if call.world.s3.buckets.get("", split_uri(uri)[0]) is None:
        raise invalid(f"The bucket of the data lake does not exist: {uri}")


@COMPREHEND.operation("CreateFlywheel", resource=_arn)
def create_flywheel(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    arn, now = _arn(call, request), call.world.clock.now()
    if table(call.world, "flywheel").get(call.scope, arn) is not None:
        raise in_use()
    task = _task(call, request)
    check_tags(request)
    check_role(call, request["DataAccessRoleArn"], arn)
    _check_lake(call, request["DataLakeS3Uri"])
    kept = ("ActiveModelArn", "DataAccessRoleArn", "DataSecurityConfig")
    record = {name: request[name] for name in kept if name in request} | {
        "FlywheelArn": arn,
        "TaskConfig": task,
        "DataLakeS3Uri": f"{request['DataLakeS3Uri'].rstrip('/')}/{request['FlywheelName']}/schemaVersion=1/{stamp(now)}/",
        "Status": "CREATING",
        "ModelType": "DOCUMENT_CLASSIFIER",
        "CreationTime": now,
        "_name": request["FlywheelName"],
    }
    tags.put(call.world, arn, request.get("Tags"))
    save(call.world, call.scope, record)
    _after(call.world, call.scope, record, "CREATING", "comprehend.flywheel.active")
    answer = {"FlywheelArn": arn} | ({"ActiveModelArn": request["ActiveModelArn"]} if "ActiveModelArn" in request else {})
    return remember(call, request, answer)


@action("comprehend.flywheel.active")
def active(world: World, scope: str, arn: str) -> None:
    """A new one has the data that its active model was trained on, as data sets of its own."""
    record = table(world, "flywheel").get(scope, arn)
    if record is None or record["Status"] not in ("CREATING", "UPDATING"):
        return
    fresh = record["Status"] == "CREATING"
    save(world, scope, record | {"Status": "ACTIVE"})
    model = table(world, "document-classifier").get(scope, record.get("ActiveModelArn", ""))
    if fresh and model is not None:
        datasets.of_model(world, scope, record, model)


@COMPREHEND.operation("DescribeFlywheel", resource=_arn)
def describe_flywheel(call: Call, request: Input) -> dict[str, Any]:
    return {"FlywheelProperties": view(find(call, request["FlywheelArn"]))}


def _summary(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in _SUMMARY if record.get(name) is not None}


@COMPREHEND.operation("ListFlywheels")
def list_flywheels(call: Call, request: Input) -> dict[str, Any]:
    found = filtered(request, table(call.world, "flywheel").of(call.scope), "CreationTime")
    return page(request, found, "FlywheelSummaryList", _summary)


@COMPREHEND.operation("UpdateFlywheel", resource=_arn)
def update_flywheel(call: Call, request: Input) -> dict[str, Any]:
    record = find(call, request["FlywheelArn"])
    if record["Status"] != "ACTIVE":
        raise invalid(f"The specified flywheel cannot be updated while its status is {record['Status']}.")
    if "ActiveModelArn" in request:
        usable(call, request["ActiveModelArn"])
    if "DataAccessRoleArn" in request:
        check_role(call, request["DataAccessRoleArn"], record["FlywheelArn"])
    record |= {name: request[name] for name in ("ActiveModelArn", "DataAccessRoleArn") if name in request}
    if "DataSecurityConfig" in request:
        record["DataSecurityConfig"] = record.get("DataSecurityConfig", {}) | request["DataSecurityConfig"]
    record["Status"] = "UPDATING"
    save(call.world, call.scope, record)
    _after(call.world, call.scope, record, "UPDATING", "comprehend.flywheel.active")
    return {"FlywheelProperties": view(record)}


def running(world: World, scope: str, arn: str) -> bool:
    """Whether an iteration is under way."""
    found = table(world, "iteration").of(scope)
    return any(one["FlywheelArn"] == arn and one["Status"] in ("TRAINING", "EVALUATING") for one in found)


@COMPREHEND.operation("DeleteFlywheel", resource=_arn)
def delete_flywheel(call: Call, request: Input) -> None:
    """The data lake and the models stay."""
    record = find(call, request["FlywheelArn"])
    if running(call.world, call.scope, record["FlywheelArn"]):
        raise in_use("The specified flywheel has an iteration in progress. Wait until it has ended and try your request again.")
    if record["Status"] not in ("ACTIVE", "FAILED"):
        raise unavailable(f"The specified flywheel cannot be deleted while its status is {record['Status']}.")
    save(call.world, call.scope, record | {"Status": "DELETING"})
    _after(call.world, call.scope, record, "DELETING", "comprehend.flywheel.deleted")


@action("comprehend.flywheel.deleted")
def deleted(world: World, scope: str, arn: str) -> None:
    for kind in ("dataset", "iteration"):
        for key in table(world, kind).keys(scope):
            if key.startswith(f"{arn}/"):
                table(world, kind).drop(scope, key)
    table(world, "flywheel").drop(scope, arn)
    tags.drop(world, arn)
