"""Training jobs as clients see them; what happens to them is in training_life."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.roles import role_reads, split_uri
from millrace_local_aws.services.sagemaker import tags, training_life
from millrace_local_aws.services.sagemaker.algorithms import algorithm_for_training
from millrace_local_aws.services.sagemaker.hubs import check_licence
from millrace_local_aws.services.sagemaker.service import (
    SAGEMAKER,
    arn_of,
    check_quota,
    check_role,
    find,
    invalid,
    listing,
    resource,
    summary,
    table,
    view,
)
from millrace_local_aws.wire.errors import AwsError, NotServed

JOB = resource("training-job")
_NOT_SERVED = ("ServerlessJobConfig", "ModelPackageConfig", "SessionChainingConfig", "MlflowConfig", "RetryStrategy")


def _check_algorithm(call: Call, request: Input) -> None:
    algorithm = request.get("AlgorithmSpecification")
    if not algorithm:
        raise invalid("AlgorithmSpecification is required")
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise invalid("You must specify either an algorithm name or a training image, but not both, in AlgorithmSpecification")
    if "AlgorithmName" in algorithm:
        algorithm_for_training(call, request)


def _check_limits(request: Input) -> None:
    stopping, spot = request.get("StoppingCondition") or {}, request.get("EnableManagedSpotTraining", False)
    wait = stopping.get("MaxWaitTimeInSeconds")
    if spot and wait is None:
        raise invalid("MaxWaitTimeInSeconds is required in StoppingCondition when EnableManagedSpotTraining is true")
    if spot and wait < stopping.get("MaxRuntimeInSeconds", 86_400):
        raise invalid("MaxWaitTimeInSeconds must be equal to or greater than MaxRuntimeInSeconds")
    if not spot and wait is not None:
        raise invalid("MaxWaitTimeInSeconds can only be specified when EnableManagedSpotTraining is true")


def _check_inputs(call: Call, request: Input) -> None:
    """Every S3 prefix must hold something that the role can list."""
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(set(names)) < len(names):
        raise invalid("Channel names must be unique")
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise NotServed("sagemaker", "a channel that is not in S3")
        uri, role = source["S3Uri"], request["RoleArn"]
        check_licence(call, source, uri)
        bucket, prefix = split_uri(uri)
        there = call.world.s3.buckets.get("", bucket) is not None and call.world.s3.page(bucket, prefix, "", 1)
        if not there or not role_reads(call.world, role, bucket, "", "s3:ListBucket"):
            raise invalid(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in'
                f' the selected region ({call.region}), that objects exist under that S3 prefix, and that the role "{role}" has'
                f' "s3:ListBucket" permissions on bucket "{bucket}".'
            )


def _check_resources(call: Call, request: Input) -> None:
    resources = request.get("ResourceConfig")
    if not resources or "InstanceType" not in resources:
        if resources and "InstanceGroups" in resources:
            raise NotServed("sagemaker", "CreateTrainingJob with InstanceGroups")
        raise invalid("ResourceConfig with an InstanceType is required")
    if resources.get("KeepAlivePeriodInSeconds"):
        raise NotServed("sagemaker", "CreateTrainingJob with KeepAlivePeriodInSeconds")
    if int(resources.get("InstanceCount", 1)) > 1 and call.world.settings.runner != "scripted":
        raise NotServed("sagemaker", "CreateTrainingJob with several instances")
    use = "spot" if request.get("EnableManagedSpotTraining") else "training"
    check_quota(call, use, resources["InstanceType"], int(resources.get("InstanceCount", 1)))


@SAGEMAKER.operation("CreateTrainingJob", resource=JOB)
def create_training_job(call: Call, request: Input) -> dict[str, Any]:
    name = request["TrainingJobName"]
    arn = arn_of(call, "training-job", name)
    for member in _NOT_SERVED:
        if member in request:
            raise NotServed("sagemaker", f"CreateTrainingJob with {member}")
    if table(call.world, "training-job").get(call.scope, name) is not None:
        rule = "Training job names must be unique within an AWS account and region"
        raise AwsError("ResourceInUse", f"{rule}, and a training job with this name already exists ({arn})", 400)
    _check_algorithm(call, request)
    _check_limits(request)
    check_role(call, request["RoleArn"], arn)
    _check_inputs(call, request)
    _check_resources(call, request)
    tags.put(call.world, arn, request.get("Tags"))
    training_life.begin(call.world, call.scope, arn, {key: value for key, value in request.items() if key != "Tags"})
    return {"TrainingJobArn": arn}


@SAGEMAKER.operation("DescribeTrainingJob", resource=JOB)
def describe_training_job(call: Call, request: Input) -> dict[str, Any]:
    record = find(call, "training-job", request["TrainingJobName"])
    return view(record) | {"ModelArtifacts": training_life.artifacts(record)}


@SAGEMAKER.operation("ListTrainingJobs")
def list_training_jobs(call: Call, request: Input) -> dict[str, Any]:
    found, more = listing(call, request, "training-job", {"StatusEquals": "TrainingJobStatus"})
    members = (
        "TrainingJobName",
        "TrainingJobArn",
        "CreationTime",
        "TrainingEndTime",
        "LastModifiedTime",
        "TrainingJobStatus",
        "SecondaryStatus",
    )
    return {"TrainingJobSummaries": [summary(record, *members) for record in found]} | more


@SAGEMAKER.operation("StopTrainingJob", resource=JOB)
def stop_training_job(call: Call, request: Input) -> None:
    record = find(call, "training-job", request["TrainingJobName"])
    if record["TrainingJobStatus"] != "InProgress":
        raise invalid(f"The request was rejected because the training job is in status {record['TrainingJobStatus']}.")
    training_life.stop(call.world, call.scope, record, "Stopped", "Training job stopped by the user")


@SAGEMAKER.operation("UpdateTrainingJob", resource=JOB)
def update_training_job(call: Call, request: Input) -> dict[str, Any]:
    record = find(call, "training-job", request["TrainingJobName"])
    if "ResourceConfig" in request:
        raise NotServed("sagemaker", "UpdateTrainingJob of a warm pool")
    if record["TrainingJobStatus"] != "InProgress":
        raise invalid(f"The request was rejected because the training job is in status {record['TrainingJobStatus']}.")
    record |= {
        key: request[key] for key in ("ProfilerConfig", "ProfilerRuleConfigurations", "RemoteDebugConfig") if key in request
    }
    record["LastModifiedTime"] = call.world.clock.now()
    table(call.world, "training-job").put(call.scope, record["TrainingJobName"], record)
    return {"TrainingJobArn": record["TrainingJobArn"]}


@SAGEMAKER.operation("DeleteTrainingJob", resource=JOB)
def delete_training_job(call: Call, request: Input) -> None:
    record = find(call, "training-job", request["TrainingJobName"])
    if record["TrainingJobStatus"] in ("InProgress", "Stopping"):
        raise AwsError(
            "ResourceInUse", f"The training job is in status {record['TrainingJobStatus']} and cannot be deleted.", 400
        )
    training_life.delete(call.world, call.scope, record)
