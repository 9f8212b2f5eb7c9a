"""Bedrock's control plane: foundation models, customization jobs, custom models, and what serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millrace_local_aws.services.bedrock import deployments, foundation, job_life, jobs, models, tags, throughputs
from millrace_local_aws.services.bedrock.service import BEDROCK

if TYPE_CHECKING:
    from millrace_local_aws.world import World

__all__ = ["BEDROCK", "deployments", "foundation", "jobs", "models", "resume", "tags", "throughputs"]


def resume(world: World) -> None:
    """Once the loop runs: begin again what a restart has cut off."""
    for part in (job_life, throughputs, deployments):
        part.resume(world)
