"""Provisioned throughput: a model's own container, bought by the hour or for a term, and moved to another model without a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.bedrock import containers, models
from millrace_local_aws.services.bedrock.foundation import known
from millrace_local_aws.services.bedrock.service import (
    BEDROCK,
    check_tags,
    conflict,
    drop,
    find,
    invalid,
    listed,
    lookup,
    new_id,
    not_found,
    over_quota,
    put_tags,
    remember,
    replayed,
    table,
    view,
)
from millrace_local_aws.services.sagemaker import plans
from millrace_local_aws.state.store import Record

if TYPE_CHECKING:
    from millrace_local_aws.world import World

MOST_UNITS = 1
"""Without a commitment, by default."""
MOST_MODELS = 2
"""An account's provisioned models, by default."""
TERMS = {"OneMonth": 30 * 86_400.0, "SixMonths": 180 * 86_400.0}


def _arn(call: Call, request: Input) -> str:
    name = str(request.get("provisionedModelId", "*"))
    return name if name.startswith("arn:") else call.arn(f"provisioned-model/{name}")


def _model(call: Call, name: str) -> tuple[str, str]:
    """ARN of the model asked for, and of the foundation model below it."""
    custom = lookup(call.world, call.scope, "model", name, "modelName")
    if custom is not None:
        return custom["modelArn"], custom["baseModelArn"]
    base = known(name)
    if base is None:
        raise not_found(f"The provided model identifier was not found: {name}")
    if "PROVISIONED" not in base.inference:
        raise invalid(f"The model {base.id} does not support provisioned throughput.")
    return base.arn(call.region), base.arn(call.region)


def _check_quotas(call: Call, request: Input) -> None:
    if "commitmentDuration" not in request and request["modelUnits"] > MOST_UNITS:
        raise over_quota(
            f"You have requested {request['modelUnits']} model units without a commitment; your account's quota is {MOST_UNITS}"
            " for each Provisioned Throughput."
        )
    if len(table(call.world, "throughput").of(call.scope)) >= MOST_MODELS:
        raise over_quota(f"Your account has reached its quota of {MOST_MODELS} Provisioned Throughputs.")


