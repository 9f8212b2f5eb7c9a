"""One run in a small world where everything goes wrong: the real stages against pods, nodes and a claim in memory.

hypothesis chooses what happens: ranks crash, nodes go, somebody deletes the Job, the run is suspended, the operator dies between
what it did and its status write. Whatever happens, the promises at the end of this file hold.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace.api.schema import structural
from millrace.api.v1alpha1.trainingjob import TrainingJobStatus
from millrace.engine.clock import stamp
from millrace.engine.conditions import desired_status, find
from millrace.engine.outcome import Outcome
from millrace_controllers.trainingjob import reconcile
from millrace_controllers.trainingjob.observed import Attempt, Exit, JobState, Observed, RankPod, Verification
from support.builders import UID, typed_training
from support.clock import FakeClock
from support.schemas import problems

Object = dict[str, Any]
NODES, MAX_RESTARTS, TICK = 2, 2, 10
STATUS = structural(TrainingJobStatus)


@dataclass
class Pod:
    """A rank in the world. `leaving` counts the ticks of its grace; on a lost node nothing ends."""

    attempt: int
    index: int
    node: str
    state: str = "pending"
    exit: Exit | None = None
    preflight: Exit | None = None
    leaving: int | None = None
    deleted_at: Any = None
    lost: bool = False
    trained: int = 0

    @property
    def lives(self) -> bool:
        return self.state in {"pending", "running"}

    def seen(self) -> RankPod:
        running = self.state == "running"
        name = f"gpt-{self.attempt}-{self.index}"
        deleting = self.leaving is not None
        return RankPod(
            self.index, name, self.node, True, running, deleting, self.deleted_at, None, self.exit, self.preflight
        )  # fmt: skip


def reached(status: Object) -> int:
    """The highest number that an attempt has had: a new run begins without one, and counts on."""
    return max(int(status.get("attempt") or 0), int(status.get("endedAttempt") or 0))


@dataclass
class World:
    """The cluster and the claim; also the backend that the stages act by."""

    clock: FakeClock = field(default_factory=FakeClock)
    status: Object = field(default_factory=dict)
    run_id: str = ""
    suspend: bool = False
    jobs: dict[int, JobState] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    readers: dict[int, Object | None] = field(default_factory=dict)
    records: set[str] = field(default_factory=set)
    read_back: set[str] = field(default_factory=set)
    lost_nodes: set[str] = field(default_factory=set)
    made: list[int] = field(default_factory=list)
    machines: int = 0

    # -- the backend -----------------------------------------------------------------------------------------------

    async def observe(self, ctx: Any) -> Observed:
        ended = int(ctx.status.get("endedAttempt") or 0)
        number = ended + 1
        own = tuple(p.seen() for p in self.pods if p.attempt == number)
        job = self.jobs.get(number, JobState.MISSING)
        left = [f"job-{n}" for n in self.jobs if n <= ended]
        left += [p.seen().name for p in self.pods if p.attempt <= ended and p.lives and not p.lost]
        reader = Verification(UID, self.readers[number]) if number in self.readers else None
        bad = {p.node: "the node is gone" for p in self.pods if p.attempt == number and p.lost}
        current = Attempt(number, NODES, job, f"job-{number}" if number in self.jobs else None, own)
        return Observed(current, tuple(left), reader, bad_nodes=bad, monotonic=self.clock.monotonic())

    async def create(self, ctx: Any, _: Any) -> None:
        number = int(ctx.status.get("endedAttempt") or 0) + 1
        if number in self.jobs:
            return
        others = [p for p in self.pods if p.lives and not p.lost]
        assert not others, f"attempt {number} starts beside {others}"
        # Where the operator died before it wrote, and then the Job and all its pods went, nothing tells of the number any more.
        untold = number == max(self.made, default=0) and self.status.get("attempt") != number
        assert untold or number > max(self.made, default=0), f"attempt {number} after {self.made}"
        self.made.append(number)
        self.jobs[number] = JobState.ACTIVE
        for index in range(NODES):
            self.machines += 1
            self.pods.append(Pod(number, index, f"node-{self.machines}"))

    async def verify(self, ctx: Any) -> None:
        self.readers.setdefault(int(ctx.status.get("endedAttempt") or 0) + 1, None)

    async def clear(self, ctx: Any, *, keep_ended: bool) -> None:
        for number, state in list(self.jobs.items()):
            if not (keep_ended and state in {JobState.COMPLETE, JobState.FAILED}):
                self.delete_job(number)
        self.readers.clear()

    async def licence(self, _ctx: object) -> None:
        return None

    def warnings(self, _: Any) -> tuple[str, ...]:
        return ()

    # -- what happens ----------------------------------------------------------------------------------------------

    def delete_job(self, number: int) -> None:
        """In the background, as we and kubectl do: the Job is gone at once, its pods in their own time."""
        del self.jobs[number]
        self._stop(p for p in self.pods if p.attempt == number and p.lives)

    def _stop(self, pods: Any) -> None:
        for pod in pods:
            if pod.leaving is None:
                pod.leaving, pod.deleted_at = 2, self.clock.now()

    def tick(self) -> None:
        """Ten seconds of Kubernetes and training."""
        self.clock.advance(TICK)
        for pod in self.pods:
            self._live(pod)
        self.pods = [p for p in self.pods if p.lives or p.attempt in self.jobs]
        for number, state in self.jobs.items():
            if state is JobState.ACTIVE:
                self.jobs[number] = self._judged(number)
        for number, report in self.readers.items():
            if report is None:
                self.readers[number] = self._read()

    def _live(self, pod: Pod) -> None:
        if pod.lost or not pod.lives:
            return
        if pod.leaving is not None:
            pod.leaving -= 1
            if pod.leaving < 0:
                pod.state, pod.exit = "ended", Exit(85, "Error", "", None, self.clock.now())
        elif pod.state == "pending" and self.run_id in self.records:
            report = {"reason": "AlreadyDone", "message": "the output holds the record of this very run"}
            pod.state, pod.preflight = "ended", Exit(1, "Error", "", report, self.clock.now())
        elif pod.state == "pending":
            pod.state = "running"
        else:
            pod.trained += 1
            if pod.trained > 3:
                pod.state, pod.exit = "ended", Exit(0, "Completed", "", None, self.clock.now())

    def _judged(self, number: int) -> JobState:
        """The Job controller: one rank that failed ends the Job, which stops the others."""
        own = [p for p in self.pods if p.attempt == number]
        if any(p.seen().crash for p in own):
            self._stop(p for p in own if p.lives)
            return JobState.FAILED
        if all(p.exit is not None for p in own):
            self.records.add(self.run_id)
            return JobState.COMPLETE
        return JobState.ACTIVE

    def _read(self) -> Object:
        if self.run_id not in self.records:
            return {"ok": False, "reason": "RecordMissing", "message": "there is no record"}
        self.read_back.add(self.run_id)
        model = {"uri": "claim://results/gpt/model", "digest": "sha256:m", "files": 1, "bytes": 2}
        return {"ok": True, "model": model, "checkpoint": None, "metrics": {}, "steps": 4, "recordUID": UID}

    def happen(self, what: str, which: int) -> None:
        running = [p for p in self.pods if p.state == "running" and not p.lost]
        chosen = running[which % len(running)] if running else None
        match what:
            case "crash" if chosen:
                chosen.state, chosen.exit = "ended", Exit(1, "Error", "boom", None, self.clock.now())
            case "lose node" if chosen:
                chosen.lost = True
            case "delete pod" if chosen:
                self._stop([chosen])
            case "delete job" if self.jobs:
                self.delete_job(sorted(self.jobs)[which % len(self.jobs)])
            case "suspend":
                self.suspend = True
            case "resume":
                self.suspend = False
            case "wait":
                for _ in range(which):
                    self.tick()

    # -- the operator ----------------------------------------------------------------------------------------------

    def a_pass(self, *, dies_before_write: bool = False) -> None:
        spec = typed_training(runID=self.run_id or None, suspend=self.suspend, limits={"maxRestarts": MAX_RESTARTS})
        ctx = SimpleNamespace(status=dict(self.status), spec=spec, clock=self.clock, lookup=lambda *_: None)
        with patch.object(reconcile, "KUBERNETES", self):
            outcome: Outcome = run_to_end(reconcile.reconcile(ctx))  # type: ignore[arg-type]
        if not dies_before_write:
            self._store(desired_status(self.status, outcome, 1, stamp(self.clock.now())))

    def _store(self, new: Object) -> None:
        old = self.status
        assert problems(STATUS, new) == []
        assert int(new.get("endedAttempt") or 0) >= int(old.get("endedAttempt") or 0)
        assert reached(new) >= reached(old)
        counted = int((new.get("restarts") or {}).get("count") or 0)
        assert counted <= MAX_RESTARTS
        summary = find(new["conditions"], "Succeeded")
        assert summary is not None
        if summary["status"] == "True":
            assert self.run_id in self.read_back, "success without a read-back result"
        if old.get("completionTime") and old.get("runID", "") == self.run_id:
            assert new == old, "a final state changed"
        self.status = new

    def settle(self) -> Object:
        """No more faults: it must come to an end, and everything that runs must go."""
        self.suspend = False
        for _ in range(80):
            self.a_pass()
            self.tick()
            if self.status.get("completionTime") and not self.readers and not any(p.lives and not p.lost for p in self.pods):
                return self.status
        raise AssertionError(f"it does not end: {self.status}, {self.jobs}, {self.pods}")


def run_to_end(work: Coroutine[Any, Any, Any]) -> Any:
    """A coroutine that never waits for anything outside."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("the stages waited for something")


