"""What happens to an endpoint.

Creating -> InService or Failed. Updating -> InService with the new configuration; where the new fleet fails, RollingBack ->
InService with the old one and a FailureReason: nothing but the configuration's name tells that the update did not happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.dataplane.runner import UNHEALTHY, EndpointTask
from millrace_local_aws.engine.durations import container_seconds, duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.services.roles import split_uri
from millrace_local_aws.services.sagemaker import plans, tags
from millrace_local_aws.services.sagemaker.algorithms import lookup
from millrace_local_aws.services.sagemaker.service import (
    emit,
    table,
    view,
)
from millrace_local_aws.state.store import Record

if TYPE_CHECKING:
    from millrace_local_aws.world import World

LOG_GROUP = "/aws/sagemaker/Endpoints"


def variant(world: World, scope: str, config: Record) -> Record:
    """One production variant, with its model as it is now: deleting the model later changes nothing."""
    model = table(world, "model").get(scope, config["ModelName"]) or {}
    container = model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
    if "ModelPackageName" in container:
        package = lookup(world, "model-package", scope, container["ModelPackageName"]) or {}
        container = package.get("InferenceSpecification", {}).get("Containers", [{}])[0] | container
    image = container.get("Image", "")
    return {
        "VariantName": config["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": world.clock.now()}],
        "CurrentWeight": config["InitialVariantWeight"],
        "DesiredWeight": config["InitialVariantWeight"],
        "CurrentInstanceCount": config["InitialInstanceCount"],
        "DesiredInstanceCount": config["InitialInstanceCount"],
        "_type": config["InstanceType"],
        "_container": container,
        "_timeout": config.get("ContainerStartupHealthCheckTimeoutInSeconds", 600),
    }


def begin(world: World, scope: str, name: str, arn: str, config: str, variants: list[Record]) -> None:
    """A new endpoint."""
    now = world.clock.now()
    record: Record = {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": config,
        "CreationTime": now,
        "_variants": variants,
        "_generation": 1,
        "_failure": plans.failure(world, "endpoint", name),
        "_ready": [],
    }
    enter(world, scope, record, "Creating")
    world.scheduler.after(
        duration(world, "sagemaker.endpoint/Creating"), "endpoint.provision", scope=scope, name=name, generation=1
    )


def save(world: World, scope: str, record: Record) -> None:
    table(world, "endpoint").put(scope, record["EndpointName"], record)


def enter(world: World, scope: str, record: Record, status: str) -> None:
    """A new state, and its event."""
    record |= {"EndpointStatus": status, "LastModifiedTime": world.clock.now()}
    save(world, scope, record)
    variants = [{key: value for key, value in one.items() if not key.startswith("_")} for one in record["_variants"]]
    detail = view(record) | {"ProductionVariants": variants, "Tags": tags.of(world, record["EndpointArn"])}
    # The event spells states in capitals: IN_SERVICE.
    detail["EndpointStatus"] = "".join(f"_{char}" if char.isupper() else char for char in status).lstrip("_").upper()
    emit(world, scope, "Endpoint", record["EndpointArn"], detail)


def deployment_event(world: World, scope: str, record: Record, what: str) -> None:
    detail = {"EndpointName": record["EndpointName"], "EndpointArn": record["EndpointArn"], "EventName": what}
    emit(world, scope, "Endpoint Deployment", record["EndpointArn"], detail)


def _current(world: World, scope: str, name: str, generation: int, *states: str) -> Record | None:
    record = table(world, "endpoint").get(scope, name)
    if record is None or record["EndpointStatus"] not in states:
        return None
    return record if (record.get("_pending") or record).get("_generation") == generation else None


def task_id(scope: str, record: Record, generation: int, variant_name: str) -> str:
    return f"{scope}/{record['EndpointName']}/{generation}/{variant_name}"


def _coming(record: Record) -> list[Record]:
    """The variants that are being made."""
    found: list[Record] = (record.get("_pending") or {}).get("variants") or record["_variants"]
    return found


def _task(scope: str, record: Record, generation: int, one: Record) -> EndpointTask:
    account, region = scope.split("/")
    container = one["_container"]
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    uri = source.get("S3Uri") or container.get("ModelDataUrl")
    return EndpointTask(
        task_id(scope, record, generation, one["VariantName"]),
        record["EndpointName"],
        one["VariantName"],
        account,
        region,
        container.get("Image", ""),
        container.get("Environment", {}),
        split_uri(uri) if uri else None,
        one["_type"],
    )


@action("endpoint.provision")
def provision(world: World, scope: str, name: str, generation: int) -> None:
    """The instances are there, or there are none; one container a variant starts, whatever its count."""
    record = _current(world, scope, name, generation, "Creating", "Updating")
    if record is None:
        return
    failure = (record.get("_pending") or record).get("_failure")
    if failure:
        failed(world, scope, record, failure)
        return
    (record.get("_pending") or record)["_provisioned"] = True
    save(world, scope, record)
    for one in _coming(record):
        world.runner.start_endpoint(_task(scope, record, generation, one))
        arguments = {"scope": scope, "name": name, "generation": generation, "variant": one["VariantName"]}
        world.scheduler.after(container_seconds(world, one["_timeout"]), "endpoint.timeout", **arguments)


@action("endpoint.timeout")
def timeout(world: World, scope: str, name: str, generation: int, variant: str) -> None:
    """A container that has not answered /ping by now never will."""
    record = _current(world, scope, name, generation, "Creating", "Updating")
    if record is not None and (record.get("_pending") or record).get("_provisioned"):
        failed(world, scope, record, UNHEALTHY.format(variant=variant))


def ready(world: World, scope: str, name: str, generation: int, variant_name: str) -> None:
    """/ping answered. When all variants do, the endpoint is in service."""
    record = _current(world, scope, name, generation, "Creating", "Updating")
    if record is None:
        return
    done = record["_ready"]
    if variant_name not in done:
        done.append(variant_name)
    if {one["VariantName"] for one in _coming(record)} <= set(done):
        _in_service(world, scope, record)
    else:
        save(world, scope, record)


def _in_service(world: World, scope: str, record: Record) -> None:
    pending = record.pop("_pending", None)
    record["_ready"] = []
    record.pop("FailureReason", None)
    if pending is not None:
        stop_all(world, scope, record)
        record |= {
            "EndpointConfigName": pending["config"],
            "_variants": pending["variants"],
            "_generation": pending["_generation"],
        }
    record["_provisioned"] = False
    for one in record["_variants"]:
        one |= {"CurrentInstanceCount": one["DesiredInstanceCount"], "CurrentWeight": one["DesiredWeight"]}
    enter(world, scope, record, "InService")
    if pending is not None:
        deployment_event(world, scope, record, "DEPLOYMENT_COMPLETED")


def stop_all(world: World, scope: str, record: Record) -> None:
    """The containers of the fleet that serves."""
    for one in record["_variants"]:
        world.runner.stop_endpoint(task_id(scope, record, record["_generation"], one["VariantName"]))


def failed(world: World, scope: str, record: Record, why: str) -> None:
    """A new endpoint has failed; an update is rolled back."""
    record["FailureReason"] = why
    record["_ready"] = []
    generation = (record.get("_pending") or record)["_generation"]
    for one in _coming(record):
        world.runner.stop_endpoint(task_id(scope, record, generation, one["VariantName"]))
    if "_pending" not in record:
        enter(world, scope, record, "Failed")
        return
    enter(world, scope, record, "RollingBack")
    deployment_event(world, scope, record, "ROLLBACK_STARTED")
    name = record["EndpointName"]
    world.scheduler.after(
        duration(world, "sagemaker.endpoint/RollingBack"), "endpoint.rolled-back", scope=scope, name=name, generation=generation
    )


@action("endpoint.rolled-back")
def rolled_back(world: World, scope: str, name: str, generation: int) -> None:
    """InService again, as before the update."""
    record = _current(world, scope, name, generation, "RollingBack")
    if record is not None:
        record.pop("_pending", None)
        enter(world, scope, record, "InService")
        deployment_event(world, scope, record, "ROLLBACK_COMPLETED")


def update(world: World, scope: str, record: Record, config: str, variants: list[Record]) -> None:
    """A new fleet beside the old one."""
    generation = record["_generation"] + 1 + record.get("_tried", 0)
    record["_tried"] = record.get("_tried", 0) + 1
    failure = plans.failure(world, "endpoint", record["EndpointName"])
    record["_pending"] = {
        "config": config,
        "variants": variants,
        "started": world.clock.now(),
        "_generation": generation,
        "_failure": failure,
    }
    record["_ready"] = []
    record.pop("FailureReason", None)
    enter(world, scope, record, "Updating")
    deployment_event(world, scope, record, "DEPLOYMENT_STARTED")
    wait = duration(world, "sagemaker.endpoint/Updating")
    world.scheduler.after(wait, "endpoint.provision", scope=scope, name=record["EndpointName"], generation=generation)


def scale(world: World, scope: str, record: Record, wanted: list[dict[str, Any]]) -> None:
    """Other counts and weights for the fleet that serves."""
    by_name = {one["VariantName"]: one for one in wanted}
    for one in record["_variants"]:
        asked = by_name.get(one["VariantName"], {})
        one |= {name: asked[name] for name in ("DesiredWeight", "DesiredInstanceCount") if name in asked}
    enter(world, scope, record, "Updating")
    wait = duration(world, "sagemaker.endpoint/Updating")
    world.scheduler.after(wait, "endpoint.scaled", scope=scope, name=record["EndpointName"], generation=record["_generation"])


@action("endpoint.scaled")
def scaled(world: World, scope: str, name: str, generation: int) -> None:
    record = _current(world, scope, name, generation, "Updating")
    if record is not None:
        _in_service(world, scope, record)


def delete(world: World, scope: str, record: Record) -> None:
    """The containers stop at once; the name is free a little later."""
    if record["EndpointStatus"] != "Failed":
        stop_all(world, scope, record)
    enter(world, scope, record, "Deleting")
    world.scheduler.after(
        duration(world, "sagemaker.endpoint/Deleting"), "endpoint.deleted", scope=scope, name=record["EndpointName"]
    )


@action("endpoint.deleted")
def deleted(world: World, scope: str, name: str) -> None:
    record = table(world, "endpoint").get(scope, name)
    if record is not None and record["EndpointStatus"] == "Deleting":
        table(world, "endpoint").drop(scope, name)
        tags.drop(world, record["EndpointArn"])


def resume(world: World) -> None:
    """After a restart: the containers of endpoints that serve start again."""
    for scope, _, record in table(world, "endpoint").everything():
        if record["EndpointStatus"] in ("InService", "Updating", "RollingBack"):
            for one in record["_variants"]:
                world.runner.start_endpoint(_task(scope, record, record["_generation"], one))
        pending = record.get("_pending") or record
        if pending.get("_provisioned") and record["EndpointStatus"] in ("Creating", "Updating"):
            world.scheduler.after(
                0, "endpoint.provision", scope=scope, name=record["EndpointName"], generation=pending["_generation"]
            )
