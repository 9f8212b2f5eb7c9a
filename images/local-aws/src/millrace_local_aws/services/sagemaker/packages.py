"""Model packages and their groups; packages of the Marketplace are for subscribers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.api import Body, route
from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.sagemaker import tags
from millrace_local_aws.services.sagemaker.algorithms import lookup, usable
from millrace_local_aws.services.sagemaker.service import SAGEMAKER, arn_of, emit, find, invalid, listing, summary, table, view
from millrace_local_aws.state.store import Record

if TYPE_CHECKING:
    from millrace_local_aws.world import World


def _plain(identifier: str, kind: str) -> str:
    """The name in an ARN, or the name."""
    return identifier.partition(f":{kind}/")[2] if identifier.startswith("arn:") else identifier


def package_arn(call: Call, request: Input) -> str:
    return arn_of(
        call,
        "model-package",
        _plain(request.get("ModelPackageName") or request.get("ModelPackageGroupName", "*"), "model-package"),
    )


def group_arn(call: Call, request: Input) -> str:
    return arn_of(call, "model-package-group", _plain(request.get("ModelPackageGroupName", "*"), "model-package-group"))


@SAGEMAKER.operation("CreateModelPackageGroup", resource=group_arn)
def create_model_package_group(call: Call, request: Input) -> dict[str, Any]:
    name = request["ModelPackageGroupName"]
    arn = arn_of(call, "model-package-group", name)
    if table(call.world, "model-package-group").get(call.scope, name):
        raise invalid(f"Model Package Group already exists: {arn}")
    record = {key: value for key, value in request.items() if key != "Tags"}
    record |= {
        "ModelPackageGroupArn": arn,
        "CreationTime": call.world.clock.now(),
        "CreatedBy": {},
        "ModelPackageGroupStatus": "Completed",
    }
    table(call.world, "model-package-group").put(call.scope, name, record)
    tags.put(call.world, arn, request.get("Tags"))
    return {"ModelPackageGroupArn": arn}


@SAGEMAKER.operation("DescribeModelPackageGroup", resource=group_arn)
def describe_model_package_group(call: Call, request: Input) -> dict[str, Any]:
    return view(find(call, "model-package-group", _plain(request["ModelPackageGroupName"], "model-package-group")))


@SAGEMAKER.operation("ListModelPackageGroups")
def list_model_package_groups(call: Call, request: Input) -> dict[str, Any]:
    found, more = listing(call, request, "model-package-group")
    members = (
        "ModelPackageGroupName",
        "ModelPackageGroupArn",
        "ModelPackageGroupDescription",
        "CreationTime",
        "ModelPackageGroupStatus",
    )
    return {"ModelPackageGroupSummaryList": [summary(record, *members) for record in found]} | more


@SAGEMAKER.operation("DeleteModelPackageGroup", resource=group_arn)
def delete_model_package_group(call: Call, request: Input) -> None:
    name = _plain(request["ModelPackageGroupName"], "model-package-group")
    record = find(call, "model-package-group", name)
    if any(one.get("ModelPackageGroupName") == name for one in table(call.world, "model-package").of(call.scope)):
        raise invalid("Model Package Group cannot be deleted because it contains Model Packages")
    table(call.world, "model-package-group").drop(call.scope, name)
    tags.drop(call.world, record["ModelPackageGroupArn"])


def _name(call: Call, request: Input) -> tuple[str, dict[str, Any]]:
    """A versioned package is named by its group and a number."""
    if ("ModelPackageName" in request) == ("ModelPackageGroupName" in request):
        raise invalid("Either ModelPackageName or ModelPackageGroupName is required, not both")
    if "ModelPackageName" in request:
        return request["ModelPackageName"], {"ModelPackageName": request["ModelPackageName"]}
    group = _plain(request["ModelPackageGroupName"], "model-package-group")
    find(call, "model-package-group", group)
    versions = [
        one["ModelPackageVersion"]
        for one in table(call.world, "model-package").of(call.scope)
        if one.get("ModelPackageGroupName") == group
    ]
    number = max(versions, default=0) + 1
    return f"{group}/{number}", {"ModelPackageName": group, "ModelPackageGroupName": group, "ModelPackageVersion": number}


@SAGEMAKER.operation("CreateModelPackage", resource=package_arn)
def create_model_package(call: Call, request: Input) -> dict[str, Any]:
    name, naming = _name(call, request)
    arn = arn_of(call, "model-package", name)
    if table(call.world, "model-package").get(call.scope, name):
        raise invalid(f"Model Package already exists: {arn}")
    record = _record(call.world, arn, request) | naming | _of_algorithm(call, request)
    if "ModelPackageGroupName" in naming:
        record["ModelApprovalStatus"] = request.get("ModelApprovalStatus", "PendingManualApproval")
    table(call.world, "model-package").put(call.scope, name, record)
    tags.put(call.world, arn, request.get("Tags"))
    wait = duration(call.world, "sagemaker.model-package/InProgress")
    call.world.scheduler.after(wait, "package.completed", scope=call.scope, name=name)
    return {"ModelPackageArn": arn}


def _of_algorithm(call: Call, request: Input) -> dict[str, Any]:
    """A package of what an algorithm has trained serves in the algorithm's own container."""
    sources = request.get("SourceAlgorithmSpecification", {}).get("SourceAlgorithms", [])
    if not sources:
        return {}
    algorithm = usable(call, "algorithm", sources[0]["AlgorithmName"])
    if "InferenceSpecification" not in algorithm:
        raise invalid(f"Algorithm {algorithm['AlgorithmArn']} has no InferenceSpecification")
    specification = algorithm["InferenceSpecification"]
    first, *others = specification["Containers"]
    held = {key: sources[0][key] for key in ("ModelDataUrl", "ModelDataSource") if key in sources[0]}
    return {"InferenceSpecification": specification | {"Containers": [first | held, *others]}}


