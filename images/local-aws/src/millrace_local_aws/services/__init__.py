"""The services that are served here, whole, each in a module or folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace_local_aws.world import World


def install(world: World) -> None:
    """Give a world its services and their engines."""
    from millrace_local_aws.services import cloudwatch
    from millrace_local_aws.services.autoscaling import AUTOSCALING
    from millrace_local_aws.services.bedrock import BEDROCK
    from millrace_local_aws.services.bedrock_runtime import RUNTIME as BEDROCK_RUNTIME
    from millrace_local_aws.services.cloudwatch import CLOUDWATCH
    from millrace_local_aws.services.comprehend import COMPREHEND
    from millrace_local_aws.services.events import EVENTS
    from millrace_local_aws.services.events.bus import Bus
    from millrace_local_aws.services.iam import IAM, policies
    from millrace_local_aws.services.logs import LOGS
    from millrace_local_aws.services.logs.events import LogStore
    from millrace_local_aws.services.quotas import QUOTAS
    from millrace_local_aws.services.s3 import S3
    from millrace_local_aws.services.s3.objects import Objects
    from millrace_local_aws.services.sagemaker import SAGEMAKER
    from millrace_local_aws.services.sagemaker_runtime import RUNTIME
    from millrace_local_aws.services.sqs import SQS
    from millrace_local_aws.services.sqs.queues import Queues
    from millrace_local_aws.services.sts import STS

    base = (S3, SQS, STS, IAM, EVENTS, LOGS, CLOUDWATCH, QUOTAS)
    offered = (*base, SAGEMAKER, RUNTIME, AUTOSCALING, COMPREHEND, BEDROCK, BEDROCK_RUNTIME)
    world.services = {service.name: service for service in offered}
    world.sqs = Queues(world)
    world.s3 = Objects(world)
    world.events = Bus(world)
    world.logs = LogStore(world)
    policies.install(world)
    cloudwatch.install(world)