HAPPENINGS = st.tuples(
    st.sampled_from(["crash", "lose node", "delete pod", "delete job", "suspend", "resume", "wait", "wait", "wait"]),
    st.integers(0, 4),
)
TURNS = st.lists(st.tuples(HAPPENINGS, st.booleans()), max_size=40)


def play(world: World, turns: list[tuple[tuple[str, int], bool]]) -> None:
    for (what, which), dies in turns:
        world.happen(what, which)
        world.a_pass(dies_before_write=dies)
        world.tick()


@settings(max_examples=80)
@given(TURNS)
def test_whatever_happens_the_promises_hold_and_the_run_ends(turns: list[tuple[tuple[str, int], bool]]) -> None:
    world = World()
    play(world, turns)
    ended = world.settle()
    summary = find(ended["conditions"], "Succeeded")
    assert summary is not None
    assert summary["status"] in {"True", "False"}
    if summary["status"] == "False":
        assert summary["reason"] == "RestartsExhausted"
        assert ended["restarts"]["count"] == MAX_RESTARTS


@settings(max_examples=25)
@given(TURNS, TURNS)
@example([(("crash", 0), True), (("wait", 4), True), (("delete job", 0), False)], [])
def test_a_second_run_of_the_same_object_goes_on_counting_and_ends_too(
    first: list[tuple[tuple[str, int], bool]], second: list[tuple[tuple[str, int], bool]]
) -> None:
    world = World()
    play(world, first)
    before = world.settle()["attempt"]
    world.run_id = "second"
    play(world, second)
    ended = world.settle()
    assert ended["runID"] == "second"
    assert ended["attempt"] > before


def test_an_undisturbed_run_takes_one_attempt() -> None:
    world = World()
    ended = world.settle()
    assert world.made == [1]
    assert (ended["attempt"], ended.get("restarts")) == (1, None)
    assert find(ended["conditions"], "Succeeded")["reason"] == "Succeeded"  # type: ignore[index]


def test_an_operator_that_dies_after_every_second_pass_makes_the_same_children() -> None:
    world = World()
    for turn in range(40):
        world.a_pass(dies_before_write=turn % 2 == 0)
        world.tick()
    assert world.made == [1]
    assert find(world.settle()["conditions"], "Succeeded")["status"] == "True"  # type: ignore[index]


def test_crashes_use_up_the_restarts_and_no_more() -> None:
    world = World()
    for _ in range(60):
        world.a_pass()
        world.tick()
        world.happen("crash", 0)
    assert world.made == [1, 2, 3]
    assert find(world.settle()["conditions"], "Succeeded")["reason"] == "RestartsExhausted"  # type: ignore[index]