def _record(world: World, arn: str, request: dict[str, Any]) -> Record:
    kept: Record = {key: value for key, value in request.items() if key not in ("Tags", "ClientToken")}
    now = world.clock.now()
    details: dict[str, Any] = {"ValidationStatuses": []}
    return kept | {
        "ModelPackageArn": arn,
        "CreationTime": now,
        "LastModifiedTime": now,
        "ModelPackageStatus": "InProgress",
        "ModelPackageStatusDetails": details,
    }


@action("package.completed")
def completed(world: World, scope: str, name: str) -> None:
    record = table(world, "model-package").get(scope, name)
    if record is not None:
        record["ModelPackageStatus"] = "Completed"
        table(world, "model-package").put(scope, name, record)
        emit(world, scope, "Model Package", record["ModelPackageArn"], view(record))


def _found(call: Call, request: Input, member: str = "ModelPackageName") -> Record:
    found = lookup(call.world, "model-package", call.scope, request[member])
    if found is None:
        raise invalid(f"ModelPackage {request[member]} does not exist.")
    return found


@SAGEMAKER.operation("DescribeModelPackage", resource=package_arn)
def describe_model_package(call: Call, request: Input) -> dict[str, Any]:
    return view(_found(call, request))


@SAGEMAKER.operation("ListModelPackages")
def list_model_packages(call: Call, request: Input) -> dict[str, Any]:
    group = _plain(request["ModelPackageGroupName"], "model-package-group") if "ModelPackageGroupName" in request else None
    found, more = listing(call, request, "model-package", {"ModelApprovalStatus": "ModelApprovalStatus"})
    members = (
        "ModelPackageName",
        "ModelPackageGroupName",
        "ModelPackageVersion",
        "ModelPackageArn",
        "ModelPackageDescription",
        "CreationTime",
        "ModelPackageStatus",
        "ModelApprovalStatus",
    )
    return {
        "ModelPackageSummaryList": [summary(one, *members) for one in found if group in (None, one.get("ModelPackageGroupName"))]
    } | more


@SAGEMAKER.operation("UpdateModelPackage", resource=lambda call, request: str(request["ModelPackageArn"]))
def update_model_package(call: Call, request: Input) -> dict[str, Any]:
    record = _found(call, request, "ModelPackageArn")
    changed = {
        key: request[key]
        for key in ("ModelApprovalStatus", "ApprovalDescription", "CustomerMetadataProperties")
        if key in request
    }
    record |= changed | {"LastModifiedTime": call.world.clock.now()}
    table(call.world, "model-package").put(call.scope, _plain(record["ModelPackageArn"], "model-package"), record)
    emit(call.world, call.scope, "Model Package", record["ModelPackageArn"], view(record))
    return {"ModelPackageArn": record["ModelPackageArn"]}


@SAGEMAKER.operation("DeleteModelPackage", resource=package_arn)
def delete_model_package(call: Call, request: Input) -> None:
    record = _found(call, request)
    table(call.world, "model-package").drop(call.scope, _plain(record["ModelPackageArn"], "model-package"))
    tags.drop(call.world, record["ModelPackageArn"])


@route("POST", "marketplace/model-packages")
def publish(world: World, body: Body) -> Any:
    """A seller's package: `request` as CreateModelPackage takes it (with a name), `product`, `seller`, `region`."""
    scope = f"{body.get('seller', '999999999999')}/{body.get('region', 'us-east-1')}"
    account, region = scope.split("/")
    name = body["request"]["ModelPackageName"]
    arn = f"arn:aws:sagemaker:{region}:{account}:model-package/{name}"
    record = _record(world, arn, body["request"]) | {"ModelPackageStatus": "Completed", "_product": body["product"]}
    table(world, "model-package").put(scope, name, record)
    return {"arn": arn}
