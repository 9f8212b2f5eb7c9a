"""A flywheel's data sets: files copied into its data lake, and counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend import tags
from millrace_local_aws.services.comprehend.classifiers import check_input
from millrace_local_aws.services.comprehend.documents import BadData, Corpus
from millrace_local_aws.services.comprehend.service import (
    COMPREHEND,
    check_tags,
    filtered,
    find,
    in_use,
    page,
    remember,
    replayed,
    stamp,
    table,
    unavailable,
    view,
)
from millrace_local_aws.services.comprehend.sources import Source, check_writable, corpora, sources
from millrace_local_aws.services.roles import split_uri
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World


def _arn(call: Call, request: Input) -> str:
    if "DatasetArn" in request:
        return str(request["DatasetArn"])
    return f"{request.get('FlywheelArn', '*')}/dataset/{request.get('DatasetName', '*')}"


def _config(request: Input, mode: str) -> dict[str, Any]:
    """In the form that classifiers have."""
    given = request["InputDataConfig"]
    if "EntityRecognizerInputDataConfig" in given:
        raise NotServed("comprehend", "a data set of entity recognizers")
    config: dict[str, Any] = {"DataFormat": given.get("DataFormat", "COMPREHEND_CSV")} | given.get(
        "DocumentClassifierInputDataConfig", {}
    )
    if "AugmentedManifests" in given:
        config["AugmentedManifests"] = given["AugmentedManifests"]
    check_input(config, mode)
    return config


def mode_of(flywheel: Record) -> str:
    return str(flywheel["TaskConfig"]["DocumentClassificationConfig"]["Mode"])


@COMPREHEND.operation("CreateDataset", resource=_arn)
def create_dataset(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    flywheel, arn = find(call, request["FlywheelArn"]), _arn(call, request)
    if flywheel["Status"] != "ACTIVE":
        raise unavailable(f"The specified flywheel takes no data while its status is {flywheel['Status']}.")
    if table(call.world, "dataset").get(call.scope, arn) is not None:
        raise in_use()
    check_tags(request)
    config = _config(request, mode_of(flywheel))
    tags.put(call.world, arn, request.get("Tags"))
    begin(
        call.world,
        call.scope,
        flywheel,
        request["DatasetName"],
        request.get("DatasetType", "TRAIN"),
        config,
        request.get("Description"),
    )
    return remember(call, request, {"DatasetArn": arn})


def begin(
    world: World, scope: str, flywheel: Record, name: str, kind: str, config: dict[str, Any], about: str | None = None
) -> None:
    """A new data set."""
    now = world.clock.now()
    place = f"{flywheel['DataLakeS3Uri']}datasets/{name}/{stamp(now)}/"
    record = {
        "DatasetArn": f"{flywheel['FlywheelArn']}/dataset/{name}",
        "DatasetName": name,
        "DatasetType": kind,
        "DatasetS3Uri": place,
        "Description": about,
        "Status": "CREATING",
        "CreationTime": now,
        "_config": config,
        "_flywheel": flywheel["FlywheelArn"],
    }
    table(world, "dataset").put(scope, str(record["DatasetArn"]), record)
    wait = duration(world, "comprehend.dataset/CREATING")
    world.scheduler.after(wait, "comprehend.dataset.copy", scope=scope, arn=record["DatasetArn"])


def of_model(world: World, scope: str, flywheel: Record, model: Record) -> None:
    """What the flywheel's first model was trained and tested on."""
    config = {name: value for name, value in model["InputDataConfig"].items() if name != "TestS3Uri"}
    begin(world, scope, flywheel, "InitialTrainingData", "TRAIN", config)
    if "TestS3Uri" in model["InputDataConfig"]:
        begin(world, scope, flywheel, "InitialTestData", "TEST", config | {"S3Uri": model["InputDataConfig"]["TestS3Uri"]})


@action("comprehend.dataset.copy")
def copy(world: World, scope: str, arn: str) -> None:
    """Into the data lake."""
    record = table(world, "dataset").get(scope, arn)
    flywheel = table(world, "flywheel").get(scope, record["_flywheel"]) if record else None
    if record is None or flywheel is None or record["Status"] != "CREATING":
        return
    role = flywheel["DataAccessRoleArn"]
    try:
        found = sources(world, role, record["_config"])
        check_writable(world, role, record["DatasetS3Uri"])
    except BadData as error:
        _end(world, scope, arn, {"Status": "FAILED", "Message": str(error)})
        return
    world.work.start(_copied(world, scope, arn, found, mode_of(flywheel)))


async def _copied(world: World, scope: str, arn: str, found: list[Source], mode: str) -> None:
    record = table(world, "dataset").get(scope, arn) or {}
    bucket, prefix = split_uri(record["DatasetS3Uri"])
    count = await asyncio.to_thread(_count, world, found, mode)
    for number, source in enumerate(found):
        for file in source.files:
            data = await asyncio.to_thread(world.s3.read, file.version)
            world.s3.put_bytes(bucket, f"{prefix}{number}/{file.name}", data)
    if count:
        _end(world, scope, arn, {"Status": "COMPLETED", "NumberOfDocuments": count})
    else:
        _end(world, scope, arn, {"Status": "FAILED", "Message": "INVALID_INPUT: No document of the data could be read."})


def _count(world: World, found: list[Source], mode: str) -> int:
    everything = Corpus()
    for source in found:
        for corpus in corpora(world, source, mode):
            everything.extend(corpus)
    return len(everything.texts)


def _end(world: World, scope: str, arn: str, told: dict[str, Any]) -> None:
    record = table(world, "dataset").get(scope, arn)
    if record is not None:
        table(world, "dataset").put(scope, arn, record | told | {"EndTime": world.clock.now()})


def inputs(world: World, scope: str, flywheel: str) -> list[tuple[dict[str, Any], bool]]:
    """Where a version of the flywheel's model learns from, and what it is tested on: the copies in the lake."""
    found = [one for one in table(world, "dataset").of(scope) if one["_flywheel"] == flywheel and one["Status"] == "COMPLETED"]
    return [(_lake_config(one), one["DatasetType"] == "TEST") for one in found]


def _lake_config(record: Record) -> dict[str, Any]:
    config = dict(record["_config"])
    if "AugmentedManifests" not in config:
        return config | {"S3Uri": f"{record['DatasetS3Uri']}0/"}
    moved = [one | {"S3Uri": f"{record['DatasetS3Uri']}{number}/"} for number, one in enumerate(config["AugmentedManifests"])]
    return config | {"AugmentedManifests": moved}


@COMPREHEND.operation("DescribeDataset", resource=_arn)
def describe_dataset(call: Call, request: Input) -> dict[str, Any]:
    return {"DatasetProperties": view(find(call, request["DatasetArn"]))}


@COMPREHEND.operation("ListDatasets")
def list_datasets(call: Call, request: Input) -> dict[str, Any]:
    found = table(call.world, "dataset").of(call.scope)
    if "FlywheelArn" in request:
        arn = find(call, request["FlywheelArn"])["FlywheelArn"]
        found = [record for record in found if record["_flywheel"] == arn]
    return page(request, filtered(request, found, "CreationTime"), "DatasetPropertiesList")


def resume(world: World) -> None:
    """After a restart: a copy that was cut off begins again."""
    timers = [record for _, _, record in world.store.table("timer").everything()]
    waiting = {record["arguments"].get("arn") for record in timers if record["action"] == "comprehend.dataset.copy"}
    for scope, arn, record in table(world, "dataset").everything():
        if record["Status"] == "CREATING" and arn not in waiting:
            copy(world, scope, arn)