@BEDROCK.operation("CreateProvisionedModelThroughput", resource=_arn)
def create_provisioned_model_throughput(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    name = request["provisionedModelName"]
    model, base = _model(call, request["modelId"])
    if lookup(call.world, call.scope, "throughput", name, "provisionedModelName") is not None:
        raise invalid(f"The provisioned model name {name} is already in use.")
    _check_quotas(call, request)
    check_tags(request.get("tags"))
    key, now, term = new_id(), call.world.clock.now(), request.get("commitmentDuration")
    arn = call.arn(f"provisioned-model/{key}")
    record = {
        "provisionedModelArn": arn,
        "provisionedModelName": name,
        "modelUnits": request["modelUnits"],
        "desiredModelUnits": request["modelUnits"],
        "modelArn": model,
        "desiredModelArn": model,
        "foundationModelArn": base,
        "status": "Creating",
        "creationTime": now,
        "commitmentDuration": term,
        "commitmentExpirationTime": now + TERMS[term] if term else None,
        "_id": key,
        "_label": name,
        "_generation": 1,
        "_next": 1,
        "_failure": plans.failure(call.world, "throughput", name),
    }
    put_tags(call.world, arn, request.get("tags"))
    save(call.world, call.scope, record)
    _provision(call.world, call.scope, record, "Creating")
    return remember(call, request, {"provisionedModelArn": arn})


def save(world: World, scope: str, record: Record) -> None:
    record["lastModifiedTime"] = world.clock.now()
    table(world, "throughput").put(scope, record["provisionedModelArn"], record)


def _provision(world: World, scope: str, record: Record, state: str) -> None:
    wait, arn = duration(world, f"bedrock.throughput/{state}"), record["provisionedModelArn"]
    world.scheduler.after(wait, "bedrock.throughput.serve", scope=scope, arn=arn)


def task_id(scope: str, record: Record, generation: int | None = None) -> str:
    """Of what serves it now, or will."""
    return containers.serving_task(scope, "throughput", record["_id"], record["_label"], generation or record["_generation"])


def _start(world: World, scope: str, record: Record, model: str, generation: int) -> None:
    custom = table(world, "model").get(scope, model)
    weights = models.archive(world, scope, custom) if custom is not None else None
    containers.serve(world, task_id(scope, record, generation), weights)


@action("bedrock.throughput.serve")
def serve(world: World, scope: str, arn: str) -> None:
    """There is capacity: the container starts."""
    record = table(world, "throughput").get(scope, arn)
    if record is None or record["status"] not in ("Creating", "Updating"):
        return
    generation = record["_next"]
    if record["_failure"]:
        failed(world, scope, record["_id"], generation, record["_failure"])
        return
    _start(world, scope, record, record["desiredModelArn"], generation)


def _coming(world: World, scope: str, key: str, generation: int) -> Record | None:
    record = next((one for one in table(world, "throughput").of(scope) if one["_id"] == key), None)
    if record is None or record["status"] not in ("Creating", "Updating"):
        return None
    return record if generation == record["_next"] else None


def ready(world: World, scope: str, key: str, generation: int) -> None:
    """The container answers: it serves from now on, and the one before it goes."""
    record = _coming(world, scope, key, generation)
    if record is None:
        return
    if record["status"] == "Updating":
        world.runner.stop_endpoint(task_id(scope, record))
    save(world, scope, record | {"status": "InService", "modelArn": record["desiredModelArn"], "_generation": generation})


def failed(world: World, scope: str, key: str, generation: int, why: str) -> None:
    """A new one has failed; an update leaves what served before."""
    record = _coming(world, scope, key, generation)
    if record is None:
        return
    world.runner.stop_endpoint(task_id(scope, record, generation))
    record |= {"failureMessage": why, "_failure": None}
    if record["status"] == "Updating":
        record |= {"desiredModelArn": record["modelArn"], "status": "InService"}
    else:
        record["status"] = "Failed"
    save(world, scope, record)


@BEDROCK.operation("GetProvisionedModelThroughput", resource=_arn)
def get_provisioned_model_throughput(call: Call, request: Input) -> dict[str, Any]:
    return view(find(call, "throughput", request["provisionedModelId"], "provisionedModelName"))


def _summary(record: Record) -> dict[str, Any]:
    return {name: value for name, value in view(record).items() if name != "failureMessage"}


@BEDROCK.operation("ListProvisionedModelThroughputs")
def list_provisioned_model_throughputs(call: Call, request: Input) -> dict[str, Any]:
    names = {"name": "provisionedModelName", "status": "status", "time": "creationTime", "model": "modelArn"}
    return listed(request, table(call.world, "throughput").of(call.scope), _summary, "provisionedModelSummaries", **names)


@BEDROCK.operation("UpdateProvisionedModelThroughput", resource=_arn)
def update_provisioned_model_throughput(call: Call, request: Input) -> None:
    record = find(call, "throughput", request["provisionedModelId"], "provisionedModelName")
    if record["status"] != "InService":
        raise invalid(f"The Provisioned Throughput cannot be updated because its status is {record['status']}.")
    name = str(request.get("desiredProvisionedModelName", record["provisionedModelName"]))
    other = lookup(call.world, call.scope, "throughput", name, "provisionedModelName")
    if other is not None and other["_id"] != record["_id"]:
        raise invalid(f"The provisioned model name {name} is already in use.")
    model, base = _model(call, str(request.get("desiredModelId", record["modelArn"])))
    if base != record["foundationModelArn"]:
        raise invalid(f"The desired model must be {record['foundationModelArn']} or a custom model of it.")
    record["provisionedModelName"] = name
    if model != record["modelArn"]:
        failure = plans.failure(call.world, "throughput", name)
        record |= {"desiredModelArn": model, "status": "Updating", "_failure": failure, "failureMessage": None}
        record["_next"] += 1
        _provision(call.world, call.scope, record, "Updating")
    save(call.world, call.scope, record)


@BEDROCK.operation("DeleteProvisionedModelThroughput", resource=_arn)
def delete_provisioned_model_throughput(call: Call, request: Input) -> None:
    record = find(call, "throughput", request["provisionedModelId"], "provisionedModelName")
    if record["status"] in ("Creating", "Updating"):
        raise conflict(f"The Provisioned Throughput cannot be deleted because its status is {record['status']}.")
    if call.world.clock.now() < (record["commitmentExpirationTime"] or 0):
        raise conflict("The Provisioned Throughput cannot be deleted before its commitment term is over.")
    call.world.runner.stop_endpoint(task_id(call.scope, record))
    drop(call.world, "throughput", call.scope, record["provisionedModelArn"])


def resume(world: World) -> None:
    """After a restart: containers that serve start again, and those that were about to."""
    for scope, arn, record in table(world, "throughput").everything():
        if record["status"] in ("InService", "Updating"):
            _start(world, scope, record, record["modelArn"], record["_generation"])
        if record["status"] in ("Creating", "Updating"):
            world.scheduler.after(0, "bedrock.throughput.serve", scope=scope, arn=arn)
