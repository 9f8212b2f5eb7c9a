"""Roles: trust, inline and attached policies, tags."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from millrace_local_aws.access.policies import parsed
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.iam import common
from millrace_local_aws.services.iam.common import IAM
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError


def role_arn(call: Call, request: Input) -> str:
    found = call.world.store.table("iam.role").get(call.account, request["RoleName"])
    return found["Arn"] if found else f"arn:aws:iam::{call.account}:role/{request['RoleName']}"


def view(record: Record, *, short: bool = False) -> dict[str, Any]:
    hidden = {"trust", "tags"} | ({"PermissionsBoundary"} if short else set())
    shown = {name: value for name, value in record.items() if name not in hidden}
    shown["AssumeRolePolicyDocument"] = quote(record["trust"])
    return shown | ({} if short or not record["tags"] else {"Tags": common.tags_of(record)})


@IAM.operation("CreateRole", resource=role_arn)
def create_role(call: Call, request: Input) -> dict[str, Any]:
    table, name = call.world.store.table("iam.role"), request["RoleName"]
    if table.get(call.account, name):
        raise common.exists("Role", name)
    parsed(request["AssumeRolePolicyDocument"], trust=True)
    path = request.get("Path", "/")
    record = {
        "Path": path,
        "RoleName": name,
        "RoleId": common.new_id("AROA"),
        "Arn": f"arn:aws:iam::{call.account}:role{path}{name}",
        "CreateDate": float(int(call.world.clock.wall())),
        "MaxSessionDuration": request.get("MaxSessionDuration", 3600),
        "trust": request["AssumeRolePolicyDocument"],
        "tags": common.tag_map(request),
    }
    if "Description" in request:
        record["Description"] = request["Description"]
    return {"Role": view(table.put(call.account, name, record))}


@IAM.operation("GetRole", resource=role_arn)
def get_role(call: Call, request: Input) -> dict[str, Any]:
    return {"Role": view(common.owned(call, "role", request["RoleName"]))}


@IAM.operation("ListRoles")
def list_roles(call: Call, request: Input) -> dict[str, Any]:
    found = [
        r for r in call.world.store.table("iam.role").of(call.account) if r["Path"].startswith(request.get("PathPrefix", "/"))
    ]
    return common.page([view(record, short=True) for record in sorted(found, key=lambda r: r["RoleName"])], request, "Roles")


@IAM.operation("UpdateRole", resource=role_arn)
def update_role(call: Call, request: Input) -> None:
    record = common.owned(call, "role", request["RoleName"])
    record |= {name: request[name] for name in ("Description", "MaxSessionDuration") if name in request}
    call.world.store.table("iam.role").put(call.account, request["RoleName"], record)


@IAM.operation("UpdateAssumeRolePolicy", resource=role_arn)
def update_assume_role_policy(call: Call, request: Input) -> None:
    record = common.owned(call, "role", request["RoleName"])
    parsed(request["PolicyDocument"], trust=True)
    call.world.store.table("iam.role").put(call.account, request["RoleName"], record | {"trust": request["PolicyDocument"]})


@IAM.operation("DeleteRole", resource=role_arn)
def delete_role(call: Call, request: Input) -> None:
    common.forbid_leftovers(call, common.owner_scope(call, "role", request["RoleName"]))
    call.world.store.table("iam.role").drop(call.account, request["RoleName"])


@IAM.operation("PutRolePolicy", resource=role_arn)
def put_role_policy(call: Call, request: Input) -> None:
    common.put_inline(call, "role", request["RoleName"], request)


@IAM.operation("GetRolePolicy", resource=role_arn)
def get_role_policy(call: Call, request: Input) -> dict[str, Any]:
    document = common.get_inline(call, "role", request["RoleName"], request["PolicyName"])
    return {"RoleName": request["RoleName"], "PolicyName": request["PolicyName"], "PolicyDocument": quote(document)}


@IAM.operation("DeleteRolePolicy", resource=role_arn)
def delete_role_policy(call: Call, request: Input) -> None:
    common.delete_inline(call, "role", request["RoleName"], request["PolicyName"])


@IAM.operation("ListRolePolicies", resource=role_arn)
def list_role_policies(call: Call, request: Input) -> dict[str, Any]:
    names = call.world.store.table("iam.inline").keys(common.owner_scope(call, "role", request["RoleName"]))
    return common.page(names, request, "PolicyNames")


@IAM.operation("AttachRolePolicy", resource=role_arn)
def attach_role_policy(call: Call, request: Input) -> None:
    common.attach(call, "role", request["RoleName"], request["PolicyArn"])


@IAM.operation("DetachRolePolicy", resource=role_arn)
def detach_role_policy(call: Call, request: Input) -> None:
    common.detach(call, "role", request["RoleName"], request["PolicyArn"])


@IAM.operation("ListAttachedRolePolicies", resource=role_arn)
def list_attached_role_policies(call: Call, request: Input) -> dict[str, Any]:
    return common.attached(call, "role", request["RoleName"], request)


@IAM.operation("ListInstanceProfilesForRole", resource=role_arn)
def list_instance_profiles_for_role(call: Call, request: Input) -> dict[str, Any]:
    common.owned(call, "role", request["RoleName"])
    return common.page([], request, "InstanceProfiles")


@IAM.operation("TagRole", resource=role_arn)
def tag_role(call: Call, request: Input) -> None:
    record = common.owned(call, "role", request["RoleName"])
    record["tags"] |= common.tag_map(request)
    if len(record["tags"]) > 50:
        raise AwsError("LimitExceeded", "Cannot exceed quota for TagsPerRole: 50", 409)
    call.world.store.table("iam.role").put(call.account, request["RoleName"], record)


@IAM.operation("UntagRole", resource=role_arn)
def untag_role(call: Call, request: Input) -> None:
    record = common.owned(call, "role", request["RoleName"])
    for key in request["TagKeys"]:
        record["tags"].pop(key, None)
    call.world.store.table("iam.role").put(call.account, request["RoleName"], record)


@IAM.operation("ListRoleTags", resource=role_arn)
def list_role_tags(call: Call, request: Input) -> dict[str, Any]:
    return common.page(common.tags_of(common.owned(call, "role", request["RoleName"])), request, "Tags")
