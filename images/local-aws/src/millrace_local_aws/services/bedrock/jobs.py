"""Customization jobs as clients see them; what happens to them is in job_life. A job stays, and so does its name."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.bedrock import job_life, tuning
from millrace_local_aws.services.bedrock.foundation import Foundation, customizations, known
from millrace_local_aws.services.bedrock.foundation import models as foundations
from millrace_local_aws.services.bedrock.service import (
    BEDROCK,
    check_role,
    check_tags,
    conflict,
    find,
    invalid,
    listed,
    lookup,
    new_id,
    put_tags,
    remember,
    replayed,
    table,
    view,
)
from millrace_local_aws.services.roles import role_reads, split_uri
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import NotServed

_TYPES = ("FINE_TUNING", "CONTINUED_PRE_TRAINING")
_SUMMARY = (
    "jobArn",
    "baseModelArn",
    "jobName",
    "status",
    "statusDetails",
    "lastModifiedTime",
    "creationTime",
    "endTime",
    "customizationType",
)


def _arn(call: Call, request: Input) -> str:
    name = str(request.get("jobIdentifier", "*"))
    return name if name.startswith("arn:") else call.arn(f"model-customization-job/{name}")


def _base(call: Call, request: Input, kind: str) -> Foundation:
    name = request["baseModelIdentifier"]
    if "custom-model/" in name or lookup(call.world, call.scope, "model", name, "modelName"):
        raise NotServed("bedrock", "a customization job on a custom model")
    base = known(name)
    if base is None:
        raise invalid(f"The provided model identifier is invalid: {name}")
    if kind not in customizations(base, call.region):
        able = [one.id for one in foundations().values() if kind in customizations(one, call.region)]
        told = f"Models that do: {', '.join(able)}." if able else "No model in this Region does."
        raise invalid(f"The model {base.id} does not support customization by {kind} in {call.region}. {told}")
    return base


def _check_served(request: Input) -> None:
    unserved = {
        "customizationConfig": "customizationConfig" in request,
        "invocationLogsConfig": "invocationLogsConfig" in request["trainingDataConfig"],
        "several validators": len((request.get("validationDataConfig") or {}).get("validators", [])) > 1,
        request.get("customizationType", ""): request.get("customizationType", _TYPES[0]) not in _TYPES,
    }
    for what, found in unserved.items():
        if found:
            raise NotServed("bedrock", f"CreateModelCustomizationJob with {what}")


def _check_names(call: Call, request: Input) -> None:
    if lookup(call.world, call.scope, "job", request["jobName"], "jobName") is not None:
        raise conflict(f"The job name {request['jobName']} is already in use. Job names must be unique within an account.")
    wanted = request["customModelName"]
    running = any(
        one["outputModelName"] == wanted and one["status"] == "InProgress" for one in table(call.world, "job").of(call.scope)
    )
    if running or lookup(call.world, call.scope, "model", wanted, "modelName") is not None:
        raise conflict(f"The custom model name {wanted} is already in use. Model names must be unique within an account.")


def _check_data(call: Call, request: Input) -> None:
    """What the job reads is there and its role may read it; where it writes, the role may write."""
    role = request["roleArn"]
    if "s3Uri" not in request["trainingDataConfig"]:
        raise invalid("trainingDataConfig requires an s3Uri.")
    validators = (request.get("validationDataConfig") or {}).get("validators", [])
    for uri in (request["trainingDataConfig"]["s3Uri"], *(one["s3Uri"] for one in validators)):
        if job_life.find_data(call.world, uri) is None or not role_reads(call.world, role, *split_uri(uri)):
            raise invalid(
                f"Could not access the S3 object {uri}. Check that it exists in {call.region} and that the role {role} has"
                " s3:GetObject permissions on it."
            )
    bucket, key = split_uri(request["outputDataConfig"]["s3Uri"])
    there = call.world.s3.buckets.get("", bucket) is not None
    if not there or not role_reads(call.world, role, bucket, f"{key.rstrip('/')}/x".lstrip("/"), "s3:PutObject"):
        raise invalid(
            f"Could not write to {request['outputDataConfig']['s3Uri']}. Check that the bucket exists and that the role {role}"
            " has s3:PutObject permissions on it."
        )


@BEDROCK.operation("CreateModelCustomizationJob", resource=lambda call, request: call.arn("model-customization-job/*"))
def create_model_customization_job(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    _check_served(request)
    kind = request.get("customizationType", "FINE_TUNING")
    base = _base(call, request, kind)
    try:
        chosen = tuning.check_hyperparameters(base, request.get("hyperParameters") or {})
    except tuning.BadTuning as error:
        raise invalid(str(error)) from error
    _check_names(call, request)
    check_tags(request.get("jobTags"), request.get("customModelTags"))
    key = new_id()
    arn = call.arn(f"model-customization-job/{base.id}/{key}")
    check_role(call, request["roleArn"], arn)
    _check_data(call, request)
    put_tags(call.world, arn, request.get("jobTags"))
    job_life.begin(call.world, call.scope, _record(call, request, base, chosen) | {"jobArn": arn, "_id": key})
    return remember(call, request, {"jobArn": arn})


def _record(call: Call, request: Input, base: Foundation, chosen: dict[str, str]) -> Record:
    kept = ("jobName", "roleArn", "clientRequestToken", "trainingDataConfig", "outputDataConfig", "vpcConfig")
    return {name: request[name] for name in kept if name in request} | {
        "outputModelName": request["customModelName"],
        "baseModelArn": base.arn(call.region),
        "customizationType": request.get("customizationType", "FINE_TUNING"),
        "hyperParameters": chosen,
        "validationDataConfig": request.get("validationDataConfig") or {"validators": []},
        "outputModelKmsKeyArn": _key(call, request.get("customModelKmsKeyId")),
        "_modelTags": request.get("customModelTags"),
    }


def _key(call: Call, name: str | None) -> str | None:
    """A key is given by id, alias or ARN, and told by ARN."""
    if name is None or name.startswith("arn:"):
        return name
    return call.arn(name if name.startswith("alias/") else f"key/{name}", "kms")


@BEDROCK.operation("GetModelCustomizationJob", resource=_arn)
def get_model_customization_job(call: Call, request: Input) -> dict[str, Any]:
    return view(find(call, "job", request["jobIdentifier"], "jobName"))


def _summary(record: Record) -> dict[str, Any]:
    told = {name: record[name] for name in _SUMMARY if name in record}
    return (
        told
        | {"customModelName": record["outputModelName"]}
        | ({"customModelArn": record["outputModelArn"]} if "outputModelArn" in record else {})
    )


@BEDROCK.operation("ListModelCustomizationJobs")
def list_model_customization_jobs(call: Call, request: Input) -> dict[str, Any]:
    names = {"name": "jobName", "status": "status", "time": "creationTime", "model": "baseModelArn"}
    return listed(request, table(call.world, "job").of(call.scope), _summary, "modelCustomizationJobSummaries", **names)


@BEDROCK.operation("StopModelCustomizationJob", resource=_arn)
def stop_model_customization_job(call: Call, request: Input) -> None:
    record = find(call, "job", request["jobIdentifier"], "jobName")
    if record["status"] != "InProgress":
        raise conflict(f"The job cannot be stopped because its status is {record['status']}.")
    job_life.stop(call.world, call.scope, record)
