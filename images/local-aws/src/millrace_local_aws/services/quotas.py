"""Service Quotas: how many instances of a type an account may use, and requests for more.

Quotas of SageMaker are named as AWS names them (`ml.g5.xlarge for training job usage`). Codes are derived from the names:
AWS's own are not published as a list. Defaults are generous; a test that needs a small one sets it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.api import Body, route
from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.ids import new_uuid
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.wire.errors import AwsError
from millrace_local_aws.wire.models import service_model

if TYPE_CHECKING:
    from millrace_local_aws.world import World

QUOTAS = Service(
    "service-quotas",
    "servicequotas",
    target="ServiceQuotasV20190624",
    signing="servicequotas",
    invalid="IllegalArgumentException",
    throttled=("TooManyRequestsException", 400),
)
DEFAULT = 100.0
OPEN = frozenset({"PENDING", "CASE_OPENED"})
ENDED = frozenset({"APPROVED", "DENIED", "NOT_APPROVED", "CASE_CLOSED", "INVALID_REQUEST"})
USES = {"training": "training job usage", "spot": "spot training job usage", "endpoint": "endpoint usage"}
_ENUMS = {"training": "TrainingInstanceType", "spot": "TrainingInstanceType", "endpoint": "ProductionVariantInstanceType"}


def quota_name(use: str, instance_type: str) -> str:
    return f"{instance_type} for {USES[use]}"


def code_of(name: str) -> str:
    return f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"


@cache
def names() -> dict[str, str]:
    """All quotas of SageMaker, by code."""
    model = service_model("sagemaker")
    found = [quota_name(use, one) for use, shape in _ENUMS.items() for one in model.shape_for(shape).enum]
    return {code_of(name): name for name in sorted(found)}


def value(world: World, scope: str, name: str) -> float:
    """An account's quota in a region."""
    record = world.store.table("quotas.value").get(scope, name)
    return float(record["value"]) if record else DEFAULT


def _known(request: Input) -> str:
    found = names().get(request["QuotaCode"]) if request["ServiceCode"] == "sagemaker" else None
    if found is None:
        raise AwsError(
            "NoSuchResourceException", "The request failed because the specified service or quota does not exist.", 400
        )
    return found


