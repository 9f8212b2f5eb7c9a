"""Deployments of custom models on demand, for base models that allow it; an update moves one to another model."""

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


def _arn(call: Call, request: Input) -> str:
    name = str(request.get("customModelDeploymentIdentifier", "*"))
    return name if name.startswith("arn:") else call.arn(f"custom-model-deployment/{name}")


def _model(call: Call, arn: str) -> Record:
    found = table(call.world, "model").get(call.scope, arn)
    if found is None:
        raise not_found(f"The provided model identifier was not found: {arn}")
    base = known(found["baseModelArn"])
    if base is None or not base.deployable:
        raise invalid(f"Custom models of {found['baseModelArn']} cannot be deployed on demand. Use Provisioned Throughput.")
    return found


@BEDROCK.operation("CreateCustomModelDeployment", resource=_arn)
def create_custom_model_deployment(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    name = request["modelDeploymentName"]
    model = _model(call, request["modelArn"])
    if lookup(call.world, call.scope, "deployment", name, "modelDeploymentName") is not None:
        raise invalid(f"The model deployment name {name} is already in use.")
    check_tags(request.get("tags"))
    key = new_id()
    arn = call.arn(f"custom-model-deployment/{key}")
    record = {
        "customModelDeploymentArn": arn,
        "modelDeploymentName": name,
        "modelArn": model["modelArn"],
        "createdAt": call.world.clock.now(),
        "status": "Creating",
        "description": request.get("description"),
        "_id": key,
        "_generation": 1,
        "_next": 1,
        "_failure": plans.failure(call.world, "deployment", name),
    }
    put_tags(call.world, arn, request.get("tags"))
    save(call.world, call.scope, record)
    _after(call.world, call.scope, record, "Creating")
    return remember(call, request, {"customModelDeploymentArn": arn})


def save(world: World, scope: str, record: Record) -> None:
    record["lastUpdatedAt"] = world.clock.now()
    table(world, "deployment").put(scope, record["customModelDeploymentArn"], record)


def _after(world: World, scope: str, record: Record, state: str) -> None:
    wait, arn = duration(world, f"bedrock.deployment/{state}"), record["customModelDeploymentArn"]
    world.scheduler.after(wait, "bedrock.deployment.serve", scope=scope, arn=arn)


def task_id(scope: str, record: Record, generation: int | None = None) -> str:
    """Of what serves it now, or will."""
    number = generation or record["_generation"]
    return containers.serving_task(scope, "deployment", record["_id"], record["modelDeploymentName"], number)


def _updating(record: Record) -> bool:
    return (record.get("updateDetails") or {}).get("updateStatus") == "Updating"


def _start(world: World, scope: str, record: Record, model: str, generation: int) -> None:
    custom = table(world, "model").get(scope, model)
    if custom is not None:
        containers.serve(world, task_id(scope, record, generation), models.archive(world, scope, custom))


@action("bedrock.deployment.serve")
def serve(world: World, scope: str, arn: str) -> None:
    """There is capacity: the container starts."""
    record = table(world, "deployment").get(scope, arn)
    if record is None or not (record["status"] == "Creating" or _updating(record)):
        return
    generation = record["_next"]
    if record["_failure"]:
        failed(world, scope, record["_id"], generation, record["_failure"])
        return
    _start(world, scope, record, record["updateDetails"]["modelArn"] if _updating(record) else record["modelArn"], generation)


def _coming(world: World, scope: str, key: str, generation: int) -> Record | None:
    record = next((one for one in table(world, "deployment").of(scope) if one["_id"] == key), None)
    if record is None or not (record["status"] == "Creating" or _updating(record)):
        return None
    return record if generation == record["_next"] else None


def ready(world: World, scope: str, key: str, generation: int) -> None:
    """The container answers: it serves from now on, and the one before it goes."""
    record = _coming(world, scope, key, generation)
    if record is None:
        return
    if _updating(record):
        world.runner.stop_endpoint(task_id(scope, record))
        record["modelArn"] = record["updateDetails"]["modelArn"]
        record["updateDetails"] |= {"updateStatus": "UpdateCompleted"}
    save(world, scope, record | {"status": "Active", "_generation": generation})


def failed(world: World, scope: str, key: str, generation: int, why: str) -> None:
    """A new one has failed; an update leaves what served before."""
    record = _coming(world, scope, key, generation)
    if record is None:
        return
    world.runner.stop_endpoint(task_id(scope, record, generation))
    record |= {"failureMessage": why, "_failure": None}
    if _updating(record):
        record["updateDetails"] |= {"updateStatus": "UpdateFailed"}
    else:
        record["status"] = "Failed"
    save(world, scope, record)


@BEDROCK.operation("GetCustomModelDeployment", resource=_arn)
def get_custom_model_deployment(call: Call, request: Input) -> dict[str, Any]:
    return view(find(call, "deployment", request["customModelDeploymentIdentifier"], "modelDeploymentName"))


def _summary(record: Record) -> dict[str, Any]:
    names = ("customModelDeploymentArn", "modelArn", "createdAt", "status", "lastUpdatedAt", "failureMessage")
    told = {name: record[name] for name in names if record.get(name) is not None}
    return told | {"customModelDeploymentName": record["modelDeploymentName"]}


@BEDROCK.operation("ListCustomModelDeployments")
def list_custom_model_deployments(call: Call, request: Input) -> dict[str, Any]:
    names = {"name": "modelDeploymentName", "status": "status", "time": "createdAt", "model": "modelArn"}
    return listed(request, table(call.world, "deployment").of(call.scope), _summary, "modelDeploymentSummaries", **names)


@BEDROCK.operation("UpdateCustomModelDeployment", resource=_arn)
def update_custom_model_deployment(call: Call, request: Input) -> dict[str, Any]:
    record = find(call, "deployment", request["customModelDeploymentIdentifier"], "modelDeploymentName")
    if record["status"] != "Active" or _updating(record):
        raise invalid("The custom model deployment cannot be updated while it is being created or updated.")
    model = _model(call, request["modelArn"])
    if model["baseModelArn"] != _model(call, record["modelArn"])["baseModelArn"]:
        raise invalid("The model must have the same base model as the one that is deployed.")
    record["updateDetails"] = {"modelArn": model["modelArn"], "updateStatus": "Updating"}
    record["_next"] += 1
    record["_failure"] = plans.failure(call.world, "deployment", record["modelDeploymentName"])
    save(call.world, call.scope, record)
    _after(call.world, call.scope, record, "Updating")
    return {"customModelDeploymentArn": record["customModelDeploymentArn"]}


@BEDROCK.operation("DeleteCustomModelDeployment", resource=_arn)
def delete_custom_model_deployment(call: Call, request: Input) -> None:
    record = find(call, "deployment", request["customModelDeploymentIdentifier"], "modelDeploymentName")
    if record["status"] == "Creating" or _updating(record):
        raise conflict("The custom model deployment cannot be deleted while it is being created or updated.")
    call.world.runner.stop_endpoint(task_id(call.scope, record))
    drop(call.world, "deployment", call.scope, record["customModelDeploymentArn"])


def resume(world: World) -> None:
    """After a restart: containers that serve start again, and those that were about to."""
    for scope, arn, record in table(world, "deployment").everything():
        if record["status"] == "Active":
            _start(world, scope, record, record["modelArn"], record["_generation"])
        if record["status"] == "Creating" or _updating(record):
            world.scheduler.after(0, "bedrock.deployment.serve", scope=scope, arn=arn)
