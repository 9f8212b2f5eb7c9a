"""The service, and what its resources share: tables, ids, lists, tokens of idempotency, roles, refusals."""

from __future__ import annotations

import hashlib
import json
import secrets
import string
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.ids import arn
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services.roles import assumable, check_passed
from millrace_local_aws.state.store import Record, Table
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

BEDROCK = Service("bedrock", "bedrock", signing="bedrock", throttled=("ThrottlingException", 429), tagging="TagResource")
MOST_TAGS = 50
_LETTERS = string.ascii_lowercase + string.digits


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message, 400)


def conflict(message: str) -> AwsError:
    return AwsError("ConflictException", message, 400)


def over_quota(message: str) -> AwsError:
    return AwsError("ServiceQuotaExceededException", message, 400)


def not_found(message: str) -> AwsError:
    return AwsError("ResourceNotFoundException", message, 404)


def table(world: World, kind: str) -> Table:
    """Keys are ARNs."""
    return world.store.table(f"bedrock.{kind}")


def new_id() -> str:
    """Twelve letters and digits, as Bedrock's ARNs end in."""
    return "".join(secrets.choice(_LETTERS) for _ in range(12))


def arn_in(scope: str, resource: str) -> str:
    account, region = scope.split("/")
    return arn("bedrock", region, account, resource)


def find(call: Call, kind: str, name: str, named: str) -> Record:
    """By ARN, or by the member `named`; or ResourceNotFoundException."""
    found = lookup(call.world, call.scope, kind, name, named)
    if found is None:
        raise not_found(f"The provided identifier was not found: {name}")
    return found


def lookup(world: World, scope: str, kind: str, name: str, named: str) -> Record | None:
    records = table(world, kind)
    return records.get(scope, name) or next((one for one in records.of(scope) if one[named] == name), None)


def view(record: Record) -> dict[str, Any]:
    """Without what is ours alone."""
    return {name: value for name, value in record.items() if not name.startswith("_") and value is not None}


def listed(
    request: Input, records: list[Record], show: Callable[[Record], dict[str, Any]], member: str, **names: str
) -> dict[str, Any]:
    """A page, filtered and sorted as all of Bedrock's lists are. `names` tells which member holds name, status, time, model."""
    time = names["time"]
    after = request.get("creationTimeAfter", request.get("createdAfter", 0.0))
    before = request.get("creationTimeBefore", request.get("createdBefore", float("inf")))
    found = [
        record
        for record in records
        if request.get("nameContains", "").lower() in record[names["name"]].lower()
        and after <= record[time] <= before
        and request.get("statusEquals", record[names["status"]]) == record[names["status"]]
        and request.get("modelArnEquals", record[names["model"]]) == record[names["model"]]
    ]
    found.sort(key=lambda record: float(record[time]), reverse=request.get("sortOrder", "Descending") == "Descending")
    start, size = int(request.get("nextToken") or 0), request.get("maxResults", 100)
    more = {"nextToken": str(start + size)} if start + size < len(found) else {}
    return {member: [show(record) for record in found[start : start + size]]} | more


def replayed(call: Call, request: Input) -> Any:
    """What the same request was answered with before; None for a new one."""
    token = request.get("clientRequestToken")
    seen = table(call.world, "token").get(call.scope, f"{call.operation}/{token}") if token else None
    if seen is not None and seen["digest"] != _digest(request):
        raise conflict("The client request token was used before, with other parameters.")
    return None if seen is None else seen["answer"]


def remember(call: Call, request: Input, answer: dict[str, Any]) -> dict[str, Any]:
    """For `replayed`."""
    token = request.get("clientRequestToken")
    if token:
        record = {"digest": _digest(request), "answer": answer}
        table(call.world, "token").put(call.scope, f"{call.operation}/{token}", record)
    return answer


def _digest(request: Input) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def check_role(call: Call, role_arn: str, source_arn: str) -> None:
    """Bedrock must be able to take the role on for this very job, and the caller must be allowed to hand it over."""
    check_passed(call, role_arn, "bedrock")
    if not assumable(call, role_arn, "bedrock", source_arn):
        raise invalid(
            f"Could not assume provided IAM role {role_arn}. Check that the role exists and that its trust policy allows"
            " bedrock.amazonaws.com to assume it for this account and job."
        )


def check_tags(*lists: list[dict[str, str]] | None) -> None:
    if any(len(tags or []) > MOST_TAGS for tags in lists):
        raise AwsError("TooManyTagsException", f"A resource may have at most {MOST_TAGS} tags.", 400)


def put_tags(world: World, resource: str, tags: list[dict[str, str]] | None) -> None:
    """Of a new resource."""
    if tags:
        table(world, "tags").put("", resource, {tag["key"]: tag["value"] for tag in tags})


def drop(world: World, kind: str, scope: str, key: str) -> None:
    """A resource with its tags."""
    table(world, kind).drop(scope, key)
    table(world, "tags").drop("", key)
