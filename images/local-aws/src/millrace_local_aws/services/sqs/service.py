"""The service and what all its operations need."""

from __future__ import annotations

from millrace_local_aws.access.authorize import context_of, decide, denied, resource_policy_allows
from millrace_local_aws.access.policies import Decision, Question
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services.sqs.queues import Queue
from millrace_local_aws.wire.errors import AwsError

SQS = Service(
    "sqs", "sqs", target="AmazonSQS", invalid="InvalidParameterValue", throttled=("RequestThrottled", 400), tagging="TagQueue"
)


def missing() -> AwsError:
    return AwsError("QueueDoesNotExist", "The specified queue does not exist.", 400)


def named(request: Input) -> tuple[str, str]:
    """Account and name from a queue's URL; the host in it does not matter."""
    parts = request["QueueUrl"].rstrip("/").rsplit("/", 2)
    return (parts[-2], parts[-1]) if len(parts) >= 2 else ("", parts[-1])


def queue_arn(call: Call, request: Input) -> str:
    """What IAM is asked about."""
    if "QueueUrl" in request:
        account, name = named(request)
        return f"arn:aws:sqs:{call.region}:{account}:{name}"
    return f"arn:aws:sqs:{call.region}:{call.account}:{request.get('QueueName', '*')}"


def queue_of(call: Call, request: Input) -> Queue:
    """The queue a request names, if the caller may do this to it."""
    account, name = named(request)
    queue = call.world.sqs.find(f"{account}/{call.region}", name)
    if queue is None:
        raise missing()
    _permit(call, queue)
    return queue


def _permit(call: Call, queue: Queue) -> None:
    """Within the account an identity policy or the queue's own is enough; from another account the queue's must allow."""
    if call.principal.kind == "root" and queue.account == call.account:
        return
    action = f"sqs:{call.operation.removesuffix('Batch')}"
    context = context_of(call.world, call.principal, call.region, call.incoming.source_ip)
    question = Question(action, queue.arn, context, call.principal.names())
    if resource_policy_allows(queue.attributes.get("Policy"), question):
        return
    if queue.account == call.account:
        decision = decide(call.world, call.principal, question) if call.world.settings.enforce_iam else Decision.ALLOW
        if decision is Decision.ALLOW:
            return
    raise denied("sqs", call.principal, action, queue.arn)
