"""STS: who am I, and role sessions under the role's trust policy. Sessions end by the clock that clients share (wall)."""

from __future__ import annotations

import secrets
from typing import Any

from millrace_local_aws.access.authorize import context_of, decide, role_of, trusts
from millrace_local_aws.access.policies import Decision, Question
from millrace_local_aws.access.web_identity import identified
from millrace_local_aws.engine.ids import unique
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.wire.errors import AwsError

STS = Service("sts", "sts", invalid="ValidationError", throttled=("Throttling", 400))


@STS.operation("GetCallerIdentity")
def get_caller_identity(call: Call, request: Input) -> dict[str, Any]:
    who = call.principal
    user = who.account if who.kind == "root" else who.unique_id
    return {"UserId": user or who.account, "Account": who.account, "Arn": who.arn}


def _denied(call: Call, arn: str, action: str = "sts:AssumeRole") -> AwsError:
    return AwsError("AccessDenied", f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {arn}", 403)


def _assume_context(call: Call, request: Input) -> dict[str, Any]:
    context = context_of(call.world, call.principal, call.region, call.incoming.source_ip)
    context["sts:RoleSessionName"] = request["RoleSessionName"]
    if "ExternalId" in request:
        context["sts:ExternalId"] = request["ExternalId"]
    for tag in request.get("Tags", []):
        context[f"aws:RequestTag/{tag['Key']}"] = tag["Value"]
    return context


def _caller_may(call: Call, question: Question) -> bool:
    """In its own account a trust policy that names the caller suffices; across accounts the caller needs a policy too."""
    if not call.world.settings.enforce_iam or call.principal.kind == "root":
        return True
    found = decide(call.world, call.principal, question)
    same_account = call.account == question.resource.split(":")[4]
    return found is Decision.ALLOW or (found is Decision.NONE and same_account)


@STS.operation("AssumeRole", resource=lambda call, request: str(request["RoleArn"]))
def assume_role(call: Call, request: Input) -> dict[str, Any]:
    arn = request["RoleArn"]
    role = role_of(call.world, arn)
    if role is None:
        raise _denied(call, arn)
    question = Question("sts:AssumeRole", arn, _assume_context(call, request), call.principal.names())
    if not trusts(role["trust"], question) or not _caller_may(call, question):
        raise _denied(call, arn)
    return _new_session(call, role, request)


@STS.operation("AssumeRoleWithWebIdentity", resource=lambda call, request: str(request["RoleArn"]))
def assume_role_with_web_identity(call: Call, request: Input) -> dict[str, Any]:
    """Asked without a signature: the token says who it is."""
    arn = request["RoleArn"]
    role = role_of(call.world, arn)
    who = identified(call.world, request["WebIdentityToken"], arn.split(":")[4])
    context = {
        f"{who.issuer}:sub": who.subject,
        f"{who.issuer}:aud": who.audience,
        "sts:RoleSessionName": request["RoleSessionName"],
    }
    question = Question("sts:AssumeRoleWithWebIdentity", arn, context, (("Federated", who.provider),))
    if role is None or not trusts(role["trust"], question):
        raise AwsError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
    told = {"SubjectFromWebIdentityToken": who.subject, "Audience": who.audience, "Provider": who.provider}
    return _new_session(call, role, request) | told


def _new_session(call: Call, role: dict[str, Any], request: Input) -> dict[str, Any]:
    seconds = request.get("DurationSeconds", 3600)
    if seconds > role["MaxSessionDuration"]:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise AwsError("ValidationError", message, 400)
    name, account = request["RoleSessionName"], role["Arn"].split(":")[4]
    key, token = unique("ASIA", 16), secrets.token_urlsafe(48)
    expires = float(int(call.world.clock.wall() + seconds))
    arn = f"arn:aws:sts::{account}:assumed-role/{role['RoleName']}/{name}"
    identity = f"{role['RoleId']}:{name}"
    record = {
        "account": account,
        "arn": arn,
        "id": identity,
        "role": role["RoleName"],
        "token": token,
        "expires": expires,
        "policy": request.get("Policy"),
    }
    call.world.store.table("sts.session").put("", key, record)
    credentials = {"AccessKeyId": key, "SecretAccessKey": secrets.token_urlsafe(30), "SessionToken": token, "Expiration": expires}
    return {"Credentials": credentials, "AssumedRoleUser": {"AssumedRoleId": identity, "Arn": arn}}


@STS.operation("GetAccessKeyInfo")
def get_access_key_info(call: Call, request: Input) -> dict[str, Any]:
    made = call.world.store.table("iam.access-key").get("", request["AccessKeyId"]) or {}
    session = call.world.store.table("sts.session").get("", request["AccessKeyId"]) or {}
    return {"Account": made.get("account") or session.get("account") or call.account}
