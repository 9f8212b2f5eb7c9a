"""What happens to a training job: by the clock up to the container's start and after its end, by the container in between.

Starting -> Downloading -> Training -> Uploading -> Completed; a failed container ends in Failed, a stop or a limit in
Stopped, and a spot interruption goes back to Starting with the checkpoints kept.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from millrace_local_aws.dataplane.runner import Channel, Ended, TrainingTask
from millrace_local_aws.engine.durations import container_seconds, duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.services import cloudwatch
from millrace_local_aws.services.roles import split_uri
from millrace_local_aws.services.sagemaker import plans, tags
from millrace_local_aws.services.sagemaker.algorithms import training_image, training_metrics
from millrace_local_aws.services.sagemaker.service import (
    emit,
    table,
    view,
)
from millrace_local_aws.state.store import Record

if TYPE_CHECKING:
    from millrace_local_aws.world import World

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
# What spot capacity costs here, as a share of the on-demand price.
SPOT_SHARE = 0.3
MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Stopping": "Stopping the training job",
    "Interrupted": "Training job interrupted because the Spot capacity was reclaimed",
    "Restarting": "Restarting the training job after an interruption",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


def begin(world: World, scope: str, arn: str, request: dict[str, Any]) -> None:
    """A new job."""
    record: Record = request | {
        "TrainingJobArn": arn,
        "CreationTime": world.clock.now(),
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400} | (request.get("StoppingCondition") or {}),
        "SecondaryStatusTransitions": [],
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "EnableInterContainerTrafficEncryption": request.get("EnableInterContainerTrafficEncryption", False),
        "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
        "_attempt": 1,
        "_trained": 0.0,
    }
    record["AlgorithmSpecification"].setdefault("EnableSageMakerMetricsTimeSeries", False)
    record["_failure"] = plans.failure(world, "training", request["TrainingJobName"])
    enter(world, scope, record, "Starting", "InProgress")
    wait = record["StoppingCondition"].get("MaxWaitTimeInSeconds")
    if wait is not None:
        world.scheduler.after(
            wait, "training.limit", scope=scope, name=_name(record), secondary="MaxWaitTimeExceeded", attempt=None
        )
    _after(world, scope, record, "Starting", "training.download")


def _name(record: Record) -> str:
    return str(record["TrainingJobName"])


def save(world: World, scope: str, record: Record) -> None:
    table(world, "training-job").put(scope, _name(record), record)


def enter(world: World, scope: str, record: Record, secondary: str, status: str, message: str | None = None) -> None:
    """A new state: its transition, and its event."""
    now = world.clock.now()
    transitions = record["SecondaryStatusTransitions"]
    if transitions:
        transitions[-1]["EndTime"] = now
    transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message or MESSAGES.get(secondary, secondary)})
    if status in ("Completed", "Failed", "Stopped"):
        transitions[-1]["EndTime"] = now
        record["TrainingEndTime"] = now
    record |= {"TrainingJobStatus": status, "SecondaryStatus": secondary, "LastModifiedTime": now}
    save(world, scope, record)
    detail = view(record) | {"ModelArtifacts": artifacts(record), "Tags": tags.of(world, record["TrainingJobArn"])}
    emit(world, scope, "Training Job", record["TrainingJobArn"], detail)


def artifacts(record: Record) -> dict[str, str]:
    """Where the model is, or will be."""
    bucket, prefix = _output(record)
    return {"S3ModelArtifacts": f"s3://{bucket}/{prefix}/output/model.tar.gz"}


def _output(record: Record) -> tuple[str, str]:
    bucket, key = split_uri(record["OutputDataConfig"]["S3OutputPath"].rstrip("/"))
    return bucket, f"{key}/{_name(record)}" if key else _name(record)


def _after(world: World, scope: str, record: Record, state: str, name: str) -> None:
    world.scheduler.after(
        duration(world, f"sagemaker.training/{state}"), name, scope=scope, name=_name(record), attempt=record["_attempt"]
    )


def _grace(world: World, scope: str, record: Record) -> None:
    """SIGKILL two of the container's own minutes after SIGTERM."""
    wait = container_seconds(world, 120.0)
    world.scheduler.after(wait, "training.kill", scope=scope, name=_name(record), attempt=record["_attempt"])


def _current(world: World, scope: str, name: str, attempt: int | None, *secondary: str) -> Record | None:
    """The job, if the timer still speaks of what it is doing."""
    record = table(world, "training-job").get(scope, name)
    if record is None or (attempt is not None and record["_attempt"] != attempt):
        return None
    return record if not secondary or record["SecondaryStatus"] in secondary else None


