"""May a caller do this? Identity policies, a resource's own policy, session policies; and the trust policies of roles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from millrace_local_aws.access.policies import Decision, Document, Question, evaluate
from millrace_local_aws.access.principals import Principal
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

WHY = {
    Decision.NONE: "because no identity-based policy allows the {action} action",
    Decision.DENY: "with an explicit deny in an identity-based policy",
}


def denied_message(principal: Principal, action: str, resource: str, decision: Decision = Decision.NONE) -> str:
    """In AWS's words."""
    why = WHY[decision].format(action=action)
    return f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource} {why}"


def denied(service: str, principal: Principal, action: str, resource: str, decision: Decision = Decision.NONE) -> AwsError:
    """Under the code that the service uses."""
    message = (
        "Access Denied"
        if service == "s3" and principal.kind == "anonymous"
        else denied_message(principal, action, resource, decision)
    )
    json_protocol = service not in ("s3", "iam", "sts", "sqs", "cloudwatch")
    status = 400 if json_protocol and not service.startswith("bedrock") else 403
    return AwsError("AccessDeniedException" if json_protocol else "AccessDenied", message, status)


def identity_documents(world: World, principal: Principal) -> list[Document]:
    """All policies that a user or a role has."""
    kind = principal.kind
    owner = f"{principal.account}/{kind}/{principal.name}"
    inline = [json.loads(record["document"]) for record in world.store.table("iam.inline").of(owner)]
    attached = world.store.table("iam.attached").keys(owner)
    return inline + [managed_document(world, arn) for arn in attached]


def managed_document(world: World, arn: str) -> Document:
    """The default version of a managed policy."""
    record = world.store.table("iam.policy").get("", arn) or {}
    documents = record.get("versions", {})
    found: Document = json.loads(documents[record["DefaultVersionId"]]["document"]) if documents else {"Statement": []}
    return found


def context_of(world: World, principal: Principal, region: str, source_ip: str) -> dict[str, Any]:
    """The condition keys that every request has."""
    return {
        "aws:PrincipalAccount": principal.account,
        "aws:PrincipalArn": principal.arn,
        "aws:PrincipalType": {"root": "Account", "user": "User", "role": "AssumedRole"}.get(principal.kind, "Anonymous"),
        "aws:RequestedRegion": region,
        "aws:SourceIp": source_ip,
        "aws:SecureTransport": "false",
        "aws:userid": principal.unique_id,
        "aws:username": principal.name,
        "aws:CurrentTime": str(world.clock.wall()),
    }


def decide(world: World, principal: Principal, question: Question) -> Decision:
    """By identity policies alone. A root may do all; without enforcement, so may everybody whom no policy denies."""
    if principal.kind in ("root", "anonymous"):
        return Decision.ALLOW if principal.kind == "root" else Decision.NONE
    found = evaluate(identity_documents(world, principal), question)
    if principal.session_policy and found is Decision.ALLOW:
        found = evaluate([json.loads(principal.session_policy)], question)
    return found


def trusts(trust: str, question: Question) -> bool:
    """Whether a role's trust policy lets the asking principal assume it."""
    return evaluate([json.loads(trust)], question) is Decision.ALLOW


def role_of(world: World, role_arn: str) -> dict[str, Any] | None:
    """The role an ARN names, or None."""
    parts = role_arn.split(":", 5)
    if len(parts) != 6 or not parts[5].startswith("role/"):
        return None
    return world.store.table("iam.role").get(parts[4], parts[5].rpartition("/")[2])


def service_may_assume(world: World, role_arn: str, service: str, account: str, source_arn: str) -> bool:
    """Whether <service>.amazonaws.com, acting for this account and resource, may take the role on."""
    role = role_of(world, role_arn)
    if role is None or role_arn.split(":")[4] != account:
        return False
    context = {"aws:SourceAccount": account, "aws:SourceArn": source_arn}
    question = Question("sts:AssumeRole", role_arn, context, (("Service", f"{service}.amazonaws.com"),))
    return trusts(role["trust"], question)


def role_principal(role_arn: str, session: str) -> Principal:
    """What a service acts as once it has taken a role on."""
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    return Principal("role", account, f"arn:aws:sts::{account}:assumed-role/{name}/{session}", "", name)


def role_may(world: World, role_arn: str, action: str, resource: str) -> bool:
    """Whether a role's own policies allow an action."""
    return decide(world, role_principal(role_arn, "service"), Question(action, resource)) is Decision.ALLOW


def resource_policy_allows(policy: str | None, question: Question) -> bool:
    """Whether a queue's or bucket's own policy allows."""
    return policy is not None and evaluate([json.loads(policy)], question) is Decision.ALLOW
