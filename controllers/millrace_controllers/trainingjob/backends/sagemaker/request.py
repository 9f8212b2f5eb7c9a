"""What SageMaker is asked for: an attempt as a CreateTrainingJob request. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millrace.api.v1alpha1.trainingjob import Limits, SageMakerTraining, TrainingJobSpec
from millrace.aws import naming, tags
from millrace.aws.instances import takes_volume
from millrace_controllers.trainingjob.observed import ResolvedInput

Object = dict[str, Any]
_A_DAY = 86400
_CODE = "sagemaker_submit_directory"
_PROGRAM = "sagemaker_program"


def attempt_name(owner: Object, number: int) -> str:
    """Name of an attempt's training job: names are unique in an account and region for ever."""
    metadata = owner["metadata"]
    return naming.thing_name(metadata["name"], metadata["uid"], number, limit=63)


def output_prefix(owner: Object, spec: TrainingJobSpec) -> str:
    """What everything of this object begins with, below the output."""
    metadata = owner["metadata"]
    return f"{base(spec)}/{naming.thing_name(metadata['name'], metadata['uid'], limit=50)}"


def checkpoints(owner: Object, spec: TrainingJobSpec) -> str:
    """Of one run: SageMaker starts with what is there, and another run must not go on where this one ended."""
    return f"{output_prefix(owner, spec)}/checkpoints/{spec.run_id or 'first'}"


def base(spec: TrainingJobSpec) -> str:
    """The output without a slash at its end."""
    return str(spec.output.uri).rstrip("/")


def create(
    owner: Object,
    spec: TrainingJobSpec,
    number: int,
    instance_type: str,
    inputs: tuple[ResolvedInput, ...],
    owned: Mapping[str, str],
    spent_seconds: int,
) -> Object:
    """The request. `spent_seconds` is what earlier attempts have run: the limit is of the whole run."""
    job = spec.sage_maker
    assert job is not None
    made: Object = {
        "TrainingJobName": attempt_name(owner, number),
        "AlgorithmSpecification": algorithm(spec, job),
        "RoleArn": job.role_arn,
        "OutputDataConfig": {"S3OutputPath": base(spec), **_key("KmsKeyId", job)},
        "ResourceConfig": resources(job, instance_type),
        "StoppingCondition": stopping(spec, job, spent_seconds),
        "EnableManagedSpotTraining": job.spot is not None,
        "EnableInterContainerTrafficEncryption": job.encrypt_traffic,
        "EnableNetworkIsolation": job.network_isolation,
        "Tags": tags.as_list(owned),
    }
    made |= {
        "HyperParameters": parameters(spec, job),
        "InputDataConfig": [channel(i) for i in inputs],
        "Environment": dict(job.env or {}),
        "VpcConfig": {"Subnets": job.vpc.subnets, "SecurityGroupIds": job.vpc.security_group_ids} if job.vpc else {},
        "CheckpointConfig": {"S3Uri": checkpoints(owner, spec)} if job.spot else {},
    }
    return {name: value for name, value in made.items() if value not in ({}, [])}


def algorithm(spec: TrainingJobSpec, job: SageMakerTraining) -> Object:
    """Image or algorithm, and the expressions that metrics are read by."""
    wanted = job.algorithm
    if wanted.algorithm_arn:
        return {"AlgorithmName": wanted.algorithm_arn, "TrainingInputMode": "File"}
    image = wanted.script.image if wanted.script else wanted.image
    made: Object = {"TrainingImage": image, "TrainingInputMode": "File"}
    if spec.metrics:
        made["MetricDefinitions"] = [{"Name": m.name, "Regex": m.regex} for m in spec.metrics]
    if wanted.command:
        made["ContainerEntrypoint"] = wanted.command
    if wanted.args:
        made["ContainerArguments"] = wanted.args
    return made


def parameters(spec: TrainingJobSpec, job: SageMakerTraining) -> dict[str, str]:
    """Hyperparameters; a script's are JSON, as the toolkit in the framework images reads them."""
    given = dict(spec.parameters or {})
    script = job.algorithm.script
    if script is None:
        return given
    return {
        **{k: _as_json(v) for k, v in given.items()},
        _PROGRAM: json.dumps(script.entry_point),
        _CODE: json.dumps(script.source),
    }


def _as_json(value: str) -> str:
    """A number stays one; any other text becomes a JSON string."""
    try:
        json.loads(value)
    except ValueError:
        return json.dumps(value)
    return value


def channel(found: ResolvedInput) -> Object:
    """An input as a channel: /opt/ml/input/data/NAME."""
    source = {"S3DataType": "S3Prefix", "S3Uri": found.path, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": found.name, "DataSource": {"S3DataSource": source}}


def resources(job: SageMakerTraining, instance_type: str) -> Object:
    """Instances and their volumes."""
    return {
        "InstanceType": instance_type,
        "InstanceCount": job.instance_count,
        "VolumeSizeInGB": job.volume_gib,
        **(_key("VolumeKmsKeyId", job) if takes_volume(instance_type) else {}),
    }


def stopping(spec: TrainingJobSpec, job: SageMakerTraining, spent_seconds: int) -> Object:
    """What is left of the run's time; a day where there is no limit."""
    limit = (spec.limits or Limits()).max_runtime_seconds
    left = max(1, limit - spent_seconds) if limit is not None else _A_DAY
    waits = {"MaxWaitTimeInSeconds": left + job.spot.max_wait_seconds} if job.spot else {}
    return {"MaxRuntimeInSeconds": left, **waits}


def _key(name: str, job: SageMakerTraining) -> Object:
    return {name: job.kms_key_id} if job.kms_key_id else {}