@action("training.download")
def download(world: World, scope: str, name: str, attempt: int) -> None:
    """The instances are there, or there are none."""
    record = _current(world, scope, name, attempt, "Starting", "Restarting")
    if record is None:
        return
    if record["_failure"]:
        fail(world, scope, record, record["_failure"])
        return
    record.setdefault("TrainingStartTime", world.clock.now())
    record["_begun"] = world.clock.now()
    enter(world, scope, record, "Downloading", "InProgress")
    limit = record["StoppingCondition"]["MaxRuntimeInSeconds"] - record["_trained"]
    world.scheduler.after(
        max(0.0, limit), "training.limit", scope=scope, name=name, secondary="MaxRuntimeExceeded", attempt=attempt
    )
    _after(world, scope, record, "Downloading", "training.start")


@action("training.start")
def start(world: World, scope: str, name: str, attempt: int) -> None:
    """The container starts."""
    record = _current(world, scope, name, attempt, "Downloading")
    if record is None:
        return
    enter(world, scope, record, "Training", "InProgress")
    if record["EnableManagedSpotTraining"]:
        plan = plans.take(world, "training", name, "interrupt")
        if plan is not None:
            world.scheduler.after(float(plan.get("after", 10)), "training.interrupt", scope=scope, name=name, attempt=attempt)
    world.runner.start_training(task(world, scope, record))


def task_id(scope: str, record: Record) -> str:
    return f"{scope}/{_name(record)}/{record['_attempt']}"


def task(world: World, scope: str, record: Record) -> TrainingTask:
    """What the runner needs to know."""
    algorithm, resources = record["AlgorithmSpecification"], record["ResourceConfig"]
    account, region = scope.split("/")
    return TrainingTask(
        task_id(scope, record),
        _name(record),
        account,
        region,
        training_image(world, scope, algorithm),
        tuple(algorithm.get("ContainerEntrypoint", ())),
        tuple(algorithm.get("ContainerArguments", ())),
        record.get("Environment", {}),
        record.get("HyperParameters", {}),
        resources["InstanceType"],
        int(resources.get("InstanceCount", 1)),
        tuple(_channel(one) for one in record.get("InputDataConfig", [])),
        _output(record),
        _checkpoints(record),
        record["EnableNetworkIsolation"],
    )


def _channel(channel: dict[str, Any]) -> Channel:
    bucket, prefix = split_uri(channel["DataSource"]["S3DataSource"]["S3Uri"])
    description = {
        "TrainingInputMode": channel.get("InputMode", "File"),
        "S3DistributionType": channel["DataSource"]["S3DataSource"].get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    } | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})
    return Channel(channel["ChannelName"], bucket, prefix, description)


def _checkpoints(record: Record) -> tuple[str, str, str] | None:
    config = record.get("CheckpointConfig")
    if not config:
        return None
    return *split_uri(config["S3Uri"].rstrip("/")), config.get("LocalPath", "/opt/ml/checkpoints")


def ended(world: World, scope: str, name: str, attempt: int, result: Ended) -> None:
    """The container has ended and its files are in S3."""
    record = _current(world, scope, name, attempt)
    if record is None or record["TrainingJobStatus"] not in ("InProgress", "Stopping"):
        return
    _metrics(world, scope, record, result)
    if record.get("_goal") == "Interrupted":
        _interrupted(world, scope, record)
        return
    record["_result"] = {"exit_code": result.exit_code, "failure": result.failure, "lost": result.lost}
    if result.exit_code == 0 or record.get("_goal"):
        enter(world, scope, record, "Uploading", record["TrainingJobStatus"])
        _after(world, scope, record, "Uploading", "training.finish")
    else:
        fail(world, scope, record, reason(result))


def reason(result: Ended) -> str:
    """AWS's words for a container that failed."""
    if result.lost:
        return "InternalServerError: We encountered an internal error. Please try again."
    said = (result.failure or "").strip()
    detail = (
        f"AlgorithmError: {said}, exit code: {result.exit_code}" if said else f"AlgorithmError: , exit code: {result.exit_code}"
    )
    return detail[:1024]


def _metrics(world: World, scope: str, record: Record, result: Ended) -> None:
    """The last value that each regex found in the log; for scripted jobs, what the test said."""
    group, prefix, found = LOG_GROUP, f"{_name(record)}/", dict(result.metrics)
    streams = [name for name in world.logs.streams.keys(f"{scope}/{group}") if name.startswith(prefix)]
    events = world.logs.read(scope, group, streams, 0, 2**62) if streams else []
    for definition in training_metrics(world, scope, record["AlgorithmSpecification"]):
        expression = re.compile(definition["Regex"])
        for event in events:
            for match in expression.finditer(event[2]):
                found[definition["Name"]] = float(match[1])
    now = world.clock.now()
    if found:
        record["FinalMetricDataList"] = [
            {"MetricName": name, "Value": float(value), "Timestamp": now} for name, value in found.items()
        ]
    for name, value in found.items():
        cloudwatch.put(world, scope, LOG_GROUP, name, {"TrainingJobName": _name(record)}, float(value))


