"""Comprehend's custom classification: classifiers that are really trained, endpoints, jobs, flywheels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millrace_local_aws.services.comprehend import (
    classifier_life,
    classifiers,
    datasets,
    endpoints,
    flywheels,
    iterations,
    jobs,
    realtime,
    tags,
)
from millrace_local_aws.services.comprehend.service import COMPREHEND

if TYPE_CHECKING:
    from millrace_local_aws.world import World

__all__ = ["COMPREHEND", "classifiers", "endpoints", "flywheels", "realtime", "resume", "tags"]


def resume(world: World) -> None:
    """Once the loop runs: begin again what a restart has cut off."""
    for part in (classifier_life, jobs, datasets, iterations):
        part.resume(world)