def _view(call: Call, name: str, amount: float) -> dict[str, Any]:
    code = code_of(name)
    return {
        "ServiceCode": "sagemaker",
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": call.arn(f"sagemaker/{code}", "servicequotas"),
        "QuotaCode": code,
        "QuotaName": name,
        "Value": amount,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


@QUOTAS.operation("ListServices")
def list_services(call: Call, request: Input) -> dict[str, Any]:
    return {"Services": [{"ServiceCode": "sagemaker", "ServiceName": "Amazon SageMaker"}]}


@QUOTAS.operation("GetServiceQuota")
def get_service_quota(call: Call, request: Input) -> dict[str, Any]:
    name = _known(request)
    return {"Quota": _view(call, name, value(call.world, call.scope, name))}


@QUOTAS.operation("GetAWSDefaultServiceQuota")
def get_aws_default_service_quota(call: Call, request: Input) -> dict[str, Any]:
    return {"Quota": _view(call, _known(request), DEFAULT)}


def _page(items: list[Any], request: Input, member: str) -> dict[str, Any]:
    start, size = int(request.get("NextToken") or 0), request.get("MaxResults", 100)
    more = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return {member: items[start : start + size]} | more


def _all(request: Input) -> list[str]:
    if request["ServiceCode"] != "sagemaker":
        raise AwsError("NoSuchResourceException", "The request failed because the specified service does not exist.", 400)
    return list(names().values())


@QUOTAS.operation("ListServiceQuotas")
def list_service_quotas(call: Call, request: Input) -> dict[str, Any]:
    return _page([_view(call, name, value(call.world, call.scope, name)) for name in _all(request)], request, "Quotas")


@QUOTAS.operation("ListAWSDefaultServiceQuotas")
def list_aws_default_service_quotas(call: Call, request: Input) -> dict[str, Any]:
    return _page([_view(call, name, DEFAULT) for name in _all(request)], request, "Quotas")


@QUOTAS.operation("RequestServiceQuotaIncrease")
def request_service_quota_increase(call: Call, request: Input) -> dict[str, Any]:
    name, table = _known(request), call.world.store.table("quotas.request")
    if request["DesiredValue"] <= value(call.world, call.scope, name):
        raise AwsError("IllegalArgumentException", "The desired value must be greater than the current one.", 400)
    if any(one["QuotaName"] == name and one["Status"] in OPEN for one in table.of(call.scope)):
        raise AwsError(
            "ResourceAlreadyExistsException", "Only one open service quota increase request is allowed per quota.", 400
        )
    now, view = call.world.clock.now(), _view(call, name, 0)
    record = {
        key: view[key] for key in ("ServiceCode", "ServiceName", "QuotaArn", "QuotaCode", "QuotaName", "Unit", "GlobalQuota")
    } | {
        "Id": new_uuid(),
        "DesiredValue": request["DesiredValue"],
        "Status": "PENDING",
        "Created": now,
        "LastUpdated": now,
        "Requester": f'{{"accountId":"{call.account}","callerArn":"{call.principal.arn}"}}',
    }
    table.put(call.scope, str(record["Id"]), record)
    wait = duration(call.world, "quotas.request/PENDING")
    call.world.scheduler.after(wait, "quotas.pass", scope=call.scope, request=record["Id"])
    return {"RequestedQuota": record}


@action("quotas.pass")
def pass_by_itself(world: World, scope: str, request: str) -> None:
    """What nobody has looked at is approved; an opened case waits for people."""
    record = world.store.table("quotas.request").get(scope, request)
    if record is not None and record["Status"] == "PENDING":
        decide(world, scope, request, "APPROVED")


def decide(world: World, scope: str, request: str, status: str) -> None:
    """AWS decides of a request that is open: APPROVED raises the quota, CASE_OPENED hands it to people, who take longer."""
    table = world.store.table("quotas.request")
    record = table.get(scope, request)
    if record is None or record["Status"] not in OPEN or (record["Status"] == "CASE_OPENED" and status == "CASE_OPENED"):
        return
    case = {"CaseId": str(int(hashlib.sha256(request.encode()).hexdigest()[:10], 16))} if status == "CASE_OPENED" else {}
    table.put(scope, request, record | case | {"Status": status, "LastUpdated": world.clock.now()})
    if status == "APPROVED":
        world.store.table("quotas.value").put(scope, record["QuotaName"], {"value": record["DesiredValue"]})


@QUOTAS.operation("GetRequestedServiceQuotaChange")
def get_requested_service_quota_change(call: Call, request: Input) -> dict[str, Any]:
    found = call.world.store.table("quotas.request").get(call.scope, request["RequestId"])
    if found is None:
        raise AwsError("NoSuchResourceException", "The request failed because the specified request does not exist.", 400)
    return {"RequestedQuota": found}


@QUOTAS.operation("ListRequestedServiceQuotaChangeHistory")
def list_requested_service_quota_change_history(call: Call, request: Input) -> dict[str, Any]:
    found = [
        one for one in call.world.store.table("quotas.request").of(call.scope) if request.get("Status") in (None, one["Status"])
    ]
    return _page(found, request, "RequestedQuotas")


@QUOTAS.operation("ListRequestedServiceQuotaChangeHistoryByQuota")
def list_requested_by_quota(call: Call, request: Input) -> dict[str, Any]:
    name = _known(request)
    found = [one for one in call.world.store.table("quotas.request").of(call.scope) if one["QuotaName"] == name]
    return _page([one for one in found if request.get("Status") in (None, one["Status"])], request, "RequestedQuotas")


@route("POST", "quotas")
def set_quota(world: World, body: Body) -> Any:
    """use (training, spot, endpoint), instance_type, value; account and region where not the default."""
    scope = f"{body.get('account', '123456789012')}/{body.get('region', 'us-east-1')}"
    name = quota_name(body["use"], body["instance_type"])
    if name not in names().values():
        raise ValueError(f"there is no quota '{name}'")
    world.store.table("quotas.value").put(scope, name, {"value": float(body["value"])})
    return {"name": name}


@route("POST", "quotas/decide")
def decide_requests(world: World, body: Body) -> Any:
    """Every open request for more gets this `status`."""
    status = body["status"]
    if status not in ENDED | {"CASE_OPENED"}:
        raise ValueError(f"a request is never decided to be '{status}'")
    for scope, key, _ in world.store.table("quotas.request").everything():
        decide(world, scope, key, status)
