"""What comes next for an endpoint on SageMaker, and which instance type is tried."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millrace_controllers.modelendpoint.observed import Hosted, Memory, Stage
from millrace_controllers.modelendpoint.plan import Aim, Move, first_free, must_go, next_move, remembered

AIM = Aim("t-abc123-0123456789ab-0", "probe", "1")
OTHER = "t-abc123-ba9876543210-0"
FRESH = Memory()
GOOD = Memory(probed=f"{AIM.config} probe", scaled="1")


def at(stage: Stage, config: str = AIM.config, failure: str = "") -> Hosted:
    return Hosted("t-abc123", stage, config="" if stage is Stage.MISSING else config, failure=failure)


# endpoint, memory, move, reason
MOVES = [
    (at(Stage.MISSING), FRESH, Move.CREATE, "nothing is there"),
    (at(Stage.CREATING), FRESH, Move.WAIT, "SageMaker is at it"),
    (at(Stage.SERVING), FRESH, Move.PROBE, "InService is not yet answering"),
    (at(Stage.SERVING), replace(GOOD, scaled=""), Move.SCALE, "it answers; now as many as are wanted"),
    (at(Stage.SERVING), GOOD, Move.NOTHING, "all is as it shall be"),
    (at(Stage.SERVING), replace(GOOD, probed=f"{AIM.config} older"), Move.PROBE, "another golden request"),
    (at(Stage.SERVING, OTHER), GOOD, Move.UPDATE, "the spec changed"),
    (at(Stage.UPDATING, OTHER), GOOD, Move.WAIT, "an update is under way"),
    (at(Stage.ROLLING_BACK, OTHER), GOOD, Move.WAIT, "so is a return"),
    (at(Stage.SERVING, OTHER), replace(GOOD, updating_to=AIM.config), Move.ROLLED_BACK, "in service, but not what was begun"),
    (
        at(Stage.FAILED, failure="The primary container did not pass the ping health check"),
        FRESH,
        Move.BROKEN,
        "it would fail again",
    ),
    (at(Stage.FAILED, failure="Unable to provision requested ML compute capacity"), FRESH, Move.PASS_OVER, "no room at AWS"),
    (at(Stage.FAILED, OTHER, "whatever"), FRESH, Move.REMOVE, "a failed endpoint cannot be updated"),
    (at(Stage.DELETING), FRESH, Move.WAIT, "its name is not free yet"),
    (at(Stage.MIXED), GOOD, Move.BROKEN, "what serves is never taken away by itself"),
    (
        at(Stage.SERVING, OTHER, "Unable to provision requested ML compute capacity"),
        replace(GOOD, updating_to=AIM.config),
        Move.PASS_OVER,
        "an update that found no room",
    ),
]


@pytest.mark.parametrize(("hosted", "memory", "move", "reason"), MOVES, ids=[m[-1] for m in MOVES])
def test_what_comes_next(hosted: Hosted, memory: Memory, move: Move, reason: str) -> None:
    assert next_move(hosted, AIM, memory) is move, reason


# endpoint, move, reason
NOWHERE = [
    (at(Stage.MISSING), Move.NOWHERE, "nothing can be made"),
    (at(Stage.SERVING, OTHER), Move.NOWHERE, "what is there serves on"),
    (at(Stage.FAILED, OTHER, "capacity"), Move.REMOVE, "a failed endpoint is of no use"),
    (at(Stage.CREATING), Move.WAIT, "it may yet come up"),
]


@pytest.mark.parametrize(("hosted", "move", "reason"), NOWHERE, ids=[m[-1] for m in NOWHERE])
def test_with_no_instance_type_left(hosted: Hosted, move: Move, reason: str) -> None:
    assert next_move(hosted, replace(AIM, config=""), GOOD) is move, reason


@pytest.mark.parametrize("stage", list(Stage))
def test_what_is_suspended_must_go_unless_it_is_gone_or_going(stage: Stage) -> None:
    assert must_go(stage) is (stage not in {Stage.MISSING, Stage.DELETING})


# endpoint, what is remembered, what still holds, reason
REMEMBERED = [
    (at(Stage.SERVING), GOOD, GOOD, "nothing changed"),
    (at(Stage.MISSING), replace(GOOD, passed_over=(("t", "full"),)), Memory((("t", "full"),)), "a new endpoint must answer anew"),
    (
        replace(at(Stage.UPDATING, OTHER), pending=AIM.config),
        FRESH,
        Memory(updating_to=AIM.config),
        "killed before it was written",
    ),
    (replace(at(Stage.UPDATING, OTHER), pending="else"), FRESH, FRESH, "an update to something else"),
]


@pytest.mark.parametrize(("hosted", "memory", "holds", "reason"), REMEMBERED, ids=[r[-1] for r in REMEMBERED])
def test_what_still_holds(hosted: Hosted, memory: Memory, holds: Memory, reason: str) -> None:
    assert remembered(hosted, AIM.config, memory) == holds, reason


def test_a_number_of_instances_that_is_not_the_wanted_one_is_set_again() -> None:
    counted = replace(AIM, count=2)
    assert next_move(replace(at(Stage.SERVING), desired=2), counted, GOOD) is Move.NOTHING
    assert next_move(replace(at(Stage.SERVING), desired=1), counted, GOOD) is Move.SCALE
    assert next_move(replace(at(Stage.SERVING), desired=9), AIM, GOOD) is Move.NOTHING, "autoscaling chooses by itself"


def test_types_are_tried_in_order_and_those_passed_over_are_not_tried_again() -> None:
    types = ("ml.a.large", "ml.b.large", "ml.c.large")
    assert first_free(types, FRESH) == 0
    assert first_free(types, Memory(passed_over=(("ml.a.large", "full"),))) == 1
    assert first_free(types, Memory(passed_over=tuple((t, "full") for t in types))) is None
