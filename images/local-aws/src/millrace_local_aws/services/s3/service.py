"""The service, and who may do what to a bucket and its objects."""

from __future__ import annotations

from datetime import UTC, datetime

from millrace_local_aws.access.authorize import context_of, decide, denied, denied_message
from millrace_local_aws.access.policies import Decision, Question, evaluate, parsed
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

S3 = Service("s3", "s3", invalid="InvalidArgument", throttled=("SlowDown", 503))


def resource(call: Call, request: Input) -> str:
    """A bucket's or an object's ARN."""
    if "Bucket" not in request:
        return "*"
    return f"arn:aws:s3:::{request['Bucket']}" + (f"/{request['Key']}" if request.get("Key") else "")


def permit(call: Call, request: Input, action: str) -> Record:
    """The bucket a request names, if the caller may do this to it; checks a presigned URL's time too."""
    _check_presigned(call)
    bucket = call.world.s3.bucket(request["Bucket"])
    expected = request.get("ExpectedBucketOwner")
    if expected and expected != bucket["account"]:
        raise AwsError("AccessDenied", "Access Denied", 403)
    check(call, bucket, f"s3:{action}", resource(call, request))
    return bucket


def check(call: Call, bucket: Record, action: str, arn: str) -> None:
    """In the owner's account an identity policy or the bucket's own is enough; from elsewhere the bucket's must allow."""
    policy, question = bucket["configuration"].get("policy"), _question(call, action, arn)
    own = evaluate([parsed(policy)], question) if policy else Decision.NONE
    if own is Decision.DENY:
        raise AwsError("AccessDenied", denied_message(call.principal, action, arn, Decision.DENY), 403)
    if own is Decision.ALLOW:
        return
    if call.account != bucket["account"]:
        raise denied("s3", call.principal, action, arn, Decision.NONE)
    check_account(call, action, arn)


def check_account(call: Call, action: str, arn: str = "*") -> None:
    """By identity policies alone, as of what concerns no bucket that exists."""
    question = _question(call, action, arn)
    decision = decide(call.world, call.principal, question) if call.world.settings.enforce_iam else Decision.ALLOW
    if decision is not Decision.ALLOW:
        raise denied("s3", call.principal, action, arn, decision)


def _question(call: Call, action: str, arn: str) -> Question:
    context = context_of(call.world, call.principal, call.region, call.incoming.source_ip)
    return Question(action, arn, context, call.principal.names())


def _check_presigned(call: Call) -> None:
    query, now = call.incoming.query, call.world.clock.wall()
    if "X-Amz-Expires" in query and "X-Amz-Date" in query:
        signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if now > signed + int(query["X-Amz-Expires"]):
            raise AwsError("AccessDenied", "Request has expired", 403)
    if "Expires" in query and "AWSAccessKeyId" in query and now > int(query["Expires"]):
        raise AwsError("AccessDenied", "Request has expired", 403)
