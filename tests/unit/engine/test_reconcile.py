"""One pass: what is written, when, and what follows it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest

from millrace.api.v1alpha1.trainingjob import KIND
from millrace.engine.cache import Cache, Key
from millrace.engine.conditions import for_error
from millrace.engine.controller import Controller, Pass
from millrace.engine.errors import NameConflict, Retry, Terminal, Waiting
from millrace.engine.outcome import Event, Outcome, Verdict
from millrace.engine.progress import Board
from millrace.engine.queue import Backoff, Queue
from millrace.engine.reconcile import Engine, WriteBudget
from millrace.engine.settings import Settings
from millrace.kube import labels
from millrace.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Unavailable
from millrace.kube.resources import EVENTS, JOBS, Resource
from millrace.telemetry.metrics import Metrics
from support import builders
from support.clock import FakeClock

Object = dict[str, Any]
KEY = Key("trainingjobs", builders.NAMESPACE, "gpt")
FINE = Outcome((Verdict("Succeeded", "Unknown", "Running", "it runs"),), {"attempt": 1})


class Api:
    """Takes writes and remembers them; `fail` names a write that raises."""

    def __init__(self) -> None:
        self.statuses: list[Object] = []
        self.patches: list[Object] = []
        self.events: list[Object] = []
        self.held: Object | None = None
        self.fail: dict[str, Exception] = {}

    def _maybe_fail(self, verb: str) -> None:
        if verb in self.fail:
            raise self.fail[verb]

    async def patch_status(self, _: Resource, namespace: str, name: str, uid: str, patch: Object) -> Object:
        self._maybe_fail("patch_status")
        self.statuses.append(patch)
        assert self.held is not None
        self.held = builders.merged(self.held, {"metadata": {"resourceVersion": "99"}, "status": patch})
        return self.held

    async def patch(self, _: Resource, namespace: str, name: str, body: Object) -> Object:
        self._maybe_fail("patch")
        self.patches.append(body)
        assert self.held is not None
        self.held = builders.merged(self.held, body)
        self.held["metadata"]["resourceVersion"] = "50"
        return self.held

    async def create(self, resource: Resource, manifest: Object) -> Object:
        self._maybe_fail("create")
        if resource == EVENTS:
            self.events.append(manifest)
        return {**manifest, "metadata": {**manifest["metadata"], "uid": "made", "resourceVersion": "60"}}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        assert self.held is not None
        return self.held


class World:
    """An engine with one kind whose stages a test writes."""

    def __init__(self, stage: Callable[[Pass], Outcome], obj: Object | None = None, **controller: Any) -> None:
        self.clock, self.api, self.cache, self.board = FakeClock(), Api(), Cache(), Board()
        self.queue = Queue(self.clock, Backoff(base=1, limit=64, jitter=0), random.Random(0))
        self.metrics = Metrics()
        self.stages: list[str] = []

        async def reconcile(ctx: Pass) -> Outcome:
            self.stages.append("reconcile")
            return stage(ctx)

        async def finalize(ctx: Pass) -> Outcome:
            self.stages.append("finalize")
            return stage(ctx)

        self.controller = Controller(
            kind=KIND,
            reconcile=reconcile,
            finalize=finalize,
            explain=controller.pop("explain", lambda _obj, _error: None),
            children=(),
            rules=(),
            reasons=(),
            progress_fields=frozenset({"progress"}),
            **controller,
        )
        self.budget = WriteBudget(self.clock, 1)
        self.engine = Engine(
            self.api,  # type: ignore[arg-type]
            self.cache,
            self.queue,
            self.board,
            self.clock,
            Settings(),
            self.metrics,
            {KIND.plural: self.controller},
            self.budget,
        )
        self.put(obj if obj is not None else builders.training_job())

    def put(self, obj: Object) -> None:
        self.api.held = obj
        self.cache.put(KIND.plural, obj)

    async def run(self) -> None:
        await self.engine.run(KEY)

    def next_pass_in(self) -> float | None:
        """Seconds until the queue gives the key again; None for never."""
        due = [when for when, _, key in self.queue._delayed if key == KEY and self.queue._due.get(key) == when]
        return 0.0 if self.queue.depth else min(due) - self.clock.monotonic() if due else None

    def counted(self, result: str) -> float:
        found = self.metrics.registry.get_sample_value("millrace_reconcile_total", {"kind": "TrainingJob", "result": result})
        return found or 0.0


def raises(error: Exception) -> Callable[[Pass], Outcome]:
    def stage(_: Pass) -> Outcome:
        raise error

    return stage


# -- which passes act ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deleting", [False, True], ids=["living", "being deleted"])
async def test_a_paused_object_is_left_alone(deleting: bool) -> None:
    metadata: Object = {"annotations": {labels.PAUSED: "true"}}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world = World(lambda _: FINE, builders.training_job(metadata=metadata))
    await world.run()
    assert (world.stages, world.api.statuses, world.api.patches) == ([], [], [])


async def test_an_object_whose_pause_is_false_is_served() -> None:
    world = World(lambda _: FINE, builders.training_job(metadata={"annotations": {labels.PAUSED: "false"}}))
    await world.run()
    assert world.stages == ["reconcile"]


async def test_an_object_that_goes_and_has_not_our_finalizer_is_not_ours_any_more() -> None:
    gone = builders.training_job(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["other/one"]})
    world = World(lambda _: FINE, gone)
    await world.run()
    assert (world.stages, world.api.statuses, world.api.patches) == ([], [], [])


async def test_the_finalizer_is_there_before_the_first_stage_and_others_stay() -> None:
    seen: list[Object] = []
    world = World(lambda ctx: seen.append(ctx.object) or FINE, builders.training_job(metadata={"finalizers": ["other/one"]}))  # type: ignore[func-returns-value]
    await world.run()
    assert world.api.patches == [{"metadata": {"resourceVersion": "10", "finalizers": ["other/one", labels.FINALIZER]}}]
    assert labels.FINALIZER in seen[0]["metadata"]["finalizers"]


async def test_without_the_finalizer_no_stage_runs() -> None:
    world = World(lambda _: FINE, builders.training_job(metadata={"finalizers": None}))
    world.api.fail["patch"] = Conflict(409, "Conflict", "somebody wrote")
    await world.run()
    assert (world.stages, world.api.statuses) == ([], [])
    assert world.next_pass_in() == 1


async def test_deletion_goes_through_finalize_and_ends_by_taking_our_finalizer_off() -> None:
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["other/one", labels.FINALIZER]}
    world = World(lambda _: Outcome(released=True), builders.training_job(metadata=metadata))
    world.board.put(builders.push())
    await world.run()
    assert world.stages == ["finalize"]
    assert world.api.patches == [{"metadata": {"resourceVersion": "10", "finalizers": ["other/one"]}}]
    assert world.api.statuses == [], "an object that is gone needs no status"
    assert world.board.pushes == {}


async def test_what_there_is_to_say_of_a_deleted_object_is_said_before_it_is_gone() -> None:
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [labels.FINALIZER]}
    said = (Event("SubscriptionStays", "end it yourself"),)
    world = World(lambda _: Outcome(released=True, events=said), builders.training_job(metadata=metadata))
    world.api.fail["patch"] = Conflict(409, "Conflict", "somebody wrote")
    await world.run()
    assert [e["reason"] for e in world.api.events] == ["SubscriptionStays"], "what is gone has no events"


async def test_an_object_that_is_gone_from_the_cache_makes_no_pass_and_loses_its_backoff() -> None:
    world = World(lambda _: FINE)
    world.queue.failed(KEY)
    world.cache.remove(KIND.plural, builders.training_job())
    await world.run()
    assert world.stages == []
    assert world.queue.failed(KEY) == 1


# -- what is written -----------------------------------------------------------------------------------------------------


async def test_the_status_is_written_once_and_then_only_on_a_difference() -> None:
    world = World(lambda _: FINE)
    for _ in range(3):
        await world.run()
        world.clock.advance(60)
    assert len(world.api.statuses) == 1
    assert world.api.statuses[0]["attempt"] == 1
    assert world.api.statuses[0]["conditions"][0]["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    held = world.cache.get(KEY)
    assert held is not None
    assert held["status"]["attempt"] == 1, "the answer of the write is what the next pass sees"


async def test_a_forced_pass_is_echoed() -> None:
    world = World(lambda _: FINE, builders.training_job(metadata={"annotations": {labels.RECONCILE_AT: "today"}}))
    await world.run()
    assert world.api.statuses[0]["lastReconcileAt"] == "today"


async def test_events_follow_the_status_and_are_not_repeated() -> None:
    outcome = Outcome(FINE.conditions, FINE.fields, (Event("Started", "it began"),))
    world = World(lambda _: outcome)
    await world.run()
    await world.run()
    assert [e["reason"] for e in world.api.events] == ["Started"]


@pytest.mark.parametrize("error", [Unavailable(503, "", "down"), NotFound(404, "NotFound", "gone")], ids=["down", "gone"])
async def test_there_is_no_event_without_a_written_status(error: Exception) -> None:
    world = World(lambda _: Outcome(FINE.conditions, {}, (Event("Started", "it began"),)))
    world.api.fail["patch_status"] = error
    await world.run()
    assert world.api.events == []


async def test_an_event_that_cannot_be_posted_does_not_fail_the_pass() -> None:
    world = World(lambda _: Outcome(FINE.conditions, {}, (Event("Started", "it began"),)))
    world.api.fail["create"] = Forbidden(403, "Forbidden", "no")
    await world.run()
    assert world.counted("ok") == 1
    assert world.next_pass_in() is None


async def test_a_status_that_could_not_be_written_is_tried_again_with_growing_pauses() -> None:
    world = World(lambda _: FINE)
    world.api.fail["patch_status"] = Unavailable(503, "", "down")
    pauses = []
    for _ in range(3):
        await world.run()
        pause = world.next_pass_in()
        assert pause is not None
        pauses.append(pause)
        world.clock.advance(pause)
        await world.queue.get()
        world.queue.done(KEY)
    assert pauses == [1, 2, 4]


async def test_the_next_look_is_when_the_stages_ask_for_it() -> None:
    world = World(lambda _: Outcome(FINE.conditions, requeue_after=15))
    await world.run()
    assert world.next_pass_in() == 15


# -- progress ------------------------------------------------------------------------------------------------------------


def at_step(step: int, requeue_after: float | None = None) -> Outcome:
    return Outcome(FINE.conditions, {"attempt": 1, "progress": {"step": step}}, requeue_after=requeue_after)


async def test_progress_is_written_within_the_budget_and_put_off_beyond_it() -> None:
    outcomes = iter([at_step(1), at_step(2), at_step(3), at_step(4, requeue_after=15), at_step(5)])
    world = World(lambda _: next(outcomes))
    await world.run()
    assert len(world.api.statuses) == 1, "the first tells of more than progress and costs nothing"
    await world.run()
    assert world.api.statuses[1:] == [{"progress": {"step": 2}}]
    await world.run()
    assert len(world.api.statuses) == 2, "one a second: this one waits"
    assert world.next_pass_in() == 1
    await world.run()
    assert world.next_pass_in() == 1, "and is looked at when it may go, not when the stages look again"
    world.clock.advance(1)
    await world.run()
    assert world.api.statuses[2:] == [{"progress": {"step": 5}}]


async def test_a_change_of_state_goes_at_once_however_little_budget_is_left() -> None:
    outcomes = iter([at_step(1), at_step(2), Outcome((Verdict("Succeeded", "True", "Succeeded", "done"),), {"attempt": 1})])
    world = World(lambda _: next(outcomes))
    for _ in range(3):
        await world.run()
    assert world.api.statuses[-1]["conditions"][0]["status"] == "True"


# rate, seconds between two writes in the long run
@pytest.mark.parametrize(("rate", "pause"), [(20, 0.05), (1, 1), (0.5, 2), (0.01, 100)])
def test_a_budget_gives_its_rate_and_no_more(rate: float, pause: float) -> None:
    clock = FakeClock()
    budget = WriteBudget(clock, rate)
    while not budget.take():
        pass
    begun, written = clock.monotonic(), 0
    while written < 50:
        wait = budget.take()
        if wait:
            clock.advance(wait + 1e-9)
        else:
            written += 1
    assert (clock.monotonic() - begun) / 50 == pytest.approx(pause, rel=0.03)


# -- what goes wrong -----------------------------------------------------------------------------------------------------

# error, reason, result, next pass, why
ERRORS: list[tuple[Exception, str, str, float | None, str]] = [
    (Retry("broken pipe"), "RetryingAfterError", "error", 1, "backoff"),
    (Retry("slow down", after=30), "RetryingAfterError", "error", 30, "the server named a pause"),
    (Waiting("no such Secret", after=45), "RetryingAfterError", "ok", 45, "nothing wakes it: look again in a while"),
    (Terminal("wrong"), "InvalidSpec", "ok", None, "only a change of the spec, which wakes it, can help"),
    (NameConflict("taken"), "NameConflict", "ok", None, "the same"),
    (Unavailable(0, "", "down"), "RetryingAfterError", "error", 1, "an API error of a stage is told as what it means"),
    (Forbidden(403, "Forbidden", "quota"), "PermissionDenied", "ok", 30, "a quota may change"),
    (Invalid(422, "Invalid", "bad"), "InvalidSpec", "ok", None, "the child's manifest is invalid"),
    (ZeroDivisionError("oops"), "InternalError", "error", 1, "an unknown error is told, tried again and kills nobody"),
]


@pytest.mark.parametrize("row", ERRORS, ids=[f"{type(r[0]).__name__}: {r[-1]}" for r in ERRORS])
async def test_an_error_becomes_conditions_and_a_next_try(row: tuple[Exception, str, str, float | None, str]) -> None:
    error, reason, result, pause, why = row
    world = World(raises(error))
    await world.run()
    assert world.api.statuses[0]["conditions"][0]["reason"] == reason
    assert world.next_pass_in() == pause, why
    assert world.counted(result) == 1


async def test_the_pause_grows_while_the_error_stays_though_the_status_says_it_already() -> None:
    world = World(raises(Retry("broken pipe")))
    pauses = []
    for _ in range(4):
        await world.run()
        pause = world.next_pass_in()
        assert pause is not None
        pauses.append(pause)
        world.clock.advance(pause)
        await world.queue.get()
        world.queue.done(KEY)
    assert pauses == [1, 2, 4, 8]
    assert len(world.api.statuses) == 1


@pytest.mark.parametrize(
    "error", [Retry("conflict", silent=True), Conflict(409, "Conflict", "m"), AlreadyExists(409, "AlreadyExists", "m")]
)
async def test_a_silent_error_is_neither_shown_nor_logged_and_is_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(raises(error))
    with caplog.at_level(logging.WARNING):
        await world.run()
    assert world.api.statuses == []
    assert caplog.records == []
    assert world.next_pass_in() == 1
    assert world.counted("retry") == 1
    errors = world.metrics.registry.get_sample_value("millrace_reconcile_errors_total", {"kind": "TrainingJob", "error": "Retry"})
    assert errors == 1, "one pass, one error"


async def test_a_terminal_error_is_told_in_an_event_too() -> None:
    world = World(raises(Terminal("wrong")))
    await world.run()
    await world.run()
    assert [(e["type"], e["reason"], e["message"]) for e in world.api.events] == [("Warning", "InvalidSpec", "wrong")]


async def test_a_kind_may_explain_an_error_in_its_own_words() -> None:
    own = (Verdict("Succeeded", "Unknown", "SourceNotFound", "look there"),)
    world = World(raises(Waiting("x")), explain=lambda _obj, _error: own)
    await world.run()
    assert [c["reason"] for c in world.api.statuses[0]["conditions"]] == ["SourceNotFound"]


async def test_a_good_pass_after_errors_forgets_them() -> None:
    calls = iter([Retry("x"), Retry("x"), None, Retry("x")])

    def stage(_: Pass) -> Outcome:
        error = next(calls)
        if error:
            raise error
        return FINE

    world = World(stage)
    for _ in range(4):
        await world.run()
    assert world.queue._failures[KEY] == 1


async def test_a_cancelled_pass_stays_cancelled() -> None:
    def stage(_: Pass) -> Outcome:
        raise KeyboardInterrupt

    world = World(stage)
    with pytest.raises(KeyboardInterrupt):
        await world.run()


# -- hands of a pass -----------------------------------------------------------------------------------------------------


async def made_by(world: World, existing: Object | None) -> Object:
    manifest = builders.job(builders.training_job())
    del manifest["metadata"]["uid"]
    if existing is not None:
        world.api.fail["create"] = AlreadyExists(409, "AlreadyExists", "exists")
        world.api.held = existing
    obj = world.cache.get(KEY)
    assert obj is not None
    ctx = Pass(obj, world.controller, world.api, world.cache, world.board, world.clock, Settings())  # type: ignore[arg-type]
    return await ctx.create(JOBS, manifest)


async def test_a_child_that_was_made_is_known_at_once() -> None:
    world = World(lambda _: FINE)
    made = await made_by(world, None)
    assert world.cache.children(builders.UID, "jobs")[0]["metadata"]["name"] == made["metadata"]["name"]
    assert world.cache.children(builders.UID, "jobs")[0]["kind"] == "Job"


async def test_a_child_that_is_there_already_and_ours_is_adopted() -> None:
    world = World(lambda _: FINE)
    ours = builders.job(builders.training_job())
    assert await made_by(world, ours) == ours
    assert len(world.cache.children(builders.UID, "jobs")) == 1


async def test_a_child_of_somebody_else_under_our_name_is_a_conflict() -> None:
    world = World(lambda _: FINE)
    theirs = builders.job(builders.training_job())
    theirs["metadata"]["labels"] = {}
    with pytest.raises(NameConflict, match="was not made for this object"):
        await made_by(world, theirs)


def test_a_child_of_another_object_under_our_name_is_not_ours_to_see() -> None:
    world = World(lambda _: FINE)
    other = builders.training_job(metadata={"uid": "99999999-0000"})
    theirs = builders.job(other)
    world.cache.put("jobs", theirs)
    obj = world.cache.get(KEY)
    assert obj is not None
    ctx = Pass(obj, world.controller, world.api, world.cache, world.board, world.clock, Settings())  # type: ignore[arg-type]
    assert ctx.child(JOBS, theirs["metadata"]["name"]) is None
    assert ctx.children(JOBS) == []


def test_the_engine_has_words_for_both_summaries() -> None:
    assert {for_error(s, Retry("x"))[0].type for s in ("Ready", "Succeeded")} == {"Ready", "Succeeded"}


async def test_a_retry_whose_turn_has_not_come_comes_again_when_it_said_however_often() -> None:
    world = World(raises(Retry("it waits for its turn", after=3, patient=True)))
    for _ in range(5):
        await world.run()
        assert world.next_pass_in() == pytest.approx(3)
        world.clock.advance(3)
        assert await world.queue.get() == KEY
        world.queue.done(KEY)
    assert world.counted("error") == 0
