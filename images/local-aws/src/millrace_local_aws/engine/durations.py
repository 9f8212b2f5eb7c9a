"""How long states last, in seconds of the clock: about what AWS takes. Settings replace single ones, or make all of them shorter.

With containers that really run, a short pace is better than a fast clock: a limit of an hour stays an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace_local_aws.world import World

DURATIONS = {
    "sagemaker.training/Starting": 60.0,
    "sagemaker.training/Downloading": 30.0,
    "sagemaker.training/Training": 120.0,
    "sagemaker.training/Uploading": 15.0,
    "sagemaker.training/Stopping": 15.0,
    "sagemaker.training/Interrupted": 120.0,
    "sagemaker.training/Deleting": 5.0,
    "sagemaker.endpoint/Creating": 180.0,
    "sagemaker.endpoint/Updating": 240.0,
    "sagemaker.endpoint/RollingBack": 60.0,
    "sagemaker.endpoint/Deleting": 30.0,
    "sagemaker.algorithm/InProgress": 5.0,
    "sagemaker.model-package/InProgress": 5.0,
    "comprehend.classifier/SUBMITTED": 60.0,
    "comprehend.classifier/TRAINING": 300.0,
    "comprehend.classifier/STOP_REQUESTED": 30.0,
    "comprehend.classifier/DELETING": 30.0,
    "comprehend.endpoint/CREATING": 300.0,
    "comprehend.endpoint/UPDATING": 240.0,
    "comprehend.endpoint/DELETING": 30.0,
    "comprehend.job/SUBMITTED": 60.0,
    "comprehend.job/IN_PROGRESS": 120.0,
    "comprehend.flywheel/CREATING": 60.0,
    "comprehend.flywheel/UPDATING": 30.0,
    "comprehend.flywheel/DELETING": 30.0,
    "comprehend.dataset/CREATING": 60.0,
    "comprehend.iteration/EVALUATING": 60.0,
    "bedrock.job/Validating": 60.0,
    "bedrock.job/DataProcessing": 60.0,
    "bedrock.job/Stopping": 30.0,
    "bedrock.throughput/Creating": 300.0,
    "bedrock.throughput/Updating": 300.0,
    "bedrock.deployment/Creating": 120.0,
    "bedrock.deployment/Updating": 120.0,
    "quotas.request/PENDING": 3600.0,
}


def duration(world: World, state: str) -> float:
    """Of a state such as `sagemaker.endpoint/Creating`."""
    return float(world.settings.durations.get(state, DURATIONS[state] * world.settings.pace))


def container_seconds(world: World, seconds: float) -> float:
    """Seconds of the clock in which a container has so many of its own: real ones are no faster for a fast clock."""
    return seconds if world.settings.runner == "scripted" else seconds * max(1.0, world.clock.speed)
