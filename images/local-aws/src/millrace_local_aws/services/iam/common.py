"""What roles and users share: names, pages, inline and attached policies."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.access.policies import parsed
from millrace_local_aws.engine.ids import unique
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

IAM = Service("iam", "iam", invalid="ValidationError", throttled=("Throttling", 400))


def missing(kind: str, name: str) -> AwsError:
    words = {"role": f"The role with name {name} cannot be found.", "user": f"The user with name {name} cannot be found."}
    return AwsError("NoSuchEntity", words.get(kind, f"The {kind} with name {name} cannot be found."), 404)


def exists(kind: str, name: str) -> AwsError:
    return AwsError("EntityAlreadyExists", f"{kind} with name {name} already exists.", 409)


def conflict(message: str) -> AwsError:
    return AwsError("DeleteConflict", message, 409)


def owned(call: Call, kind: str, name: str) -> Record:
    """The role or user of that name in the caller's account."""
    found = call.world.store.table(f"iam.{kind}").get(call.account, name)
    if found is None:
        raise missing(kind, name)
    return found


def owner_scope(call: Call, kind: str, name: str) -> str:
    """Where a role's or user's policies are kept."""
    owned(call, kind, name)
    return f"{call.account}/{kind}/{name}"


def page(items: list[Any], request: Input, member: str) -> dict[str, Any]:
    """IAM's own way of paging."""
    start, size = int(request.get("Marker") or 0), request.get("MaxItems", 100)
    more = start + size < len(items)
    return {member: items[start : start + size], "IsTruncated": more} | ({"Marker": str(start + size)} if more else {})


def new_id(prefix: str) -> str:
    return unique(prefix)


def tags_of(record: Record) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in record.get("tags", {}).items()]


def tag_map(request: Input) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}


def put_inline(call: Call, kind: str, owner: str, request: Input) -> None:
    parsed(request["PolicyDocument"])
    scope = owner_scope(call, kind, owner)
    call.world.store.table("iam.inline").put(scope, request["PolicyName"], {"document": request["PolicyDocument"]})


def get_inline(call: Call, kind: str, owner: str, policy: str) -> str:
    found = call.world.store.table("iam.inline").get(owner_scope(call, kind, owner), policy)
    if found is None:
        raise AwsError("NoSuchEntity", f"The {kind} policy with name {policy} cannot be found.", 404)
    return str(found["document"])


def delete_inline(call: Call, kind: str, owner: str, policy: str) -> None:
    get_inline(call, kind, owner, policy)
    call.world.store.table("iam.inline").drop(owner_scope(call, kind, owner), policy)


def attach(call: Call, kind: str, owner: str, arn: str) -> None:
    if call.world.store.table("iam.policy").get("", arn) is None:
        raise AwsError("NoSuchEntity", f"Policy {arn} does not exist or is not attachable.", 404)
    call.world.store.table("iam.attached").put(owner_scope(call, kind, owner), arn, {})


def detach(call: Call, kind: str, owner: str, arn: str) -> None:
    if call.world.store.table("iam.attached").drop(owner_scope(call, kind, owner), arn) is None:
        raise AwsError("NoSuchEntity", f"Policy {arn} was not found.", 404)


def attached(call: Call, kind: str, owner: str, request: Input) -> dict[str, Any]:
    arns = call.world.store.table("iam.attached").keys(owner_scope(call, kind, owner))
    found = [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in arns]
    return page(found, request, "AttachedPolicies")


def forbid_leftovers(call: Call, scope: str) -> None:
    """A role or user with policies cannot be deleted."""
    if call.world.store.table("iam.attached").keys(scope):
        raise conflict("Cannot delete entity, must detach all policies first.")
    if call.world.store.table("iam.inline").keys(scope):
        raise conflict("Cannot delete entity, must delete policies first.")
