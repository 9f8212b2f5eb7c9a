"""Endpoints as clients see them; what happens to them is in endpoint_life."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.sagemaker import endpoint_life, tags
from millrace_local_aws.services.sagemaker.service import (
    SAGEMAKER,
    arn_of,
    check_quota,
    find,
    invalid,
    listing,
    resource,
    summary,
    table,
    view,
)
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import NotServed

ENDPOINT = resource("endpoint")


def _variants(call: Call, config: Record) -> list[Record]:
    """What an endpoint of this configuration runs."""
    return [endpoint_life.variant(call.world, call.scope, one) for one in config["ProductionVariants"]]


def _check_quotas(call: Call, wanted: dict[str, int]) -> None:
    for instance_type, count in wanted.items():
        if count > 0:
            check_quota(call, "endpoint", instance_type, count)


def _by_type(variants: list[Record]) -> dict[str, int]:
    out: dict[str, int] = {}
    for one in variants:
        out[one["_type"]] = out.get(one["_type"], 0) + one["DesiredInstanceCount"]
    return out


@SAGEMAKER.operation("CreateEndpoint", resource=ENDPOINT)
def create_endpoint(call: Call, request: Input) -> dict[str, Any]:
    name = request["EndpointName"]
    arn = arn_of(call, "endpoint", name)
    if table(call.world, "endpoint").get(call.scope, name):
        raise invalid(f'Cannot create already existing endpoint "{arn}".')
    config = find(call, "endpoint-config", request["EndpointConfigName"])
    variants = _variants(call, config)
    _check_quotas(call, _by_type(variants))
    tags.put(call.world, arn, request.get("Tags"))
    endpoint_life.begin(call.world, call.scope, name, arn, config["EndpointConfigName"], variants)
    return {"EndpointArn": arn}


def _shown(variant: Record) -> dict[str, Any]:
    return {key: value for key, value in variant.items() if not key.startswith("_")}


@SAGEMAKER.operation("DescribeEndpoint", resource=ENDPOINT)
def describe_endpoint(call: Call, request: Input) -> dict[str, Any]:
    record = find(call, "endpoint", request["EndpointName"])
    shown = view(record)
    if record["EndpointStatus"] not in ("Creating", "Failed"):
        shown["ProductionVariants"] = [_shown(one) for one in record["_variants"]]
    pending = record.get("_pending")
    if pending and "config" in pending:
        variants = [_shown(one) for one in pending["variants"]]
        shown["PendingDeploymentSummary"] = {
            "EndpointConfigName": pending["config"],
            "ProductionVariants": variants,
            "StartTime": pending["started"],
        }
    return shown


@SAGEMAKER.operation("ListEndpoints")
def list_endpoints(call: Call, request: Input) -> dict[str, Any]:
    found, more = listing(call, request, "endpoint", {"StatusEquals": "EndpointStatus"})
    members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
    return {"Endpoints": [summary(record, *members) for record in found]} | more


def _settled(call: Call, name: str) -> Record:
    record = find(call, "endpoint", name)
    if record["EndpointStatus"] not in ("InService", "Failed", "OutOfService", "UpdateRollbackFailed"):
        raise invalid(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')
    return record


def _retained(request: Input, old: list[Record], new: list[Record]) -> None:
    """Counts and weights that autoscaling or an operator has set stay, where the caller asks for it."""
    if not request.get("RetainAllVariantProperties"):
        return
    excluded = {one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", [])}
    before = {one["VariantName"]: one for one in old}
    for one in new:
        earlier = before.get(one["VariantName"])
        if earlier and "DesiredInstanceCount" not in excluded:
            one["DesiredInstanceCount"] = earlier["DesiredInstanceCount"]
        if earlier and "DesiredWeight" not in excluded:
            one["DesiredWeight"] = earlier["DesiredWeight"]


@SAGEMAKER.operation("UpdateEndpoint", resource=ENDPOINT)
def update_endpoint(call: Call, request: Input) -> dict[str, Any]:
    record = _settled(call, request["EndpointName"])
    if record["EndpointStatus"] == "Failed":
        raise invalid(f'Cannot update endpoint "{record["EndpointArn"]}" because it is in status Failed.')
    config = find(call, "endpoint-config", request["EndpointConfigName"])
    variants = _variants(call, config)
    _retained(request, record["_variants"], variants)
    # The new fleet is made beside the old one.
    _check_quotas(call, _by_type(variants))
    if "DeploymentConfig" in request:
        record["LastDeploymentConfig"] = request["DeploymentConfig"]
    endpoint_life.update(call.world, call.scope, record, config["EndpointConfigName"], variants)
    return {"EndpointArn": record["EndpointArn"]}


@SAGEMAKER.operation("UpdateEndpointWeightsAndCapacities", resource=ENDPOINT)
def update_endpoint_weights_and_capacities(call: Call, request: Input) -> dict[str, Any]:
    record = _settled(call, request["EndpointName"])
    variants = {one["VariantName"]: one for one in record["_variants"]}
    for wanted in request["DesiredWeightsAndCapacities"]:
        found = variants.get(wanted["VariantName"])
        if found is None:
            raise invalid(f"Could not find production variant {wanted['VariantName']}")
        if "ServerlessUpdateConfig" in wanted:
            raise NotServed("sagemaker", "UpdateEndpointWeightsAndCapacities of a serverless variant")
        count = wanted.get("DesiredInstanceCount", found["DesiredInstanceCount"])
        _check_quotas(call, {found["_type"]: count - found["DesiredInstanceCount"]})
    endpoint_life.scale(call.world, call.scope, record, request["DesiredWeightsAndCapacities"])
    return {"EndpointArn": record["EndpointArn"]}


@SAGEMAKER.operation("DeleteEndpoint", resource=ENDPOINT)
def delete_endpoint(call: Call, request: Input) -> None:
    endpoint_life.delete(call.world, call.scope, _settled(call, request["EndpointName"]))