def _account(world: World, record: Record) -> None:
    """Seconds trained and billed, over all attempts."""
    if "_begun" in record:
        record["_trained"] += world.clock.now() - record.pop("_begun")
        seconds = max(1, math.ceil(record["_trained"]))
        record["TrainingTimeInSeconds"] = seconds
        share = SPOT_SHARE if record["EnableManagedSpotTraining"] else 1.0
        # Of one instance: whoever wants to know what is billed multiplies it by their number.
        record["BillableTimeInSeconds"] = max(1, math.ceil(seconds * share))


@action("training.finish")
def finish(world: World, scope: str, name: str, attempt: int) -> None:
    """All is uploaded."""
    record = _current(world, scope, name, attempt, "Uploading")
    if record is None:
        return
    _account(world, record)
    goal = record.pop("_goal", None)
    status = "Completed" if goal is None else "Stopped"
    enter(world, scope, record, goal or "Completed", status)


def fail(world: World, scope: str, record: Record, why: str) -> None:
    """For good."""
    _account(world, record)
    record["FailureReason"] = why
    enter(world, scope, record, "Failed", "Failed", why)


def stop(world: World, scope: str, record: Record, goal: str, message: str) -> None:
    """By the user or a limit: SIGTERM to the container, SIGKILL two minutes later."""
    before = record["SecondaryStatus"]
    record["_goal"] = goal
    if before == "Uploading":
        save(world, scope, record | {"TrainingJobStatus": "Stopping"})
        return
    enter(world, scope, record, "Stopping", "Stopping", message)
    if before == "Training":
        world.runner.stop_training(task_id(scope, record))
        _grace(world, scope, record)
    else:
        _after(world, scope, record, "Stopping", "training.stopped")


@action("training.kill")
def kill(world: World, scope: str, name: str, attempt: int) -> None:
    """The container had its two minutes."""
    record = _current(world, scope, name, attempt, "Stopping", "Interrupted", "Training")
    if record is not None and record.get("_goal"):
        world.runner.stop_training(task_id(scope, record), kill=True)


@action("training.stopped")
def stopped(world: World, scope: str, name: str, attempt: int) -> None:
    """It had not begun to train."""
    record = _current(world, scope, name, attempt, "Stopping")
    if record is not None:
        _account(world, record)
        enter(world, scope, record, record.pop("_goal"), "Stopped")


@action("training.limit")
def limit(world: World, scope: str, name: str, secondary: str, attempt: int | None) -> None:
    """It has run, or waited, as long as it may."""
    record = _current(world, scope, name, attempt)
    if record is not None and record["TrainingJobStatus"] == "InProgress" and record["SecondaryStatus"] != "Uploading":
        stop(world, scope, record, secondary, MESSAGES[secondary])


@action("training.interrupt")
def interrupt(world: World, scope: str, name: str, attempt: int) -> None:
    """Spot capacity is taken back: the container gets SIGTERM and its checkpoints are kept."""
    record = _current(world, scope, name, attempt, "Training")
    if record is None or record["TrainingJobStatus"] != "InProgress":
        return
    record["_goal"] = "Interrupted"
    save(world, scope, record)
    world.runner.stop_training(task_id(scope, record))
    _grace(world, scope, record)


def _interrupted(world: World, scope: str, record: Record) -> None:
    _account(world, record)
    record.pop("_goal")
    enter(world, scope, record, "Interrupted", "InProgress")
    record["_attempt"] += 1
    save(world, scope, record)
    _after(world, scope, record, "Interrupted", "training.restart")


@action("training.restart")
def restart(world: World, scope: str, name: str, attempt: int) -> None:
    """There is capacity again."""
    record = _current(world, scope, name, attempt, "Interrupted")
    if record is not None:
        enter(world, scope, record, "Restarting", "InProgress")
        _after(world, scope, record, "Starting", "training.download")


def delete(world: World, scope: str, record: Record) -> None:
    enter(world, scope, record, record["SecondaryStatus"], "Deleting")
    _after(world, scope, record, "Deleting", "training.deleted")


@action("training.deleted")
def deleted(world: World, scope: str, name: str, attempt: int) -> None:
    record = table(world, "training-job").drop(scope, name)
    if record is not None:
        tags.drop(world, record["TrainingJobArn"])


def resume(world: World) -> None:
    """After a restart: containers that the runner no longer has were lost with it."""
    for scope, name, record in table(world, "training-job").everything():
        running = record["SecondaryStatus"] == "Training" or (record["SecondaryStatus"] == "Stopping" and "_begun" in record)
        if (
            running
            and record["TrainingJobStatus"] in ("InProgress", "Stopping")
            and not world.runner.knows(task_id(scope, record))
        ):
            ended(world, scope, name, record["_attempt"], Ended(255, lost=True))
