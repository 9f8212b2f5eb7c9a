"""Algorithms: one's own, and those of the Marketplace, which only subscribers may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.api import Body, route
from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.ids import new_uuid
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.sagemaker import tags
from millrace_local_aws.services.sagemaker.service import (
    SAGEMAKER,
    arn_of,
    emit,
    find,
    invalid,
    listing,
    resource,
    summary,
    table,
    view,
)
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.scalars import iso

if TYPE_CHECKING:
    from millrace_local_aws.world import World

ALGORITHM = resource("algorithm")
_SELLER = "999999999999"
NOT_SUBSCRIBED = "Caller is not subscribed to the marketplace offering."


def subscribed(world: World, account: str, product: str) -> bool:
    return world.store.table("marketplace.subscription").get(account, product) is not None


def owner_scope(arn: str) -> tuple[str, str]:
    """Account/region and name that an ARN speaks of."""
    parts = arn.split(":", 5)
    return f"{parts[4]}/{parts[3]}", parts[5].partition("/")[2]


def lookup(world: World, kind: str, scope: str, identifier: str) -> Record | None:
    """By name in the caller's account, or by ARN anywhere: products of the Marketplace live in their sellers'."""
    if identifier.startswith("arn:"):
        return table(world, kind).get(*owner_scope(identifier))
    return table(world, kind).get(scope, identifier)


def usable(call: Call, kind: str, identifier: str) -> Record:
    """A product only for subscribers, anybody else's for nobody."""
    found = lookup(call.world, kind, call.scope, identifier)
    if found is None:
        raise invalid(f"Could not find {kind} {identifier}")
    account, arn = call.account, found["AlgorithmArn" if kind == "algorithm" else "ModelPackageArn"]
    product = found.get("ProductId") or found.get("_product")
    if product and not subscribed(call.world, account, product):
        raise invalid(NOT_SUBSCRIBED)
    if not product and owner_scope(arn)[0] != call.scope:
        raise invalid(f"Could not find {kind} {identifier}")
    return found


def algorithm_for_training(call: Call, request: Input) -> None:
    """The request's hyperparameters, instance type and channels must be what the algorithm supports."""
    found = usable(call, "algorithm", request["AlgorithmSpecification"]["AlgorithmName"])
    if found["AlgorithmStatus"] != "Completed":
        raise invalid(f"Algorithm {found['AlgorithmArn']} is in status {found['AlgorithmStatus']}.")
    specification = found["TrainingSpecification"]
    wanted = (request.get("ResourceConfig") or {}).get("InstanceType")
    if wanted not in specification["SupportedTrainingInstanceTypes"]:
        supported = ", ".join(specification["SupportedTrainingInstanceTypes"])
        raise invalid(f"Instance type {wanted} is not supported by the algorithm. Supported types are: [{supported}]")
    _check_channels(specification, request)
    _check_hyperparameters(specification, request.setdefault("HyperParameters", {}))


def _check_channels(specification: Record, request: Input) -> None:
    given = {channel["ChannelName"] for channel in request.get("InputDataConfig", [])}
    for channel in specification["TrainingChannels"]:
        if channel.get("IsRequired") and channel["Name"] not in given:
            raise invalid(f"Required channel {channel['Name']} is missing from InputDataConfig")
    unknown = given - {channel["Name"] for channel in specification["TrainingChannels"]}
    if unknown:
        raise invalid(f"Channel {sorted(unknown)[0]} is not supported by the algorithm")


def _check_hyperparameters(specification: Record, given: dict[str, str]) -> None:
    supported = {one["Name"]: one for one in specification.get("SupportedHyperParameters", [])}
    for name in given:
        if supported and name not in supported:
            raise invalid(f"Hyperparameter {name} is not supported by the algorithm")
    for name, one in supported.items():
        if name not in given and "DefaultValue" in one:
            given[name] = one["DefaultValue"]
        elif name not in given and one.get("IsRequired"):
            raise invalid(f"Required hyperparameter {name} is missing")
        if name in given:
            _check_range(name, one, given[name])


def _check_range(name: str, one: Record, value: str) -> None:
    ranges = one.get("Range") or {}
    numeric = ranges.get("IntegerParameterRangeSpecification") or ranges.get("ContinuousParameterRangeSpecification")
    if numeric:
        try:
            inside = float(numeric["MinValue"]) <= float(value) <= float(numeric["MaxValue"])
        except ValueError:
            inside = False
        if not inside:
            raise invalid(
                f"Hyperparameter {name} with value {value} is not within [{numeric['MinValue']}, {numeric['MaxValue']}]"
            )
    values = (ranges.get("CategoricalParameterRangeSpecification") or {}).get("Values")
    if values and value not in values:
        raise invalid(f"Hyperparameter {name} with value {value} is not one of [{', '.join(values)}]")


def training_image(world: World, scope: str, algorithm: dict[str, Any]) -> str:
    """What runs: the image given, or the algorithm's."""
    if "TrainingImage" in algorithm:
        return str(algorithm["TrainingImage"])
    found = lookup(world, "algorithm", scope, algorithm["AlgorithmName"])
    return str(found["TrainingSpecification"]["TrainingImage"]) if found else ""


def training_metrics(world: World, scope: str, algorithm: dict[str, Any]) -> list[dict[str, str]]:
    """What the log is read for: by the request, or by the algorithm, whose users may not name any."""
    if "AlgorithmName" not in algorithm:
        return list(algorithm.get("MetricDefinitions", []))
    found = lookup(world, "algorithm", scope, algorithm["AlgorithmName"])
    return list(found["TrainingSpecification"].get("MetricDefinitions", [])) if found else []


