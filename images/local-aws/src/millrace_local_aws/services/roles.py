"""Roles that callers hand to a service: may the caller pass it, may the service take it on, and what may the role do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millrace_local_aws.access.authorize import context_of, decide, denied, role_may, service_may_assume
from millrace_local_aws.access.policies import Decision, Question
from millrace_local_aws.service import Call

if TYPE_CHECKING:
    from millrace_local_aws.world import World


def check_passed(call: Call, role_arn: str, service: str) -> None:
    """The caller must be allowed to hand the role over; asked only where IAM is enforced."""
    if not call.world.settings.enforce_iam:
        return
    context = context_of(call.world, call.principal, call.region, call.incoming.source_ip)
    context["iam:PassedToService"] = f"{service}.amazonaws.com"
    decision = decide(call.world, call.principal, Question("iam:PassRole", role_arn, context))
    if decision is not Decision.ALLOW:
        raise denied(service, call.principal, "iam:PassRole", role_arn, decision)


def assumable(call: Call, role_arn: str, service: str, source_arn: str) -> bool:
    """Whether the role's trust policy lets the service act for this account and resource."""
    return service_may_assume(call.world, role_arn, service, call.account, source_arn)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def role_reads(world: World, role: str, bucket: str, key: str, action: str = "s3:GetObject") -> bool:
    """Whether the role may; asked only where IAM is enforced."""
    return not world.settings.enforce_iam or role_may(world, role, action, f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else ""))
