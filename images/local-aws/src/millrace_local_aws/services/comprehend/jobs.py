"""Classification jobs: documents from S3, predictions to S3. AWS has no call that stops one."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from millrace_local_aws.dataplane.scripted import archive
from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend import learning, realtime, tags
from millrace_local_aws.services.comprehend.classifiers import usable
from millrace_local_aws.services.comprehend.documents import BadData
from millrace_local_aws.services.comprehend.service import (
    COMPREHEND,
    check_role,
    check_tags,
    filtered,
    find,
    invalid,
    page,
    remember,
    replayed,
    table,
    unavailable,
    view,
)
from millrace_local_aws.services.comprehend.sources import NO_WRITE, File, check_writable, files
from millrace_local_aws.services.roles import split_uri
from millrace_local_aws.services.sagemaker import plans
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError, NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

MOST_BYTES = 10_000
SHOWN_CLASSES = 3
"""In multi-class mode a job tells the likeliest ones."""


def _classifier(call: Call, request: Input) -> Record:
    if ("DocumentClassifierArn" in request) == ("FlywheelArn" in request):
        raise invalid("Specify either DocumentClassifierArn or FlywheelArn.")
    arn = request.get("DocumentClassifierArn") or find(call, request["FlywheelArn"]).get("ActiveModelArn")
    if arn is None:
        raise unavailable("The specified flywheel has no active model.")
    return usable(call, arn)


@COMPREHEND.operation("StartDocumentClassificationJob")
def start_document_classification_job(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    if "DocumentReaderConfig" in request["InputDataConfig"]:
        raise NotServed("comprehend", "a classification job of native documents")
    classifier = _classifier(call, request)
    check_tags(request)
    name = secrets.token_hex(16)
    arn = call.arn(f"document-classification-job/{name}")
    check_role(call, request["DataAccessRoleArn"], arn)
    base = f"{request['OutputDataConfig']['S3Uri'].rstrip('/')}/{call.account}-CLN-{name}"
    record = {key: value for key, value in request.items() if key not in ("Tags", "ClientRequestToken")}
    record |= {
        "JobId": name,
        "JobArn": arn,
        "JobStatus": "SUBMITTED",
        "SubmitTime": call.world.clock.now(),
        "DocumentClassifierArn": classifier["DocumentClassifierArn"],
        "InputDataConfig": {"InputFormat": "ONE_DOC_PER_LINE"} | request["InputDataConfig"],
        "OutputDataConfig": request["OutputDataConfig"] | {"S3Uri": f"{base}/output/output.tar.gz"},
        "_failure": plans.failure(call.world, "classification-job", request.get("JobName", "")),
    }
    tags.put(call.world, arn, request.get("Tags"))
    table(call.world, "job").put(call.scope, name, record)
    _after(call.world, call.scope, name, "SUBMITTED", "comprehend.job.run")
    told = {member: record[member] for member in ("JobId", "JobArn", "JobStatus", "DocumentClassifierArn")}
    return remember(call, request, told)


def _after(world: World, scope: str, name: str, state: str, what: str) -> None:
    world.scheduler.after(duration(world, f"comprehend.job/{state}"), what, scope=scope, name=name)


@action("comprehend.job.run")
def run(world: World, scope: str, name: str) -> None:
    """It is its turn."""
    record = table(world, "job").get(scope, name)
    if record is None or record["JobStatus"] not in ("SUBMITTED", "IN_PROGRESS"):
        return
    record |= {"JobStatus": "IN_PROGRESS", "_began": world.clock.now()}
    table(world, "job").put(scope, name, record)
    role = record["DataAccessRoleArn"]
    try:
        if record["_failure"]:
            raise BadData(record["_failure"])
        found = files(world, role, record["InputDataConfig"]["S3Uri"])
        check_writable(world, role, record["OutputDataConfig"]["S3Uri"])
        model = realtime.model(world, scope, record["DocumentClassifierArn"])
    except (BadData, AwsError) as error:
        _end(world, scope, name, "FAILED", str(error))
        return
    world.work.start(_classify(world, scope, name, found, model))


async def _classify(world: World, scope: str, name: str, found: tuple[File, ...], model: learning.Model) -> None:
    record = table(world, "job").get(scope, name) or {}
    per_line = record["InputDataConfig"]["InputFormat"] == "ONE_DOC_PER_LINE"
    lines = await asyncio.to_thread(lambda: list(predictions(world, found, model, per_line)))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    bucket, key = split_uri(record["OutputDataConfig"]["S3Uri"])
    try:
        world.s3.put_bytes(bucket, key, archive({"predictions.jsonl": text.encode()}))
    except AwsError:
        _end(world, scope, name, "FAILED", NO_WRITE)
        return
    done = record["_began"] + duration(world, "comprehend.job/IN_PROGRESS")
    world.scheduler.at(max(done, world.clock.now()), "comprehend.job.finish", scope=scope, name=name)


def predictions(world: World, found: tuple[File, ...], model: learning.Model, per_line: bool) -> Iterator[dict[str, Any]]:
    """A line of the output for each document."""
    for file in found:
        data = world.s3.read(file.version)
        pieces = data.splitlines() if per_line else [data]
        for number, raw in enumerate(pieces):
            place = {"File": file.name} | ({"Line": str(number)} if per_line else {})
            yield place | _prediction(model, raw)


def _prediction(model: learning.Model, raw: bytes) -> dict[str, Any]:
    if len(raw) > MOST_BYTES:
        return {"ErrorCode": "DOCUMENT_SIZE_EXCEEDED", "ErrorMessage": "Document size exceeds size limit."}
    try:
        rows = model.predicted([raw.decode()])[0]
    except UnicodeDecodeError:
        return {"ErrorCode": "INVALID_ENCODING", "ErrorMessage": "The document is not encoded as UTF-8."}
    if model.mode == "MULTI_LABEL":
        return {"Labels": [{"Name": name, "Score": score} for name, score in rows]}
    return {"Classes": [{"Name": name, "Score": score} for name, score in rows[:SHOWN_CLASSES]]}


@action("comprehend.job.finish")
def finish(world: World, scope: str, name: str) -> None:
    _end(world, scope, name, "COMPLETED", None)


def _end(world: World, scope: str, name: str, status: str, why: str | None) -> None:
    record = table(world, "job").get(scope, name)
    if record is not None and record["JobStatus"] == "IN_PROGRESS":
        told = {"JobStatus": status, "Message": why, "EndTime": world.clock.now()}
        table(world, "job").put(scope, name, record | told)


@COMPREHEND.operation("DescribeDocumentClassificationJob")
def describe_document_classification_job(call: Call, request: Input) -> dict[str, Any]:
    record = table(call.world, "job").get(call.scope, request["JobId"])
    if record is None:
        raise AwsError("JobNotFoundException", "The specified job was not found. Check the job ID and try again.", 400)
    return {"DocumentClassificationJobProperties": view(record)}


@COMPREHEND.operation("ListDocumentClassificationJobs")
def list_document_classification_jobs(call: Call, request: Input) -> dict[str, Any]:
    found = filtered(request, table(call.world, "job").of(call.scope), "SubmitTime")
    return page(request, found, "DocumentClassificationJobPropertiesList")


def resume(world: World) -> None:
    """After a restart: a job that was cut off begins again."""
    waiting = {
        record["arguments"]["name"]
        for _, _, record in world.store.table("timer").everything()
        if record["action"] == "comprehend.job.finish"
    }
    for scope, name, record in table(world, "job").everything():
        if record["JobStatus"] == "IN_PROGRESS" and name not in waiting:
            run(world, scope, name)
