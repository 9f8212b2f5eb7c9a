"""What happens to a customization job: its data are checked line by line, made into what the container reads, and learnt from.

InProgress -> Completed, Failed, or Stopping -> Stopped. The losses in the files that it leaves are those that its container told.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING, Any

from millrace_local_aws.dataplane.runner import Channel, Ended
from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.services.bedrock import containers, models, storage, tuning
from millrace_local_aws.services.bedrock.foundation import Foundation, known
from millrace_local_aws.services.bedrock.service import arn_in, table, view
from millrace_local_aws.services.roles import split_uri
from millrace_local_aws.services.s3.objects import Version
from millrace_local_aws.services.sagemaker import plans
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError
from millrace_local_aws.wire.scalars import iso

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_STEP = re.compile(r"Step: (\d+) .*?Train Loss: ([0-9.]+)")
_EVALUATION = re.compile(r"Step: (\d+) .*?Eval Average Loss: ([0-9.]+)")
"""What a tuning container tells on its lines."""
_PHASES = ("validationDetails", "dataProcessingDetails", "trainingDetails")
_LOST = "InternalServerError: We encountered an internal error. Please try again."


def begin(world: World, scope: str, record: Record) -> None:
    """A new job."""
    now = world.clock.now()
    record |= {"status": "InProgress", "creationTime": now, "statusDetails": {}, "_curve": {"train": [], "validation": []}}
    record["_failure"] = plans.failure(world, "customization", record["jobName"])
    for phase in _PHASES:
        record["statusDetails"][phase] = {"status": "NotStarted", "creationTime": now, "lastModifiedTime": now}
    enter(world, scope, record, "InProgress", "validationDetails")
    _after(world, scope, record, "Validating", "bedrock.job.validate")


def enter(world: World, scope: str, record: Record, status: str, phase: str | None = None) -> None:
    """Another status or phase. The event tells of the status alone."""
    now, changed = world.clock.now(), status != record["status"] or "lastModifiedTime" not in record
    for details in record["statusDetails"].values():
        if details["status"] == "InProgress":
            details |= {"status": "Completed" if status == "InProgress" else status, "lastModifiedTime": now}
    if phase is not None:
        record["statusDetails"][phase] |= {"status": "InProgress", "lastModifiedTime": now}
    record |= {"status": status, "lastModifiedTime": now}
    if status in ("Completed", "Failed", "Stopped"):
        record["endTime"] = now
    save(world, scope, record)
    if changed:
        _emit(world, scope, record)


def save(world: World, scope: str, record: Record) -> None:
    table(world, "job").put(scope, record["jobArn"], record)


def _emit(world: World, scope: str, record: Record) -> None:
    account, region = scope.split("/")
    told = {name: value for name, value in view(record).items() if name not in ("status", "statusDetails", "clientRequestToken")}
    times = {name: iso(value, millis=False) for name, value in told.items() if name.endswith("Time")}
    detail = {"version": "0.0", **told, **times, "jobStatus": record["status"]}
    world.events.emit("aws.bedrock", "Model Customization Job State Change", account, region, [record["jobArn"]], detail)


def _after(world: World, scope: str, record: Record, state: str, what: str) -> None:
    world.scheduler.after(duration(world, f"bedrock.job/{state}"), what, scope=scope, arn=record["jobArn"])


def _current(world: World, scope: str, arn: str, *states: str) -> Record | None:
    record = table(world, "job").get(scope, arn)
    return record if record is not None and record["status"] in states else None


def base_of(record: Record) -> Foundation:
    found = known(record["baseModelArn"])
    assert found is not None
    return found


def fail(world: World, scope: str, record: Record, why: str) -> None:
    """For good."""
    record["failureMessage"] = why[:2048]
    enter(world, scope, record, "Failed")


# Checking the data


def find_data(world: World, uri: str) -> Version | None:
    """The object that a URI names."""
    bucket, key = split_uri(uri)
    return world.s3.current(bucket, key) if world.s3.buckets.get("", bucket) is not None else None


@action("bedrock.job.validate")
def validate(world: World, scope: str, arn: str) -> None:
    record = _current(world, scope, arn, "InProgress")
    if record is None:
        return
    if record["_failure"]:
        fail(world, scope, record, record["_failure"])
        return
    uris = [record["trainingDataConfig"]["s3Uri"], *(one["s3Uri"] for one in record["validationDataConfig"]["validators"])]
    found = [find_data(world, uri) for uri in uris]
    if None in found:
        fail(world, scope, record, f"Could not find the object {uris[found.index(None)]}.")
        return
    world.work.start(_checked(world, scope, arn, [one for one in found if one is not None]))


async def _checked(world: World, scope: str, arn: str, found: list[Version]) -> None:
    record = table(world, "job").get(scope, arn) or {}
    try:
        files, parameters, epoch = await asyncio.to_thread(_prepared, world, record, found)
    except tuning.BadTuning as error:
        if record["status"] == "InProgress":
            fail(world, scope, record, str(error))
        return
    if record["status"] != "InProgress":
        return
    bucket = storage.bucket(world, scope)
    for channel, (name, data) in files.items():
        world.s3.put_bytes(bucket, f"{record['_id']}/data/{channel}/{name}", data)
    record |= {"_parameters": parameters, "_epoch": epoch}
    enter(world, scope, record, "InProgress", "dataProcessingDetails")
    _after(world, scope, record, "DataProcessing", "bedrock.job.train")


def _prepared(world: World, record: Record, found: list[Version]) -> tuple[dict[str, tuple[str, bytes]], dict[str, str], int]:
    """Files by channel, the container's parameters, and the steps of an epoch. Where no validation data are given, the
    container measures itself on its training data, which nobody is told of."""
    kind, base = record["customizationType"], base_of(record)
    training, *more = (
        tuning.read_rows(world.s3.read(version), kind, what)
        for version, what in zip(found, ("training", "validation"), strict=False)
    )
    tuning.check_count(base, kind, sum(len(rows.values) for rows in (training, *more)))
    files = {"train": tuning.as_channel(training, kind), "validation": tuning.as_channel(more[0] if more else training, kind)}
    chosen = record["hyperParameters"]
    parameters = tuning.container_parameters(base, chosen, training, more[0] if more else None)
    return files, parameters, tuning.steps_per_epoch(training, chosen)


# Training


def task_id(scope: str, record: Record) -> str:
    return containers.tuning_task(scope, record["_id"], record["jobName"])


@action("bedrock.job.train")
def train(world: World, scope: str, arn: str) -> None:
    record = _current(world, scope, arn, "InProgress")
    if record is None:
        return
    enter(world, scope, record, "InProgress", "trainingDetails")
    bucket, prefix = storage.bucket(world, scope), record["_id"]
    told = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    channels = tuple(Channel(name, bucket, f"{prefix}/data/{name}/", told) for name in ("train", "validation"))
    task = task_id(scope, record)
    containers.tune(world, task, record["jobName"], record["_parameters"], channels, (bucket, prefix))


def by_id(world: World, scope: str, key: str) -> Record | None:
    return next((record for record in table(world, "job").of(scope) if record["_id"] == key), None)


def log(world: World, scope: str, key: str, lines: list[str]) -> None:
    """Losses that the container tells."""
    record = by_id(world, scope, key)
    if record is None:
        return
    for name, expression in (("train", _STEP), ("validation", _EVALUATION)):
        matches = [match for line in lines if (match := expression.search(line))]
        # A log that is read again from its beginning, after a restart, tells of a step twice.
        curve = dict(record["_curve"][name]) | {int(match[1]): float(match[2]) for match in matches}
        record["_curve"][name] = [[step, loss] for step, loss in sorted(curve.items())]
    save(world, scope, record)


def ended(world: World, scope: str, key: str, result: Ended) -> None:
    """The container has ended and the model is stored."""
    record = by_id(world, scope, key)
    if record is None or record["status"] not in ("InProgress", "Stopping"):
        return
    if record["status"] == "Stopping":
        enter(world, scope, record, "Stopped")
    elif result.exit_code == 0:
        _completed(world, scope, record)
    else:
        said = (result.failure or "").strip() or f"the training container ended with exit code {result.exit_code}"
        fail(world, scope, record, _LOST if result.lost else said)
    if record["status"] != "Completed":
        storage.clear(world, scope, f"{key}/")


def _completed(world: World, scope: str, record: Record) -> None:
    """The files are written, the custom model is there, and then the job says so."""
    try:
        _write_metrics(world, record)
    except AwsError as error:
        fail(world, scope, record, f"Could not write to {record['outputDataConfig']['s3Uri']}: {error.message}")
        return
    record["outputModelArn"] = arn_in(scope, f"custom-model/{base_of(record).id}/{record['_id']}")
    models.make(world, scope, record)
    enter(world, scope, record, "Completed")


def _write_metrics(world: World, record: Record) -> None:
    curve = record["_curve"]
    place = f"{record['outputDataConfig']['s3Uri'].rstrip('/')}/model-customization-job-{record['_id']}"
    _write(world, f"{place}/training_artifacts/step_wise_training_metrics.csv", "training_loss", curve["train"], record["_epoch"])
    if curve["train"]:
        record["trainingMetrics"] = {"trainingLoss": curve["train"][-1][1]}
    if record["validationDataConfig"]["validators"]:
        path = f"{place}/validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"
        _write(world, path, "validation_loss", curve["validation"], record["_epoch"])
        record["validationMetrics"] = [{"validationLoss": loss} for _, loss in curve["validation"][-1:]]


def _write(world: World, uri: str, column: str, values: list[list[Any]], epoch: int) -> None:
    """Steps begin at 0, as in AWS's files."""
    lines = [f"step_number,epoch_number,{column},perplexity"]
    lines += [f"{step - 1},{(step - 1) // epoch},{loss:g},{math.exp(min(loss, 700)):g}" for step, loss in values]
    bucket, key = split_uri(uri)
    world.s3.put_bytes(bucket, key, ("\n".join(lines) + "\n").encode(), "text/csv")


# Stopping


def stop(world: World, scope: str, record: Record) -> None:
    """A container that trains is told; anything else is given up."""
    training = record["statusDetails"]["trainingDetails"]["status"] == "InProgress"
    enter(world, scope, record, "Stopping")
    if training:
        world.runner.stop_training(task_id(scope, record))
    else:
        _after(world, scope, record, "Stopping", "bedrock.job.stopped")


@action("bedrock.job.stopped")
def stopped(world: World, scope: str, arn: str) -> None:
    record = _current(world, scope, arn, "Stopping")
    if record is not None:
        enter(world, scope, record, "Stopped")


def resume(world: World) -> None:
    """After a restart: what was being checked is checked again; a container that the runner no longer has was lost."""
    waiting = {record["arguments"].get("arn") for _, _, record in world.store.table("timer").everything()}
    for scope, arn, record in table(world, "job").everything():
        if record["status"] not in ("InProgress", "Stopping") or arn in waiting:
            continue
        if "_parameters" not in record:
            validate(world, scope, arn)
        elif not world.runner.knows(task_id(scope, record)):
            ended(world, scope, record["_id"], Ended(255, lost=True))
