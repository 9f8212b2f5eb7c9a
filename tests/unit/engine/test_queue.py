"""The queue: one key in one pass, nothing lost, nobody starved."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.engine.cache import Key
from millrace.engine.queue import Backoff, Queue
from support.clock import FakeClock, LoopClock, in_virtual_time


def key(name: str, plural: str = "trainingjobs") -> Key:
    return Key(plural, "team-a", name)


async def ready_now(queue: Queue) -> Key | None:
    """What `get` gives without waiting; None where it would wait."""
    taking = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    if not taking.done():
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        return None
    return taking.result()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def queue(clock: FakeClock) -> Queue:
    return Queue(clock, rng=random.Random(1))


async def drained(queue: Queue) -> list[Key]:
    """All keys that can run now, each done at once."""
    taken = []
    while queue.depth:
        taken.append(await queue.get())
        queue.done(taken[-1])
    return taken


async def test_a_key_that_is_added_twice_runs_once(queue: Queue) -> None:
    queue.add(key("a"))
    queue.add(key("a"))
    assert await drained(queue) == [key("a")]


async def test_a_key_added_during_its_pass_runs_once_more_after_it_and_not_beside_it(queue: Queue) -> None:
    queue.add(key("a"))
    running = await queue.get()
    queue.add(key("a"))
    queue.add(key("a"))
    assert queue.depth == 0, "it may not run beside itself"
    queue.done(running)
    assert await drained(queue) == [key("a")]


async def test_a_delay_that_ends_during_a_pass_of_the_key_makes_one_more_pass(queue: Queue, clock: FakeClock) -> None:
    queue.add(key("a"))
    queue.add(key("b"))
    running = await queue.get()
    queue.add(key("a"), after=5)
    clock.advance(6)
    other = await queue.get()
    assert (running, other) == (key("a"), key("b"))
    assert queue.depth == 0
    queue.done(running)
    assert await drained(queue) == [key("a")]


async def test_keys_of_one_kind_run_in_the_order_they_came(queue: Queue) -> None:
    for name in "cab":
        queue.add(key(name))
    assert [k.name for k in await drained(queue)] == ["c", "a", "b"]


async def test_a_flood_of_one_kind_does_not_make_another_wait(queue: Queue) -> None:
    for number in range(1000):
        queue.add(key(f"job-{number}"))
    queue.add(key("corpus", "datasets"))
    first_two = [await queue.get(), await queue.get()]
    assert key("corpus", "datasets") in first_two


async def test_three_kinds_take_turns(queue: Queue) -> None:
    for number in range(3):
        for plural in ("as", "bs", "cs"):
            queue.add(key(f"x{number}", plural))
    assert [k.plural for k in await drained(queue)] == ["as", "bs", "cs"] * 3


async def test_a_delayed_key_runs_when_its_time_has_come_and_not_before(queue: Queue, clock: FakeClock) -> None:
    queue.add(key("a"), after=10)
    clock.advance(9.9)
    assert await ready_now(queue) is None
    clock.advance(0.1)
    assert await ready_now(queue) == key("a")


@pytest.mark.parametrize("wishes", [(10, 3), (3, 10)])
async def test_the_earlier_of_two_delays_wins_and_makes_one_pass(queue: Queue, clock: FakeClock, wishes: tuple[int, int]) -> None:
    for wish in wishes:
        queue.add(key("a"), after=wish)
    clock.advance(3)
    assert await queue.get() == key("a")
    queue.done(key("a"))
    clock.advance(100)
    assert await ready_now(queue) is None, "the later wish went with the earlier one"


async def test_a_delay_asked_for_while_the_key_is_about_to_run_makes_no_second_pass(queue: Queue, clock: FakeClock) -> None:
    queue.add(key("a"))
    queue.add(key("a"), after=10)
    assert await drained(queue) == [key("a")]
    clock.advance(10)
    assert await ready_now(queue) is None


async def test_an_add_for_now_cancels_a_delay(queue: Queue, clock: FakeClock) -> None:
    queue.add(key("a"), after=10)
    queue.add(key("a"))
    assert await drained(queue) == [key("a")]
    clock.advance(10)
    assert await ready_now(queue) is None


def test_a_waiting_worker_is_woken_by_a_delay_that_ends() -> None:
    async def waits() -> tuple[Key, float]:
        loop = asyncio.get_running_loop()
        queue = Queue(LoopClock(loop))
        queue.add(key("a"), after=3600)
        return await queue.get(), loop.time()

    taken, when = in_virtual_time(waits())
    assert taken == key("a")
    assert when == pytest.approx(3600, abs=0.1)


def test_a_waiting_worker_is_woken_by_an_earlier_delay_than_the_one_it_waits_for() -> None:
    async def waits() -> tuple[Key, float]:
        loop = asyncio.get_running_loop()
        queue = Queue(LoopClock(loop))
        queue.add(key("late"), after=3600)
        taking = asyncio.create_task(queue.get())
        await asyncio.sleep(1)
        queue.add(key("soon"), after=5)
        return await taking, loop.time()

    taken, when = in_virtual_time(waits())
    assert taken == key("soon")
    assert when == pytest.approx(6, abs=0.1)


def test_many_waiting_workers_share_what_comes_and_each_key_goes_to_one() -> None:
    async def works() -> list[Key]:
        queue, taken = Queue(LoopClock(asyncio.get_running_loop())), []

        async def worker() -> None:
            while True:
                got = await queue.get()
                taken.append(got)
                await asyncio.sleep(1)
                queue.done(got)

        workers = [asyncio.create_task(worker()) for _ in range(8)]
        await asyncio.sleep(1)
        for number in range(40):
            queue.add(key(str(number)))
        await asyncio.sleep(60)
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return taken

    assert sorted(k.name for k in in_virtual_time(works())) == sorted(str(n) for n in range(40))


async def test_depth_and_age_tell_of_the_key_that_waits_longest(queue: Queue, clock: FakeClock) -> None:
    assert (queue.depth, queue.oldest_seconds) == (0, 0.0)
    queue.add(key("a"))
    clock.advance(7)
    queue.add(key("b", "datasets"))
    assert (queue.depth, queue.oldest_seconds) == (2, 7.0)
    await queue.get()
    assert (queue.depth, queue.oldest_seconds) == (1, 0.0)


# -- backoff -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_backoff_doubles_up_to_its_limit_and_stays_within_its_jitter(failures: int, draw: float) -> None:
    backoff = Backoff(base=0.5, limit=300, jitter=0.2)
    middle = min(300.0, 0.5 * 2 ** min(failures - 1, 20))
    assert 0.8 * middle <= backoff.delay(failures, draw) <= 1.2 * middle


async def test_each_failure_of_a_key_waits_longer_and_a_good_pass_starts_anew(clock: FakeClock) -> None:
    queue = Queue(clock, Backoff(base=1, limit=8, jitter=0))
    assert [queue.failed(key("a")) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert queue.failed(key("b")) == 1, "failures are counted a key"
    queue.forget(key("a"))
    assert queue.failed(key("a")) == 1


async def test_a_server_that_names_a_pause_is_not_asked_before_it_is_over(clock: FakeClock) -> None:
    queue = Queue(clock, Backoff(base=1, limit=8, jitter=0))
    assert queue.failed(key("a"), at_least=30) == 30
    clock.advance(29)
    assert await ready_now(queue) is None
    clock.advance(1)
    assert await ready_now(queue) == key("a")


# -- properties ----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
PLURALS = st.sampled_from(["trainingjobs", "datasets"])
KEYS = st.builds(key, NAMES, PLURALS)
STEPS = st.one_of(
    st.tuples(st.just("add"), KEYS),
    st.tuples(st.just("later"), st.tuples(KEYS, st.floats(0.1, 20))),
    st.tuples(st.just("fail"), KEYS),
    st.tuples(st.just("advance"), st.floats(0.1, 30)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("done"), st.integers(0, 5)),
)


class Model:
    """What a caller has a right to: asked-for passes that have not begun yet, and passes under way."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.queue = Queue(self.clock, rng=random.Random(0))
        self.owed: set[Key] = set()
        self.running: list[Key] = []
        self.steps: dict[str, Callable[[object], None]] = {
            "add": self.add, "later": self.later, "fail": self.fail, "advance": self.advance, "done": self.done
        }  # fmt: skip

    def add(self, wanted: object) -> None:
        self.queue.add(wanted)  # type: ignore[arg-type]
        self.owed.add(wanted)  # type: ignore[arg-type]

    def later(self, wish: object) -> None:
        wanted, after = wish  # type: ignore[misc]
        self.queue.add(wanted, after)
        self.owed.add(wanted)

    def fail(self, wanted: object) -> None:
        self.queue.failed(wanted)  # type: ignore[arg-type]
        self.owed.add(wanted)  # type: ignore[arg-type]

    def advance(self, seconds: object) -> None:
        self.clock.advance(seconds)  # type: ignore[arg-type]

    async def step(self, name: str, argument: object) -> None:
        if name == "take":
            await self.take()
        else:
            self.steps[name](argument)

    async def take(self) -> None:
        taken = await ready_now(self.queue)
        if taken is None:
            return
        assert taken not in self.running, "a key runs twice at once"
        assert taken in self.owed, "a pass that nobody asked for"
        self.owed.discard(taken)
        self.running.append(taken)

    def done(self, which: object) -> None:
        if self.running:
            self.queue.done(self.running.pop(which % len(self.running)))  # type: ignore[operator]

    async def settle(self) -> None:
        """Let everything run to its end: three names of two kinds, each perhaps once more when it is done."""
        for _ in range(13):
            self.clock.advance(400)
            await self.take()
            if self.running:
                self.queue.done(self.running.pop())


@given(st.lists(STEPS, max_size=60))
def test_no_key_ever_runs_twice_at_once_and_every_asked_for_pass_comes(steps: list[tuple[str, object]]) -> None:
    async def check() -> None:
        model = Model()
        for name, argument in steps:
            await model.step(name, argument)
        await model.settle()
        assert model.owed == set(), "an asked-for pass was lost"
        assert model.queue.depth == 0

    asyncio.run(check())


def test_a_worker_that_is_stopped_just_as_a_key_comes_ends() -> None:
    async def check() -> None:
        queue = Queue(FakeClock())
        queue.add(key("later"), after=60)
        worker = asyncio.create_task(_work(queue))
        for _ in range(3):
            await asyncio.sleep(0)
        queue.add(key("sooner"), after=30)
        worker.cancel()
        await asyncio.wait({worker}, timeout=0.5)
        swallowed = not worker.done()
        worker.cancel()
        assert not swallowed

    asyncio.run(check())


async def _work(queue: Queue) -> None:
    while True:
        queue.done(await queue.get())