def record_of(world: World, arn: str, request: dict[str, Any]) -> Record:
    kept = ("AlgorithmName", "AlgorithmDescription", "TrainingSpecification", "InferenceSpecification", "ValidationSpecification")
    record: Record = {name: request[name] for name in kept if name in request}
    return record | {
        "AlgorithmArn": arn,
        "CreationTime": world.clock.now(),
        "AlgorithmStatus": "InProgress",
        "AlgorithmStatusDetails": {},
        "CertifyForMarketplace": request.get("CertifyForMarketplace", False),
    }


@SAGEMAKER.operation("CreateAlgorithm", resource=ALGORITHM)
def create_algorithm(call: Call, request: Input) -> dict[str, Any]:
    name = request["AlgorithmName"]
    arn = arn_of(call, "algorithm", name)
    if table(call.world, "algorithm").get(call.scope, name):
        raise invalid(f"Algorithm with the name {name} already exists.")
    table(call.world, "algorithm").put(call.scope, name, record_of(call.world, arn, request))
    tags.put(call.world, arn, request.get("Tags"))
    call.world.scheduler.after(
        duration(call.world, "sagemaker.algorithm/InProgress"), "algorithm.completed", scope=call.scope, name=name
    )
    return {"AlgorithmArn": arn}


@action("algorithm.completed")
def completed(world: World, scope: str, name: str) -> None:
    record = table(world, "algorithm").get(scope, name)
    if record is not None:
        record["AlgorithmStatus"] = "Completed"
        table(world, "algorithm").put(scope, name, record)
        emit(world, scope, "Algorithm", record["AlgorithmArn"], view(record))


@SAGEMAKER.operation("DescribeAlgorithm", resource=ALGORITHM)
def describe_algorithm(call: Call, request: Input) -> dict[str, Any]:
    found = lookup(call.world, "algorithm", call.scope, request["AlgorithmName"])
    if found is None:
        raise invalid(f"Algorithm {request['AlgorithmName']} does not exist.")
    return view(found)


@SAGEMAKER.operation("ListAlgorithms")
def list_algorithms(call: Call, request: Input) -> dict[str, Any]:
    found, more = listing(call, request, "algorithm")
    members = ("AlgorithmName", "AlgorithmArn", "AlgorithmDescription", "CreationTime", "AlgorithmStatus")
    return {"AlgorithmSummaryList": [summary(record, *members) for record in found]} | more


@SAGEMAKER.operation("DeleteAlgorithm", resource=ALGORITHM)
def delete_algorithm(call: Call, request: Input) -> None:
    record = find(call, "algorithm", request["AlgorithmName"])
    table(call.world, "algorithm").drop(call.scope, request["AlgorithmName"])
    tags.drop(call.world, record["AlgorithmArn"])


@route("POST", "marketplace/algorithms")
def publish(world: World, body: Body) -> Any:
    """A seller's algorithm: `request` as CreateAlgorithm takes it, `product`, `seller` (account), `region`."""
    scope = f"{body.get('seller', _SELLER)}/{body.get('region', 'us-east-1')}"
    account, region = scope.split("/")
    name = body["request"]["AlgorithmName"]
    arn = f"arn:aws:sagemaker:{region}:{account}:algorithm/{name}"
    record = record_of(world, arn, body["request"]) | {"AlgorithmStatus": "Completed", "ProductId": body["product"]}
    table(world, "algorithm").put(scope, name, record)
    return {"arn": arn}


@route("POST", "marketplace/subscriptions")
def subscribe(world: World, body: Body) -> Any:
    """`account` subscribes to `product`."""
    account, subscription = body.get("account", "123456789012"), world.store.table("marketplace.subscription")
    agreement = f"agmt-{new_uuid().replace('-', '')[:25]}"
    subscription.put(account, body["product"], {"since": world.clock.now(), "agreement": agreement})
    now = iso(world.clock.now(), millis=False)
    _agreed(
        world, account, "Created", {"id": agreement, "intent": "NEW", "status": "ACTIVE", "acceptanceTime": now, "startTime": now}
    )


@route("DELETE", "marketplace/subscriptions")
def unsubscribe(world: World, body: Body) -> Any:
    """And ends it."""
    account, subscription = body.get("account", "123456789012"), world.store.table("marketplace.subscription")
    held = subscription.get(account, body["product"])
    if held is not None:
        subscription.drop(account, body["product"])
        _agreed(world, account, "Ended", {"id": held.get("agreement", "agmt-of-old"), "status": "CANCELLED"})


def _agreed(world: World, account: str, what: str, agreement: Record) -> None:
    """What the buyer's account hears, in us-east-1 alone and without the product's name, as AWS tells it:
    https://docs.aws.amazon.com/marketplace/latest/buyerguide/agreement-eventbridge.html
    """
    detail = {
        "requestId": new_uuid(),
        "catalog": "AWSMarketplace",
        "agreement": agreement,
        "acceptor": {"accountId": account},
        "proposer": {"accountId": _SELLER},
        "offer": {"id": f"offer-{agreement['id'].removeprefix('agmt-')[:13]}"},
    }
    arn = f"arn:aws:aws-marketplace::aws:agreement:{agreement['id']}"
    world.events.emit("aws.agreement-marketplace", f"Purchase Agreement {what} - Acceptor", account, "us-east-1", [arn], detail)
