"""What SageMaker is asked for: an attempt as a CreateTrainingJob request. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millrace.api.v1alpha1.trainingjob import Limits, SageMakerTraining, TrainingJobSpec
from millrace.aws import naming, tags
from millrace.aws.instances import takes_volume
from millrace_controllers.trainingjob.backends.sagemaker import jumpstart
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
    hub: jumpstart.Recipe | None = None,
) -> Object:
    """The request. `spent_seconds` is what earlier attempts have run: the limit is of the whole run. `hub` is a card's word."""
    job = spec.sage_maker
    assert job is not None
    made: Object = {
        "TrainingJobName": attempt_name(owner, number),
        "AlgorithmSpecification": algorithm(spec, job, hub),
        "RoleArn": job.role_arn,
        "OutputDataConfig": {"S3OutputPath": base(spec), **_key("KmsKeyId", job)},
        "ResourceConfig": resources(job, instance_type, hub.volume_gib if hub else 0),
        "StoppingCondition": stopping(spec, job, spent_seconds),
        "EnableManagedSpotTraining": job.spot is not None,
        "EnableInterContainerTrafficEncryption": job.encrypt_traffic or (hub is not None and hub.encrypted),
        "EnableNetworkIsolation": job.network_isolation or (hub is not None and hub.isolated),
        "Tags": tags.as_list(owned),
    }
    made |= {
        "HyperParameters": parameters(spec, job, hub),
        "InputDataConfig": [*(channel(i) for i in inputs), *filter(None, [jumpstart.channel(hub) if hub else None])],
        "Environment": {**(hub.env if hub else {}), **(job.env or {})},
        "VpcConfig": {"Subnets": job.vpc.subnets, "SecurityGroupIds": job.vpc.security_group_ids} if job.vpc else {},
        "CheckpointConfig": {"S3Uri": checkpoints(owner, spec)} if job.spot else {},
    }
    return {name: value for name, value in made.items() if value not in ({}, [])}


def algorithm(spec: TrainingJobSpec, job: SageMakerTraining, hub: jumpstart.Recipe | None = None) -> Object:
    """Image or algorithm, and the expressions that metrics are read by."""
    wanted = job.algorithm
    if wanted.algorithm_arn:
        return {"AlgorithmName": wanted.algorithm_arn, "TrainingInputMode": "File"}
    if hub is not None:
        told = {"MetricDefinitions": list(hub.metrics)} if hub.metrics else {}
        return {"TrainingImage": hub.image, "TrainingInputMode": "File", **told}
    image = wanted.script.image if wanted.script else wanted.image
    made: Object = {"TrainingImage": image, "TrainingInputMode": "File"}
    if spec.metrics:
        made["MetricDefinitions"] = [{"Name": m.name, "Regex": m.regex} for m in spec.metrics]
    if wanted.command:
        made["ContainerEntrypoint"] = wanted.command
    if wanted.args:
        made["ContainerArguments"] = wanted.args
    return made


def parameters(spec: TrainingJobSpec, job: SageMakerTraining, hub: jumpstart.Recipe | None = None) -> dict[str, str]:
    """Hyperparameters; a script's are JSON, as the toolkit in the framework images reads them."""
    script = job.algorithm.script
    if hub is not None:
        return _of_script(hub.parameters, hub.entry_point, hub.script)
    given = dict(spec.parameters or {})
    return given if script is None else _of_script(given, script.entry_point, script.source)


def _of_script(given: Mapping[str, str], entry_point: str, source: str) -> dict[str, str]:
    values = {name: _as_json(value) for name, value in given.items()}
    return {**values, _PROGRAM: json.dumps(entry_point), _CODE: json.dumps(source)}


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


def resources(job: SageMakerTraining, instance_type: str, least_gib: int = 0) -> Object:
    """Instances and their volumes, of which a hub model may need larger ones."""
    return {
        "InstanceType": instance_type,
        "InstanceCount": job.instance_count,
        "VolumeSizeInGB": max(job.volume_gib, least_gib),
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
