"""What SageMaker is asked for an endpoint: pure functions from the spec to requests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from millrace.api.v1alpha1.modelendpoint import ModelEndpointSpec, SageMakerServing
from millrace.aws.instances import takes_volume
from millrace.engine.errors import Refused

Object = dict[str, Any]
VARIANT = "main"
LOG_GROUP = "/aws/sagemaker/Endpoints"
"""With the endpoint's name behind it."""
BETWEEN = " at "
"""Stands in the name of a scaling that follows the load, and in no other."""
DIMENSION = "sagemaker:variant:DesiredInstanceCount"


@dataclass(frozen=True)
class Recipe:
    """What a container is made of, whoever told: the spec, or the card of a hub model."""

    image: str = ""
    model_uri: str = ""
    compressed: bool = True
    """One tar.gz; else files as they are under a prefix."""
    package_arn: str = ""
    """A model package, which has image and model in it."""
    algorithm_arn: str = ""
    """What made the model at `model_uri`, and brings its image: a package is made of both first."""
    env: dict[str, str] = field(default_factory=dict)
    accept_eula: bool | None = None
    """Said to SageMaker for a gated model, else not at all."""
    isolated: bool = False
    volume_gib: int | None = None
    start_seconds: int | None = None
    download_seconds: int | None = None
    ami_version: str = ""


def own(serving: SageMakerServing, uri: str) -> Recipe:
    """A model of the user's own under S3, in an image of theirs. Raises Refused for one that is elsewhere."""
    if serving.image is None:
        raise Refused("spec.sageMaker.image must be set: only the model of an algorithm comes with a container that serves it")
    if not uri.startswith("s3://"):
        raise Refused(f"SageMaker reads models from S3, and this one is {uri}: let the TrainingJob's output be on S3")
    return Recipe(serving.image, uri, compressed=not uri.endswith("/"))


def marketplace(arn: str) -> Recipe:
    """A vendor's model."""
    return Recipe(package_arn=arn, isolated=True)


def made_by(algorithm_arn: str, uri: str, serving: SageMakerServing) -> Recipe:
    """What an algorithm has trained, in the container that its vendor brings. Raises Refused."""
    if serving.env:
        raise Refused("spec.sageMaker.env may not be set for the model of an algorithm: its container has its own")
    return Recipe(model_uri=uri, algorithm_arn=algorithm_arn, isolated=True)


def package(name: str, recipe: Recipe, tags: list[Object]) -> Object:
    """CreateModelPackage."""
    source = {"AlgorithmName": recipe.algorithm_arn, "ModelDataUrl": recipe.model_uri}
    return {"ModelPackageName": name, "SourceAlgorithmSpecification": {"SourceAlgorithms": [source]}, "Tags": tags}


def model(name: str, spec: ModelEndpointSpec, recipe: Recipe, tags: list[Object]) -> Object:
    """CreateModel."""
    serving = _serving(spec)
    made: Object = {
        "ModelName": name,
        "ExecutionRoleArn": serving.role_arn,
        "PrimaryContainer": _container(recipe, serving),
        "EnableNetworkIsolation": serving.network_isolation or recipe.isolated,
        "Tags": tags,
    }
    if serving.vpc is not None:
        made["VpcConfig"] = {"Subnets": serving.vpc.subnets, "SecurityGroupIds": serving.vpc.security_group_ids}
    return made


def _container(recipe: Recipe, serving: SageMakerServing) -> Object:
    if recipe.package_arn:
        return {"ModelPackageName": recipe.package_arn}
    env = environment(recipe, serving)
    made: Object = {"Image": recipe.image, "ModelDataSource": {"S3DataSource": _data(recipe)}}
    return {**made, "Environment": env} if env else made


def environment(recipe: Recipe, serving: SageMakerServing) -> dict[str, str]:
    """The spec's replaces what a card has."""
    return {**recipe.env, **{e.name: e.value for e in serving.env or ()}}


def _data(recipe: Recipe) -> Object:
    kind = ("S3Object", "Gzip") if recipe.compressed else ("S3Prefix", "None")
    made: Object = {"S3Uri": recipe.model_uri, "S3DataType": kind[0], "CompressionType": kind[1]}
    return made if recipe.accept_eula is None else {**made, "ModelAccessConfig": {"AcceptEula": recipe.accept_eula}}


def config(name: str, spec: ModelEndpointSpec, recipe: Recipe, instance_type: str, tags: list[Object]) -> Object:
    """CreateEndpointConfig; the model has the same name."""
    serving = _serving(spec)
    times = {
        "VolumeSizeInGB": serving.volume_gib or (recipe.volume_gib if takes_volume(instance_type) else None),
        "InferenceAmiVersion": recipe.ami_version,
        "ContainerStartupHealthCheckTimeoutInSeconds": serving.start_seconds or recipe.start_seconds,
        "ModelDataDownloadTimeoutInSeconds": serving.download_seconds or recipe.download_seconds,
    }
    variant = {
        "VariantName": VARIANT,
        "ModelName": name,
        "InstanceType": instance_type,
        "InitialInstanceCount": serving.replicas.min,
        "InitialVariantWeight": 1.0,
        **{key: value for key, value in times.items() if value},
    }
    made: Object = {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": tags}
    return {**made, "KmsKeyId": serving.kms_key_id} if serving.kms_key_id else made


def scaling(spec: ModelEndpointSpec) -> str:
    """Names how many instances there shall be; what is set once for each name."""
    wanted = _serving(spec).replicas
    if not wanted.target_invocations_per_instance:
        return str(wanted.min)
    return f"{wanted.min}-{wanted.max}{BETWEEN}{wanted.target_invocations_per_instance}"


def probe_mark(spec: ModelEndpointSpec) -> str:
    """Names a golden request: another one must be answered anew."""
    asked = spec.probe.model_dump_json(by_alias=True) if spec.probe else ""
    return hashlib.sha256(asked.encode()).hexdigest()[:8]


def count(spec: ModelEndpointSpec) -> int | None:
    """The number of instances, where it is one number."""
    wanted = _serving(spec).replicas
    return None if wanted.target_invocations_per_instance else wanted.min


def scalable_target(endpoint: str, spec: ModelEndpointSpec) -> Object:
    """RegisterScalableTarget."""
    wanted = _serving(spec).replicas
    return {**scaled(endpoint), "MinCapacity": wanted.min, "MaxCapacity": wanted.max or wanted.min}


def scaling_policy(endpoint: str, spec: ModelEndpointSpec) -> Object:
    """PutScalingPolicy: so many invocations a minute for each instance."""
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    target = float(_serving(spec).replicas.target_invocations_per_instance or 0)
    return {
        **scaled(endpoint),
        "PolicyName": f"{endpoint}-load",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": target, "PredefinedMetricSpecification": metric},
    }


def scaled(endpoint: str) -> Object:
    """What Application Auto Scaling calls the number of the variant's instances."""
    variant = f"endpoint/{endpoint}/variant/{VARIANT}"
    return {"ServiceNamespace": "sagemaker", "ResourceId": variant, "ScalableDimension": DIMENSION}


def _serving(spec: ModelEndpointSpec) -> SageMakerServing:
    assert spec.sage_maker is not None, "only asked for the member sageMaker"
    return spec.sage_maker
