"""Users and their access keys."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import quote

from millrace_local_aws.engine.ids import unique
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.iam import common
from millrace_local_aws.services.iam.common import IAM
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError


def user_arn(call: Call, request: Input) -> str:
    return f"arn:aws:iam::{call.account}:user/{request.get('UserName', '')}"


def view(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "tags"}


@IAM.operation("CreateUser", resource=user_arn)
def create_user(call: Call, request: Input) -> dict[str, Any]:
    table, name = call.world.store.table("iam.user"), request["UserName"]
    if table.get(call.account, name):
        raise common.exists("User", name)
    path = request.get("Path", "/")
    record = {
        "Path": path,
        "UserName": name,
        "UserId": common.new_id("AIDA"),
        "Arn": f"arn:aws:iam::{call.account}:user{path}{name}",
        "CreateDate": float(int(call.world.clock.wall())),
        "tags": common.tag_map(request),
    }
    return {"User": view(table.put(call.account, name, record))}


@IAM.operation("GetUser", resource=user_arn)
def get_user(call: Call, request: Input) -> dict[str, Any]:
    return {"User": view(common.owned(call, "user", request.get("UserName") or call.principal.name))}


@IAM.operation("ListUsers")
def list_users(call: Call, request: Input) -> dict[str, Any]:
    return common.page([view(record) for record in call.world.store.table("iam.user").of(call.account)], request, "Users")


@IAM.operation("DeleteUser", resource=user_arn)
def delete_user(call: Call, request: Input) -> None:
    common.forbid_leftovers(call, common.owner_scope(call, "user", request["UserName"]))
    if _keys(call, request["UserName"]):
        raise common.conflict("Cannot delete entity, must delete access keys first.")
    call.world.store.table("iam.user").drop(call.account, request["UserName"])


def _keys(call: Call, user: str) -> list[Record]:
    common.owned(call, "user", user)
    keys = call.world.store.table("iam.access-key").of("")
    return [key for key in keys if key["account"] == call.account and key["UserName"] == user]


@IAM.operation("CreateAccessKey", resource=user_arn)
def create_access_key(call: Call, request: Input) -> dict[str, Any]:
    user = request.get("UserName") or call.principal.name
    if len(_keys(call, user)) >= 2:
        raise AwsError("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2", 409)
    record = {
        "UserName": user,
        "AccessKeyId": unique("AKIA", 16),
        "Status": "Active",
        "SecretAccessKey": secrets.token_urlsafe(30),
        "CreateDate": float(int(call.world.clock.wall())),
    }
    call.world.store.table("iam.access-key").put("", str(record["AccessKeyId"]), record | {"account": call.account})
    return {"AccessKey": record}


@IAM.operation("ListAccessKeys", resource=user_arn)
def list_access_keys(call: Call, request: Input) -> dict[str, Any]:
    hidden = ("SecretAccessKey", "account")
    found = _keys(call, request.get("UserName") or call.principal.name)
    shown = [{name: value for name, value in key.items() if name not in hidden} for key in found]
    return common.page(shown, request, "AccessKeyMetadata")


@IAM.operation("UpdateAccessKey", resource=user_arn)
def update_access_key(call: Call, request: Input) -> None:
    record = _key(call, request)
    call.world.store.table("iam.access-key").put("", request["AccessKeyId"], record | {"Status": request["Status"]})


def _key(call: Call, request: Input) -> Record:
    found = call.world.store.table("iam.access-key").get("", request["AccessKeyId"])
    if found is None or found["account"] != call.account:
        raise AwsError("NoSuchEntity", f"The Access Key with id {request['AccessKeyId']} cannot be found.", 404)
    return found


@IAM.operation("DeleteAccessKey", resource=user_arn)
def delete_access_key(call: Call, request: Input) -> None:
    _key(call, request)
    call.world.store.table("iam.access-key").drop("", request["AccessKeyId"])


@IAM.operation("PutUserPolicy", resource=user_arn)
def put_user_policy(call: Call, request: Input) -> None:
    common.put_inline(call, "user", request["UserName"], request)


@IAM.operation("GetUserPolicy", resource=user_arn)
def get_user_policy(call: Call, request: Input) -> dict[str, Any]:
    document = common.get_inline(call, "user", request["UserName"], request["PolicyName"])
    return {"UserName": request["UserName"], "PolicyName": request["PolicyName"], "PolicyDocument": quote(document)}


@IAM.operation("DeleteUserPolicy", resource=user_arn)
def delete_user_policy(call: Call, request: Input) -> None:
    common.delete_inline(call, "user", request["UserName"], request["PolicyName"])


@IAM.operation("ListUserPolicies", resource=user_arn)
def list_user_policies(call: Call, request: Input) -> dict[str, Any]:
    names = call.world.store.table("iam.inline").keys(common.owner_scope(call, "user", request["UserName"]))
    return common.page(names, request, "PolicyNames")


@IAM.operation("AttachUserPolicy", resource=user_arn)
def attach_user_policy(call: Call, request: Input) -> None:
    common.attach(call, "user", request["UserName"], request["PolicyArn"])


@IAM.operation("DetachUserPolicy", resource=user_arn)
def detach_user_policy(call: Call, request: Input) -> None:
    common.detach(call, "user", request["UserName"], request["PolicyArn"])


@IAM.operation("ListAttachedUserPolicies", resource=user_arn)
def list_attached_user_policies(call: Call, request: Input) -> dict[str, Any]:
    return common.attached(call, "user", request["UserName"], request)
