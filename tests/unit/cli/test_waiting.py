"""When `millrace wait` ends, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millrace.api.v1alpha1.dataset import KIND as DATASET
from millrace.api.v1alpha1.trainingjob import KIND as JOB
from millrace.cli.problems import Exit, Problem
from millrace.cli.waiting import Decision, Wanted, decide, seconds, told, until

Build = Callable[..., dict[str, Any]]
SUMMARY = Wanted()


@pytest.mark.parametrize(
    ("conditions", "wanted", "expected", "reason"),
    [
        ([], SUMMARY, Decision.WAITING, "nothing is known yet"),
        ([("Succeeded", "Unknown"), ("Reconciling", "True")], SUMMARY, Decision.WAITING, "under way"),
        ([("Succeeded", "True")], SUMMARY, Decision.REACHED, "the summary condition is the default"),
        ([("Succeeded", "False")], SUMMARY, Decision.FAILED, "a bounded run does not come back"),
        ([("Succeeded", "Unknown"), ("Stalled", "True")], SUMMARY, Decision.FAILED, "nothing goes on by itself"),
        ([("Succeeded", "Unknown", "Suspended")], SUMMARY, Decision.WAITING, "somebody may resume it"),
        ([("Succeeded", "False"), ("Stalled", "True")], Wanted("Succeeded", "False"), Decision.REACHED, "failure was waited for"),
        ([("Succeeded", "False"), ("Stalled", "True")], Wanted("Stalled"), Decision.REACHED, "so was the stall"),
        ([("Succeeded", "True")], Wanted("Reconciling"), Decision.WAITING, "another condition was asked for"),
        ([("Succeeded", "True")], Wanted("deleted"), Decision.WAITING, "it is still there"),
    ],
)
def test_what_is_seen_decides(
    job: Build, conditions: list[tuple[str, ...]], wanted: Wanted, expected: Decision, reason: str
) -> None:
    assert decide(job(*conditions), JOB, wanted) is expected, reason


def test_conditions_of_an_older_spec_decide_nothing(job: Build) -> None:
    assert decide(job(("Succeeded", "False"), ("Stalled", "True"), generation=3, observed=2), JOB, SUMMARY) is Decision.WAITING


def test_a_lasting_thing_that_is_not_ready_is_waited_for(job: Build) -> None:
    assert decide(job(("Ready", "False")), DATASET, SUMMARY) is Decision.WAITING


def test_an_object_that_is_gone_is_missing_unless_its_end_was_waited_for() -> None:
    assert decide(None, JOB, SUMMARY) is Decision.MISSING
    assert decide(None, JOB, Wanted("deleted")) is Decision.REACHED


@pytest.mark.parametrize(
    ("decision", "code"),
    [
        (Decision.REACHED, Exit.OK),
        (Decision.FAILED, Exit.FAILED),
        (Decision.WAITING, Exit.TIMED_OUT),
        (Decision.MISSING, Exit.NOT_FOUND),
    ],
)
def test_each_end_has_its_own_exit_code(job: Build, decision: Decision, code: Exit) -> None:
    assert told(decision, job(("Succeeded", "Unknown")), JOB, "trainingjob/gpt", SUMMARY).code is code


def test_a_failure_says_why_and_what_to_do_next(job: Build) -> None:
    failed = job(("Succeeded", "False", "NameConflict", "Job 'x' exists"))
    end = told(Decision.FAILED, failed, JOB, "trainingjob/gpt", SUMMARY)
    assert end.message == "trainingjob/gpt: failed: NameConflict: Job 'x' exists"
    assert end.next_step == "Rename or delete that object, or rename this one."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Wanted("", "True")),
        ("Ready", Wanted("Ready", "True")),
        ("condition=Ready", Wanted("Ready", "True")),
        ("Succeeded=false", Wanted("Succeeded", "False")),
        ("delete", Wanted("deleted", "True")),
        ("deleted", Wanted("deleted", "True")),
    ],
)
def test_for_is_written_as_kubectl_writes_it_or_shorter(text: str, expected: Wanted) -> None:
    assert Wanted.parse(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("", None), ("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_durations(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("wrong", ["soon", "5d", "-1s", "1m30s"])
def test_a_wrong_duration_is_a_wrong_command_line(wrong: str) -> None:
    with pytest.raises(Problem) as raised:
        seconds(wrong)
    assert raised.value.code is Exit.USAGE


class World:
    """Time that passes when somebody sleeps, and an object that changes with it."""

    def __init__(self, *seen: tuple[float, dict[str, Any] | None]) -> None:
        self.now = 100.0
        self.seen = seen

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, amount: float) -> None:
        self.now += amount

    async def look(self) -> dict[str, Any] | None:
        return [obj for since, obj in self.seen if self.now >= 100 + since][-1]


async def test_waiting_ends_as_soon_as_it_is_decided_and_tells_each_change_once(job: Build) -> None:
    world = World(
        (0, job(("Succeeded", "Unknown", "Queued"))),
        (5, job(("Succeeded", "Unknown", "Training"))),
        (20, job(("Succeeded", "True", "Completed"))),
    )
    heard: list[str] = []
    decision, _ = await until(world.look, JOB, SUMMARY, None, heard.append, monotonic=world.monotonic, sleep=world.sleep)
    assert decision is Decision.REACHED
    assert heard == ["Queued", "Training"]
    assert world.now == 120


async def test_waiting_gives_up_at_its_time_out(job: Build) -> None:
    world = World((0, job(("Succeeded", "Unknown", "Queued"))))
    decision, _ = await until(world.look, JOB, SUMMARY, 30, lambda _: None, monotonic=world.monotonic, sleep=world.sleep)
    assert decision is Decision.WAITING
    assert world.now == 130


async def test_a_time_out_of_nothing_looks_once(job: Build) -> None:
    world = World((0, job(("Succeeded", "True"))))
    decision, _ = await until(world.look, JOB, SUMMARY, 0, lambda _: None, monotonic=world.monotonic, sleep=world.sleep)
    assert decision is Decision.REACHED
    assert world.now == 100
