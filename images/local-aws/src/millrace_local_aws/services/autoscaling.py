"""Application Auto Scaling of endpoint variants: bounds hold at once, target tracking by the clock; all shows as activities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.ids import new_uuid
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services.sagemaker import endpoint_life
from millrace_local_aws.services.sagemaker.service import table
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError, NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

AUTOSCALING = Service("application-autoscaling", "application-autoscaling", target="AnyScaleFrontendService")
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
METRIC = "SageMakerVariantInvocationsPerInstance"
PERIOD = 60.0


def _variant(world: World, scope: str, resource: str) -> tuple[Record, Record] | None:
    """Endpoint and variant of `endpoint/<name>/variant/<name>`."""
    parts = resource.split("/")
    endpoint = table(world, "endpoint").get(scope, parts[1]) if len(parts) == 4 else None
    found = [one for one in (endpoint or {}).get("_variants", []) if one["VariantName"] == parts[3]]
    return (endpoint, found[0]) if endpoint and found else None


def _check(request: Input) -> None:
    if request["ServiceNamespace"] != "sagemaker" or request.get("ScalableDimension", DIMENSION) != DIMENSION:
        raise NotServed("application-autoscaling", f"{request['ServiceNamespace']} {request.get('ScalableDimension')}")


def _missing(request: Input) -> AwsError:
    where = f"resource ID: {request['ResourceId']}, scalable dimension: {DIMENSION}"
    message = f"No scalable target registered for service namespace: sagemaker, {where}"
    return AwsError("ObjectNotFoundException", message, 400)


def _target(call: Call, request: Input) -> Record:
    found = call.world.store.table("autoscaling.target").get(call.scope, request["ResourceId"])
    if found is None:
        raise _missing(request)
    return found


@AUTOSCALING.operation("RegisterScalableTarget")
def register_scalable_target(call: Call, request: Input) -> dict[str, Any]:
    _check(request)
    resource, targets = request["ResourceId"], call.world.store.table("autoscaling.target")
    old = targets.get(call.scope, resource)
    if old is None and ("MinCapacity" not in request or "MaxCapacity" not in request):
        raise AwsError("ValidationException", "MinCapacity and MaxCapacity are required", 400)
    if _variant(call.world, call.scope, resource) is None:
        raise AwsError("ValidationException", f"Could not find {resource}", 400)
    path = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    role = f"arn:aws:iam::{call.account}:role/{path}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    record = (old or {"CreationTime": call.world.clock.now(), "RoleARN": role}) | {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": DIMENSION,
        "ScalableTargetARN": call.arn(f"scalable-target/{resource}"),
    }
    suspended = {f"{name}Suspended": False for name in ("DynamicScalingIn", "DynamicScalingOut", "ScheduledScaling")}
    record["SuspendedState"] = record.get("SuspendedState", suspended) | request.get("SuspendedState", {})
    record |= {name: request[name] for name in ("MinCapacity", "MaxCapacity") if name in request}
    if record["MinCapacity"] > record["MaxCapacity"]:
        raise AwsError("ValidationException", "Maximum capacity cannot be less than minimum capacity", 400)
    targets.put(call.scope, resource, record)
    keep_bounds(call.world, call.scope, resource)
    return {"ScalableTargetARN": record["ScalableTargetARN"]}


def keep_bounds(world: World, scope: str, resource: str) -> None:
    """A count outside the bounds is brought inside."""
    target, found = world.store.table("autoscaling.target").get(scope, resource), _variant(world, scope, resource)
    if target is not None and found is not None:
        count = found[1]["DesiredInstanceCount"]
        bounded = min(max(count, target["MinCapacity"]), target["MaxCapacity"])
        if bounded != count:
            set_count(world, scope, resource, bounded, "the scalable target's bounds")


def set_count(world: World, scope: str, resource: str, count: int, cause: str) -> None:
    """Scale, and write the activity down; an endpoint that is being changed is left for the next look."""
    found = _variant(world, scope, resource)
    if found is None or found[0]["EndpointStatus"] != "InService":
        return
    endpoint, variant = found
    now = world.clock.now()
    activity = {
        "ActivityId": new_uuid(),
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": DIMENSION,
        "Description": f"Setting desired instance count to {count}.",
        "Cause": cause,
        "StartTime": now,
        "EndTime": now,
        "StatusCode": "Successful",
        "StatusMessage": f"Successfully set desired instance count to {count}. Change successfully fulfilled by sagemaker.",
    }
    world.store.table("autoscaling.activity").put(scope, activity["ActivityId"], activity)  # type: ignore[arg-type]
    endpoint_life.scale(world, scope, endpoint, [{"VariantName": variant["VariantName"], "DesiredInstanceCount": count}])


def _page(items: list[Any], request: Input, member: str) -> dict[str, Any]:
    start, size = int(request.get("NextToken") or 0), request.get("MaxResults", 50)
    more = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return {member: items[start : start + size]} | more


@AUTOSCALING.operation("DescribeScalableTargets")
def describe_scalable_targets(call: Call, request: Input) -> dict[str, Any]:
    _check(request)
    wanted = request.get("ResourceIds")
    found = [r for r in call.world.store.table("autoscaling.target").of(call.scope) if not wanted or r["ResourceId"] in wanted]
    return _page(found, request, "ScalableTargets")


@AUTOSCALING.operation("DeregisterScalableTarget")
def deregister_scalable_target(call: Call, request: Input) -> None:
    _check(request)
    _target(call, request)
    call.world.store.table("autoscaling.target").drop(call.scope, request["ResourceId"])
    policies = call.world.store.table("autoscaling.policy")
    for one in policies.of(call.scope):
        if one["ResourceId"] == request["ResourceId"]:
            policies.drop(call.scope, _key(one))


def _key(policy: dict[str, Any]) -> str:
    return f"{policy['ResourceId']}|{policy['PolicyName']}"


@AUTOSCALING.operation("PutScalingPolicy")
def put_scaling_policy(call: Call, request: Input) -> dict[str, Any]:
    _check(request)
    _target(call, request)
    tracking = request.get("TargetTrackingScalingPolicyConfiguration")
    if request.get("PolicyType") != "TargetTrackingScaling" or not tracking or "PredefinedMetricSpecification" not in tracking:
        raise NotServed("application-autoscaling", "PutScalingPolicy without a predefined metric to track")
    policies, key = call.world.store.table("autoscaling.policy"), _key(request)
    old = policies.get(call.scope, key)
    arn = call.arn(
        f"scalingPolicy:{new_uuid()}:resource/sagemaker/{request['ResourceId']}:policyName/{request['PolicyName']}", "autoscaling"
    )
    record = request | {"PolicyARN": old["PolicyARN"] if old else arn, "CreationTime": call.world.clock.now(), "Alarms": []}
    policies.put(call.scope, key, record)
    if old is None:
        call.world.scheduler.after(PERIOD, "autoscaling.look", scope=call.scope, key=key)
    return {"PolicyARN": record["PolicyARN"], "Alarms": []}


@AUTOSCALING.operation("DescribeScalingPolicies")
def describe_scaling_policies(call: Call, request: Input) -> dict[str, Any]:
    _check(request)
    names, resource = request.get("PolicyNames"), request.get("ResourceId")
    found = call.world.store.table("autoscaling.policy").of(call.scope)
    shown = [one for one in found if (not names or one["PolicyName"] in names) and resource in (None, one["ResourceId"])]
    return _page(shown, request, "ScalingPolicies")


@AUTOSCALING.operation("DeleteScalingPolicy")
def delete_scaling_policy(call: Call, request: Input) -> None:
    _check(request)
    if call.world.store.table("autoscaling.policy").drop(call.scope, _key(request)) is None:
        where = f"resource ID: {request['ResourceId']}, policy name: {request['PolicyName']}"
        message = f"No scaling policy found for service namespace: sagemaker, {where}"
        raise AwsError("ObjectNotFoundException", message, 400)


@AUTOSCALING.operation("DescribeScalingActivities")
def describe_scaling_activities(call: Call, request: Input) -> dict[str, Any]:
    _check(request)
    found = [
        one
        for one in call.world.store.table("autoscaling.activity").of(call.scope)
        if request.get("ResourceId") in (None, one["ResourceId"])
    ]
    return _page(sorted(found, key=lambda one: -one["StartTime"]), request, "ScalingActivities")


@action("autoscaling.look")
def look(world: World, scope: str, key: str) -> None:
    """Once a minute while the policy is there: invocations an instance in the last minute against the target."""
    policy = world.store.table("autoscaling.policy").get(scope, key)
    if policy is None:
        return
    world.scheduler.after(PERIOD, "autoscaling.look", scope=scope, key=key)
    found = _variant(world, scope, policy["ResourceId"])
    target = world.store.table("autoscaling.target").get(scope, policy["ResourceId"])
    if found is None or target is None:
        return
    wanted = _wanted(world, scope, policy, found[1]["DesiredInstanceCount"])
    bounded = min(max(wanted, target["MinCapacity"]), target["MaxCapacity"])
    if bounded != found[1]["DesiredInstanceCount"] and _rested(world, scope, policy, bounded > found[1]["DesiredInstanceCount"]):
        set_count(world, scope, policy["ResourceId"], bounded, f"policy {policy['PolicyName']}: target tracking")


def _wanted(world: World, scope: str, policy: Record, count: int) -> int:
    _, endpoint, _, variant = policy["ResourceId"].split("/")
    from millrace_local_aws.services.cloudwatch import total

    dimensions = {"EndpointName": endpoint, "VariantName": variant}
    calls = total(world, scope, "AWS/SageMaker", "Invocations", dimensions, world.clock.now() - PERIOD)
    return math.ceil(calls / float(policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]))


def _rested(world: World, scope: str, policy: Record, out: bool) -> bool:
    """The cooldown since the last activity is over."""
    wait = policy["TargetTrackingScalingPolicyConfiguration"].get("ScaleOutCooldown" if out else "ScaleInCooldown", 300)
    times = [
        one["StartTime"]
        for one in world.store.table("autoscaling.activity").of(scope)
        if one["ResourceId"] == policy["ResourceId"]
    ]
    return not times or world.clock.now() - max(times) >= wait
