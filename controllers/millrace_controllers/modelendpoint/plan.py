"""Decides what an endpoint needs next. Pure."""

from __future__ import annotations

from enum import Enum

from millrace_controllers.modelendpoint.observed import Observed, Target


class Step(Enum):
    """What comes next."""

    MAKE = "make"
    """Make everything as the spec says, or roll over to it."""
    SCALE = "scale"
    """Only the number of pods changes: their template stays as it is, whichever version of the operator made it."""
    NOTHING = "nothing"


def next_step(target: Target, replicas: int, observed: Observed, applied_generation: int | None) -> Step:
    """What comes next for an endpoint that is to have `replicas` pods; none when it is suspended.

    A Deployment of another generation than the one that our own last write gave it was changed by somebody else.
    """
    deployed = observed.deployed
    if deployed is None or not observed.complete or deployed.revision != target.revision:
        return Step.MAKE
    if applied_generation is not None and deployed.generation != applied_generation:
        return Step.MAKE
    return Step.NOTHING if deployed.replicas == replicas else Step.SCALE
