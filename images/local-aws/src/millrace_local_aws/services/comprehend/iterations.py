"""A flywheel's iterations: a version is trained on all data sets, and measured beside the active one on the same documents."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend import classifier_life, datasets, learning
from millrace_local_aws.services.comprehend.flywheels import running, save
from millrace_local_aws.services.comprehend.service import (
    COMPREHEND,
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
from millrace_local_aws.services.comprehend.sources import Source, read
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World


def _arn(call: Call, request: Input) -> str:
    return str(request["FlywheelArn"])


def _key(flywheel: str, name: str) -> str:
    return f"{flywheel}/{name}"


@COMPREHEND.operation("StartFlywheelIteration", resource=_arn)
def start_flywheel_iteration(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    flywheel = find(call, request["FlywheelArn"])
    arn, inputs = flywheel["FlywheelArn"], datasets.inputs(call.world, call.scope, request["FlywheelArn"])
    if running(call.world, call.scope, arn):
        raise in_use("The specified flywheel has an iteration in progress.")
    if flywheel["Status"] != "ACTIVE":
        raise unavailable(f"The specified flywheel is not active: its status is {flywheel['Status']}.")
    if all(test for _, test in inputs):
        raise invalid("The specified flywheel has no training data: create a dataset of type TRAIN first.")
    name = _free_name(call.world, call.scope, arn)
    record = {
        "FlywheelArn": arn,
        "FlywheelIterationId": name,
        "CreationTime": call.world.clock.now(),
        "Status": "TRAINING",
        "EvaluatedModelArn": flywheel.get("ActiveModelArn"),
        "TrainedModelArn": _version_arn(call, flywheel),
    }
    table(call.world, "iteration").put(call.scope, _key(arn, name), record)
    save(call.world, call.scope, flywheel | {"LatestFlywheelIteration": name})
    classifier_life.begin_version(call.world, call.scope, _version(call, flywheel, record, inputs))
    return remember(call, request, {"FlywheelArn": arn, "FlywheelIterationId": name})


def _free_name(world: World, scope: str, flywheel: str) -> str:
    """The time; a second iteration within a second gets a later one."""
    now = world.clock.now()
    while table(world, "iteration").get(scope, _key(flywheel, stamp(now))) is not None:
        now += 1
    return stamp(now)


def _version_arn(call: Call, flywheel: Record) -> str:
    active = flywheel.get("ActiveModelArn")
    name = active.split("/")[1] if active else flywheel["_name"]
    return call.arn(f"{classifier_life.KIND}/{name}/version/Comprehend-Generated-v1-{secrets.token_hex(4)}")


def _version(call: Call, flywheel: Record, iteration: Record, inputs: list[Any]) -> Record:
    """The classifier that is trained."""
    arn, lake = iteration["TrainedModelArn"], f"{flywheel['DataLakeS3Uri']}iterations/{iteration['FlywheelIterationId']}"
    return {
        "DocumentClassifierArn": arn,
        "VersionName": arn.rpartition("/")[2],
        "LanguageCode": flywheel["TaskConfig"]["LanguageCode"],
        "Mode": datasets.mode_of(flywheel),
        "DataAccessRoleArn": flywheel["DataAccessRoleArn"],
        "InputDataConfig": inputs[0][0],
        "OutputDataConfig": {"S3Uri": f"{lake}/output/output.tar.gz", "FlywheelStatsS3Prefix": f"{lake}/"},
        "SourceModelArn": flywheel.get("ActiveModelArn"),
        "FlywheelArn": flywheel["FlywheelArn"],
        "_name": arn.split("/")[1],
        "_inputs": inputs,
        "_output": lake,
        "_iteration": iteration["FlywheelIterationId"],
    }


def trained(world: World, scope: str, version: Record) -> None:
    """The version is trained, or never will be."""
    record = table(world, "iteration").get(scope, _key(version["FlywheelArn"], version["_iteration"]))
    if record is None or record["Status"] != "TRAINING":
        return
    if version["Status"] not in classifier_life.USABLE:
        status = "STOPPED" if version["Status"] == "STOPPED" else "FAILED"
        _end(world, scope, record, {"Status": status, "Message": version.get("Message")})
        return
    told = _averages(version["ClassifierMetadata"]["EvaluationMetrics"])
    _put(world, scope, record | {"Status": "EVALUATING", "TrainedModelMetrics": told})
    wait = duration(world, "comprehend.iteration/EVALUATING")
    key = _key(version["FlywheelArn"], version["_iteration"])
    world.scheduler.after(wait, "comprehend.iteration.evaluate", scope=scope, key=key)


def _averages(metrics: dict[str, float]) -> dict[str, float]:
    return {f"Average{name}": metrics[name] for name in ("F1Score", "Precision", "Recall", "Accuracy")}


def _put(world: World, scope: str, record: Record) -> None:
    table(world, "iteration").put(scope, _key(record["FlywheelArn"], record["FlywheelIterationId"]), record)


def _end(world: World, scope: str, record: Record, told: dict[str, Any]) -> None:
    _put(world, scope, record | told | {"EndTime": world.clock.now()})


@action("comprehend.iteration.evaluate")
def evaluate(world: World, scope: str, key: str) -> None:
    """The active model on the documents that the new one was measured on; the first version of all becomes the active one."""
    record = table(world, "iteration").get(scope, key)
    if record is None or record["Status"] != "EVALUATING":
        return
    models = table(world, classifier_life.KIND)
    version, active = models.get(scope, record["TrainedModelArn"]), models.get(scope, record.get("EvaluatedModelArn") or "")
    if version is None or active is None:
        flywheel = table(world, "flywheel").get(scope, record["FlywheelArn"])
        if version is not None and flywheel is not None and "ActiveModelArn" not in flywheel:
            save(world, scope, flywheel | {"ActiveModelArn": record["TrainedModelArn"]})
        _end(world, scope, record, {"Status": "COMPLETED"})
        return
    found = classifier_life.sources_of(world, version)
    world.work.start(_compare(world, scope, key, found, version["Mode"], classifier_life.folder(world, active)))


async def _compare(world: World, scope: str, key: str, found: list[Source], mode: str, model: Path) -> None:
    metrics = await asyncio.to_thread(_measured, world, found, mode, model)
    record = table(world, "iteration").get(scope, key)
    if record is not None:
        _end(world, scope, record, {"Status": "COMPLETED", "EvaluatedModelMetrics": _averages(metrics)})


def _measured(world: World, found: list[Source], mode: str, model: Path) -> dict[str, float]:
    training, test = read(world, found, mode)
    return learning.measure(learning.load(model), training, test)


@COMPREHEND.operation("DescribeFlywheelIteration", resource=_arn)
def describe_flywheel_iteration(call: Call, request: Input) -> dict[str, Any]:
    arn = find(call, request["FlywheelArn"])["FlywheelArn"]
    found = table(call.world, "iteration").get(call.scope, _key(arn, request["FlywheelIterationId"]))
    if found is None:
        raise AwsError("ResourceNotFoundException", "Could not find the specified flywheel iteration.", 400)
    return {"FlywheelIterationProperties": view(found)}


@COMPREHEND.operation("ListFlywheelIterationHistory", resource=_arn)
def list_flywheel_iteration_history(call: Call, request: Input) -> dict[str, Any]:
    arn = find(call, request["FlywheelArn"])["FlywheelArn"]
    found = [record for record in table(call.world, "iteration").of(call.scope) if record["FlywheelArn"] == arn]
    return page(request, filtered(request, found, "CreationTime"), "FlywheelIterationPropertiesList")


def resume(world: World) -> None:
    """After a restart: a comparison that was cut off begins again."""
    timers = [record for _, _, record in world.store.table("timer").everything()]
    waiting = {record["arguments"].get("key") for record in timers if record["action"] == "comprehend.iteration.evaluate"}
    for scope, key, record in table(world, "iteration").everything():
        if record["Status"] == "EVALUATING" and key not in waiting:
            evaluate(world, scope, key)
