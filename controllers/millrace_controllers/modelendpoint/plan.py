"""Decides what an endpoint needs next. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from millrace_controllers.modelendpoint.observed import Hosted, Memory, Observed, Stage, Target


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


class Move(Enum):
    """What comes next for an endpoint on SageMaker."""

    CREATE = "create"
    UPDATE = "update"
    """To the configuration that is wanted; SageMaker moves the traffic once its instances are in service."""
    REMOVE = "remove"
    """The endpoint alone: it failed, and is in the way of another try."""
    PASS_OVER = "pass over"
    """There is no capacity for the instance type: the next one is tried."""
    PROBE = "probe"
    SCALE = "scale"
    WAIT = "wait"
    """SageMaker is at it."""
    ROLLED_BACK = "rolled back"
    """An update ended with the configuration before it: nothing is tried until the spec changes."""
    BROKEN = "broken"
    """It failed, and would again."""
    NOWHERE = "nowhere"
    """None of the instance types can be had now."""
    NOTHING = "nothing"


_CAPACITY = re.compile(r"capacity|InsufficientInstance|CapacityError", re.IGNORECASE)


@dataclass(frozen=True)
class Aim:
    """What shall be: the configuration that serves ("" where no instance type is left to try), the golden request that it has
    answered, and how many instances there are; `count` where that is one number."""

    config: str
    probe: str
    scaling: str
    count: int | None = None


def proof(config: str, aim: Aim) -> str:
    """What is remembered of a configuration that answered."""
    return f"{config} {aim.probe}"


def next_move(hosted: Hosted, aim: Aim, memory: Memory) -> Move:
    """What comes next for an endpoint that is not suspended."""
    match hosted.stage:
        case Stage.MISSING:
            return Move.CREATE if aim.config else Move.NOWHERE
        case Stage.FAILED:
            return _failed(hosted, aim.config)
        case Stage.MIXED:
            return Move.BROKEN
        case Stage.SERVING:
            return _serving(hosted, aim, memory)
        case _:
            return Move.WAIT


def must_go(stage: Stage) -> bool:
    """Whether there is something to take away where nothing shall be."""
    return stage not in {Stage.MISSING, Stage.DELETING}


def _failed(hosted: Hosted, wanted: str) -> Move:
    """A failed endpoint cannot be updated; it is kept for its words unless there is something else to try."""
    if hosted.config != wanted:
        return Move.REMOVE
    return Move.PASS_OVER if _CAPACITY.search(hosted.failure) else Move.BROKEN


def _serving(hosted: Hosted, aim: Aim, memory: Memory) -> Move:
    if not aim.config:
        return Move.NOWHERE
    if hosted.config != aim.config:
        return _not_yet_wanted(hosted, aim, memory)
    if memory.probed != proof(hosted.config, aim):
        return Move.PROBE
    drifted = aim.count is not None and hosted.desired != aim.count
    return Move.SCALE if drifted or memory.scaled != aim.scaling else Move.NOTHING


def _not_yet_wanted(hosted: Hosted, aim: Aim, memory: Memory) -> Move:
    if memory.updating_to != aim.config:
        return Move.UPDATE
    return Move.PASS_OVER if _CAPACITY.search(hosted.failure) else Move.ROLLED_BACK


def remembered(hosted: Hosted, aim_config: str, memory: Memory) -> Memory:
    """What still holds: of an endpoint that is not there nothing but what could not be had, and an update under way is known
    by its own words even where an operator was killed before it wrote them down."""
    if hosted.stage is Stage.MISSING:
        return Memory(passed_over=memory.passed_over)
    if hosted.stage is Stage.UPDATING and hosted.pending and hosted.pending == aim_config:
        return replace(memory, updating_to=aim_config)
    return memory


def first_free(types: Sequence[str], memory: Memory) -> int | None:
    """Place of the first instance type that was not passed over; None where all were."""
    gone = {name for name, _ in memory.passed_over}
    return next((place for place, name in enumerate(types) if name not in gone), None)
