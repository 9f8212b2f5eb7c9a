"""Models and endpoint configurations: descriptions that endpoints read when they are made, and need no more afterwards."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.roles import role_reads, split_uri
from millrace_local_aws.services.sagemaker import tags
from millrace_local_aws.services.sagemaker.algorithms import usable
from millrace_local_aws.services.sagemaker.hubs import check_licence
from millrace_local_aws.services.sagemaker.service import (
    SAGEMAKER,
    arn_of,
    check_role,
    emit,
    find,
    invalid,
    listing,
    resource,
    summary,
    table,
    view,
)
from millrace_local_aws.wire.errors import NotServed

MODEL, CONFIG = resource("model"), resource("endpoint-config")


def _data(container: Input) -> tuple[str, bool]:
    """The S3 URI of a container's model, and whether it is a prefix of plain files."""
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    if source:
        return str(source["S3Uri"]), source["S3DataType"] == "S3Prefix"
    return str(container.get("ModelDataUrl") or ""), False


def _check_data(call: Call, container: Input, role: str | None) -> None:
    uri, prefix = _data(container)
    if not uri:
        return
    check_licence(call, (container.get("ModelDataSource") or {}).get("S3DataSource") or {}, uri)
    bucket, key = split_uri(uri)
    exists = call.world.s3.buckets.get("", bucket) is not None
    there = exists and (
        bool(call.world.s3.page(bucket, key, "", 1)) if prefix else call.world.s3.current(bucket, key) is not None
    )
    if not there or (role and not role_reads(call.world, role, bucket, key)):
        raise invalid(_unreadable(call, uri, role))


def _unreadable(call: Call, uri: str, role: str | None) -> str:
    return (
        f'Could not access model data at {uri}. Please ensure that the role "{role}" exists and that its trust relationship'
        ' policy allows the action "sts:AssumeRole" for the service principal "sagemaker.amazonaws.com". Also ensure that the'
        f' role has "s3:GetObject" permissions and that the object is located in {call.region}.'
    )


def _containers(call: Call, request: Input) -> list[Input]:
    if ("PrimaryContainer" in request) == ("Containers" in request):
        raise invalid("You must provide either PrimaryContainer or Containers, not both")
    found = [request["PrimaryContainer"]] if "PrimaryContainer" in request else request["Containers"]
    if len(found) > 1:
        raise NotServed("sagemaker", "CreateModel with several containers")
    for container in found:
        if ("Image" in container) == ("ModelPackageName" in container):
            raise invalid("A container has either an Image or a ModelPackageName")
        if "ModelPackageName" in container:
            usable(call, "model-package", container["ModelPackageName"])
    return list(found)


@SAGEMAKER.operation("CreateModel", resource=MODEL)
def create_model(call: Call, request: Input) -> dict[str, Any]:
    name = request["ModelName"]
    arn, role = arn_of(call, "model", name), request.get("ExecutionRoleArn")
    if table(call.world, "model").get(call.scope, name):
        raise invalid(f'Cannot create already existing model "{arn}".')
    containers = _containers(call, request)
    if role is None:
        raise invalid("ExecutionRoleArn is required")
    check_role(call, role, arn)
    for container in containers:
        container.setdefault("Mode", "SingleModel")
        _check_data(call, container, role)
    record = {key: value for key, value in request.items() if key != "Tags"}
    record |= {
        "ModelArn": arn,
        "CreationTime": call.world.clock.now(),
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
    }
    table(call.world, "model").put(call.scope, name, record)
    tags.put(call.world, arn, request.get("Tags"))
    emit(call.world, call.scope, "Model", arn, view(record))
    return {"ModelArn": arn}


@SAGEMAKER.operation("DescribeModel", resource=MODEL)
def describe_model(call: Call, request: Input) -> dict[str, Any]:
    return view(find(call, "model", request["ModelName"]))


@SAGEMAKER.operation("ListModels")
def list_models(call: Call, request: Input) -> dict[str, Any]:
    found, more = listing(call, request, "model")
    return {"Models": [summary(record, "ModelName", "ModelArn", "CreationTime") for record in found]} | more


@SAGEMAKER.operation("DeleteModel", resource=MODEL)
def delete_model(call: Call, request: Input) -> None:
    record = find(call, "model", request["ModelName"])
    table(call.world, "model").drop(call.scope, request["ModelName"])
    tags.drop(call.world, record["ModelArn"])
    emit(call.world, call.scope, "Model", record["ModelArn"], view(record))


def _check_variants(call: Call, request: Input) -> None:
    names = [variant["VariantName"] for variant in request["ProductionVariants"]]
    if len(set(names)) < len(names):
        raise invalid("Variant names must be unique")
    for variant in request["ProductionVariants"]:
        for member in ("ServerlessConfig", "ManagedInstanceScaling", "InstancePools"):
            if member in variant:
                raise NotServed("sagemaker", f"CreateEndpointConfig with {member}")
        if "ModelName" not in variant:
            raise NotServed("sagemaker", "CreateEndpointConfig without a ModelName (inference components)")
        if "InstanceType" not in variant or "InitialInstanceCount" not in variant:
            raise invalid("InstanceType and InitialInstanceCount are required for a production variant")
        find(call, "model", variant["ModelName"])
        variant.setdefault("InitialVariantWeight", 1.0)


@SAGEMAKER.operation("CreateEndpointConfig", resource=CONFIG)
def create_endpoint_config(call: Call, request: Input) -> dict[str, Any]:
    name = request["EndpointConfigName"]
    arn = arn_of(call, "endpoint-config", name)
    if table(call.world, "endpoint-config").get(call.scope, name):
        raise invalid(f'Cannot create already existing endpoint configuration "{arn}".')
    for member in ("AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants"):
        if member in request:
            raise NotServed("sagemaker", f"CreateEndpointConfig with {member}")
    _check_variants(call, request)
    record = {key: value for key, value in request.items() if key != "Tags"}
    record |= {"EndpointConfigArn": arn, "CreationTime": call.world.clock.now()}
    record["EnableNetworkIsolation"] = request.get("EnableNetworkIsolation", False)
    table(call.world, "endpoint-config").put(call.scope, name, record)
    tags.put(call.world, arn, request.get("Tags"))
    emit(call.world, call.scope, "Endpoint Config", arn, view(record))
    return {"EndpointConfigArn": arn}


@SAGEMAKER.operation("DescribeEndpointConfig", resource=CONFIG)
def describe_endpoint_config(call: Call, request: Input) -> dict[str, Any]:
    return view(find(call, "endpoint-config", request["EndpointConfigName"]))


@SAGEMAKER.operation("ListEndpointConfigs")
def list_endpoint_configs(call: Call, request: Input) -> dict[str, Any]:
    found, more = listing(call, request, "endpoint-config")
    return {"EndpointConfigs": [summary(r, "EndpointConfigName", "EndpointConfigArn", "CreationTime") for r in found]} | more


@SAGEMAKER.operation("DeleteEndpointConfig", resource=CONFIG)
def delete_endpoint_config(call: Call, request: Input) -> None:
    record = find(call, "endpoint-config", request["EndpointConfigName"])
    table(call.world, "endpoint-config").drop(call.scope, request["EndpointConfigName"])
    tags.drop(call.world, record["EndpointConfigArn"])
    emit(call.world, call.scope, "Endpoint Config", record["EndpointConfigArn"], view(record))
