"""The service, and what its resources share: tables, ARNs, lists, roles, events, quotas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.ids import arn
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services import quotas
from millrace_local_aws.services.roles import assumable, check_passed
from millrace_local_aws.state.store import Record, Table
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

SAGEMAKER = Service("sagemaker", "sagemaker", target="SageMaker", tagging="AddTags")

# By kind: the ARN's part, the member that names it, and what AWS calls it when it is not there.
KINDS = {
    "training-job": ("training-job", "TrainingJobName", "Requested resource not found."),
    "model": ("model", "ModelName", 'Could not find model "{arn}".'),
    "endpoint-config": ("endpoint-config", "EndpointConfigName", 'Could not find endpoint configuration "{arn}".'),
    "endpoint": ("endpoint", "EndpointName", 'Could not find endpoint "{arn}".'),
    "algorithm": ("algorithm", "AlgorithmName", "Algorithm {arn} does not exist."),
    "model-package": ("model-package", "ModelPackageName", "ModelPackage {arn} does not exist."),
    "model-package-group": ("model-package-group", "ModelPackageGroupName", "ModelPackageGroup {arn} does not exist."),
    "hub": ("hub", "HubName", "Hub {arn} does not exist."),
}


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message, 400)


def table(world: World, kind: str) -> Table:
    return world.store.table(f"sagemaker.{kind}")


def arn_of(call: Call, kind: str, name: str) -> str:
    return call.arn(f"{KINDS[kind][0]}/{name}")


def resource(kind: str) -> Any:
    """What IAM is asked about."""
    return lambda call, request: arn_of(call, kind, str(request.get(KINDS[kind][1], "*")).rpartition("/")[2])


def find(call: Call, kind: str, name: str) -> Record:
    """The record, or the error that AWS gives."""
    found = table(call.world, kind).get(call.scope, name)
    if found is None:
        raise invalid(KINDS[kind][2].format(arn=arn_of(call, kind, name)))
    return found


def view(record: Record) -> dict[str, Any]:
    """Without what is ours alone."""
    return {name: value for name, value in record.items() if not name.startswith("_") and value is not None}


def summary(record: Record, *members: str) -> dict[str, Any]:
    return {name: record[name] for name in members if record.get(name) is not None}


def _wanted(record: Record, request: Input, name: str, filters: dict[str, str]) -> bool:
    created = float(record["CreationTime"])
    modified = float(record.get("LastModifiedTime") or created)
    return (
        request.get("NameContains", "").lower() in record[name].lower()
        and request.get("CreationTimeAfter", created) <= created <= request.get("CreationTimeBefore", created)
        and request.get("LastModifiedTimeAfter", modified) <= modified <= request.get("LastModifiedTimeBefore", modified)
        and all(record.get(member) == request[asked] for asked, member in filters.items() if asked in request)
    )


def listing(call: Call, request: Input, kind: str, filters: dict[str, str] | None = None) -> tuple[list[Record], dict[str, Any]]:
    """A page of records, filtered and sorted as all of SageMaker's lists are, and where the next page begins."""
    name = KINDS[kind][1]
    found = [record for record in table(call.world, kind).of(call.scope) if _wanted(record, request, name, filters or {})]
    by = {"Name": name, "Status": KINDS[kind][1].removesuffix("Name") + "Status"}.get(request.get("SortBy", ""), "CreationTime")
    found.sort(key=lambda record: record.get(by, ""), reverse=request.get("SortOrder", "Descending") == "Descending")
    start, size = int(request.get("NextToken") or 0), request.get("MaxResults", 10)
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return found[start : start + size], more


def check_role(call: Call, role_arn: str, source_arn: str) -> None:
    """SageMaker must be able to take the role on, and the caller must be allowed to hand it over."""
    check_passed(call, role_arn, "sagemaker")
    if not assumable(call, role_arn, "sagemaker", source_arn):
        message = (
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com'"
        )
        raise invalid(f"{message} to assume the role.")


def check_quota(call: Call, use: str, instance_type: str, wanted: int) -> None:
    """ResourceLimitExceeded in AWS's words."""
    name = quotas.quota_name(use, instance_type)
    limit, used = quotas.value(call.world, call.scope, name), in_use(call, use, instance_type)
    if used + wanted > limit:
        message = (
            f"The account-level service limit '{name}' is {limit:g} Instances, with current utilization of {used} Instances and a"
            f" request delta of {wanted} Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS"
            " Service Quotas is not available, contact AWS support to request an increase for this quota."
        )
        raise AwsError("ResourceLimitExceeded", message, 400)


def in_use(call: Call, use: str, instance_type: str) -> int:
    """Instances of a type that the account's jobs or endpoints hold now."""
    if use == "endpoint":
        endpoints = [r for r in table(call.world, "endpoint").of(call.scope) if r["EndpointStatus"] != "Failed"]
        variants = [variant for record in endpoints for variant in record["_variants"]]
        return sum(v["DesiredInstanceCount"] for v in variants if v["_type"] == instance_type)
    spot = use == "spot"
    jobs = [r for r in table(call.world, "training-job").of(call.scope) if r["TrainingJobStatus"] in ("InProgress", "Stopping")]
    same = [
        r
        for r in jobs
        if bool(r.get("EnableManagedSpotTraining")) == spot and r["ResourceConfig"].get("InstanceType") == instance_type
    ]
    return sum(int(record["ResourceConfig"].get("InstanceCount", 1)) for record in same)


def emit(world: World, scope: str, kind: str, resource_arn: str, detail: dict[str, Any]) -> None:
    """An event of SageMaker. Times in its detail are milliseconds, as AWS's are."""
    account, region = scope.split("/")
    world.events.emit("aws.sagemaker", f"SageMaker {kind} State Change", account, region, [resource_arn], _millis(detail))


def _millis(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _millis(item, key) for key, item in value.items() if not key.startswith("_")}
    if isinstance(value, list):
        return [_millis(item) for item in value]
    return int(value * 1000) if isinstance(value, float) and (name.endswith("Time") or name == "Timestamp") else value


def resource_arn(scope: str, kind: str, name: str) -> str:
    """Where there is no call."""
    account, region = scope.split("/")
    return arn("sagemaker", region, account, f"{KINDS[kind][0]}/{name}")
