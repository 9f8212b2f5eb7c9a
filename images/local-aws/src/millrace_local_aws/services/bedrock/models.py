"""Custom models: what a completed job leaves. The weights are Bedrock's own, the metrics the job's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.bedrock import storage
from millrace_local_aws.services.bedrock.service import BEDROCK, conflict, drop, find, listed, put_tags, table, view
from millrace_local_aws.state.store import Record

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_OF_JOB = (
    "jobName",
    "jobArn",
    "baseModelArn",
    "customizationType",
    "hyperParameters",
    "trainingDataConfig",
    "validationDataConfig",
    "outputDataConfig",
    "trainingMetrics",
    "validationMetrics",
)


def make(world: World, scope: str, job: Record) -> None:
    """Of a job whose container has stored its model."""
    record = {name: job[name] for name in _OF_JOB if name in job} | {
        "modelArn": job["outputModelArn"],
        "modelName": job["outputModelName"],
        "modelKmsKeyArn": job.get("outputModelKmsKeyArn"),
        "creationTime": world.clock.now(),
        "modelStatus": "Active",
        "_id": job["_id"],
    }
    table(world, "model").put(scope, record["modelArn"], record)
    put_tags(world, record["modelArn"], job.get("_modelTags"))


def archive(world: World, scope: str, record: Record) -> tuple[str, str]:
    """Bucket and key of its weights."""
    return storage.bucket(world, scope), f"{record['_id']}/output/model.tar.gz"


def _arn(call: Call, request: Input) -> str:
    name = str(request["modelIdentifier"])
    return name if name.startswith("arn:") else call.arn(f"custom-model/{name}")


@BEDROCK.operation("GetCustomModel", resource=_arn)
def get_custom_model(call: Call, request: Input) -> dict[str, Any]:
    return view(find(call, "model", request["modelIdentifier"], "modelName"))


def _summary(account: str, record: Record) -> dict[str, Any]:
    names = ("modelArn", "modelName", "creationTime", "baseModelArn", "customizationType", "modelStatus")
    base = record["baseModelArn"].rpartition("/")[2].partition(":")[0]
    told = {name: record[name] for name in names}
    return told | {"baseModelName": base, "ownerAccountId": account}


@BEDROCK.operation("ListCustomModels")
def list_custom_models(call: Call, request: Input) -> dict[str, Any]:
    base = request.get("foundationModelArnEquals", request.get("baseModelArnEquals"))
    renamed = request | ({"modelArnEquals": base} if base else {})
    if "modelStatus" in request:
        renamed["statusEquals"] = request["modelStatus"]
    found = table(call.world, "model").of(call.scope) if request.get("isOwned", True) else []
    names = {"name": "modelName", "status": "modelStatus", "time": "creationTime", "model": "baseModelArn"}
    return listed(renamed, found, lambda record: _summary(call.account, record), "modelSummaries", **names)


def users(world: World, scope: str, arn: str) -> list[str]:
    """What serves a model, or is about to."""
    bought = [
        one["provisionedModelArn"]
        for one in table(world, "throughput").of(scope)
        if arn in (one["modelArn"], one["desiredModelArn"])
    ]
    served = [
        one["customModelDeploymentArn"]
        for one in table(world, "deployment").of(scope)
        if arn in (one["modelArn"], (one.get("updateDetails") or {}).get("modelArn"))
    ]
    return bought + served


@BEDROCK.operation("DeleteCustomModel", resource=_arn)
def delete_custom_model(call: Call, request: Input) -> None:
    record = find(call, "model", request["modelIdentifier"], "modelName")
    if used := users(call.world, call.scope, record["modelArn"]):
        raise conflict(f"The model cannot be deleted because it is in use by {', '.join(used)}.")
    drop(call.world, "model", call.scope, record["modelArn"])
    storage.clear(call.world, call.scope, f"{record['_id']}/")
