"""The shared list: one listing for everybody, woken only by what changed, and few calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millrace.aws.errors import Unavailable, Where
from millrace.aws.listing import FASTEST, SLOWEST, Listed, SharedList, pause
from support.clock import in_virtual_time


class World:
    """Things that change, listings that take a while, and who was woken when."""

    def __init__(self, calls: int = 1, seconds: float = 0.2) -> None:
        self.things: dict[str, str] = {}
        self.calls = calls
        self.seconds = seconds
        self.listings: list[float] = []
        self.woken: list[tuple[float, Any]] = []
        self.broken = False
        self.tasks: list[asyncio.Task[None]] = []
        self.list = SharedList(self.fetch, self.now, self.spawn, lambda key: self.woken.append((self.now(), key)))

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def spawn(self, work: Any) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def fetch(self) -> Listed:
        self.listings.append(self.now())
        things = dict(self.things)
        await asyncio.sleep(self.seconds)
        if self.broken:
            raise Unavailable(Where("sagemaker", "ListTrainingJobs"), "away")
        return Listed(things, self.calls)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


# before, changed, calls, after, why
PAUSES = [
    (2.0, True, 1, FASTEST, "never shorter than the fastest"),
    (40.0, True, 1, 20.0, "shorter after a change"),
    (20.0, False, 1, 30.0, "longer without one"),
    (44.0, False, 1, SLOWEST, "under a minute, always"),
    (2.0, True, 10, 15.0, "more calls, more pause: fewer than one call a second"),
    (2.0, True, 100, SLOWEST, "but under a minute, always"),
]


@pytest.mark.parametrize(("before", "changed", "calls", "after", "why"), PAUSES)
def test_the_pause_follows_what_happens(before: float, changed: bool, calls: int, after: float, why: str) -> None:
    assert pause(before, changed, calls) == after, why


def test_a_change_wakes_who_watches_and_nobody_else() -> None:
    async def work() -> World:
        world = World()
        world.things = {"a": "InProgress", "b": "InProgress"}
        world.list.watch("a", "InProgress", "object-a")
        world.list.watch("b", "InProgress", "object-b")
        await asyncio.sleep(30)
        assert world.woken == []
        world.things["a"] = "Completed"
        await asyncio.sleep(60)
        await world.end()
        return world

    world = in_virtual_time(work())
    assert [key for _, key in world.woken] == ["object-a"]
    assert world.woken[0][0] - 30 < 60


def test_what_changed_before_it_was_watched_wakes_at_the_first_listing() -> None:
    """The pass saw InProgress; the job ended before the watch was set."""

    async def work() -> World:
        world = World()
        world.things = {"a": "Completed"}
        world.list.watch("a", "InProgress", "object-a")
        await asyncio.sleep(5)
        await world.end()
        return world

    assert [key for _, key in in_virtual_time(work()).woken] == ["object-a"]


def test_who_watched_a_list_that_is_given_up_is_woken_to_watch_another() -> None:
    async def work() -> World:
        world = World()
        world.list.watch("a", "InProgress", "object-a")
        world.list.let_go()
        await asyncio.sleep(100)
        assert world.tasks[0].done()
        return world

    assert [key for _, key in in_virtual_time(work()).woken] == ["object-a"]


def test_a_thing_that_vanishes_wakes() -> None:
    async def work() -> World:
        world = World()
        world.list.watch("a", "InProgress", "object-a")
        await asyncio.sleep(5)
        await world.end()
        return world

    assert [key for _, key in in_virtual_time(work()).woken] == ["object-a"]


def test_nobody_watching_means_no_calls() -> None:
    async def work() -> int:
        world = World()
        world.things = {"a": "InProgress"}
        world.list.watch("a", "InProgress", "object-a")
        await asyncio.sleep(100)
        world.list.unwatch("a")
        await asyncio.sleep(100)
        before = len(world.listings)
        await asyncio.sleep(10_000)
        assert world.tasks[0].done()
        return len(world.listings) - before

    assert in_virtual_time(work()) == 0


def test_five_hundred_running_jobs_of_which_one_ends_each_second_cost_less_than_a_call_a_second() -> None:
    """A hundred jobs a page, as ListTrainingJobs gives them; whoever is woken watches again."""

    async def work() -> float:
        world = World(calls=5)
        world.things = {f"job-{n}": "0" for n in range(500)}
        for name in world.things:
            world.list.watch(name, "0", name)
        for second in range(600):
            changed = f"job-{second % 500}"
            world.things[changed] = str(second + 1)
            await asyncio.sleep(1)
            for _, key in world.woken:
                world.list.watch(key, world.things[key], key)
            world.woken.clear()
        await world.end()
        return len(world.listings) * 5 / 600

    assert in_virtual_time(work()) < 1.0


def test_all_who_ask_at_once_get_one_listing_and_a_young_one_is_not_asked_again() -> None:
    async def work() -> int:
        world = World()
        await asyncio.gather(*(world.list.latest(max_age=5) for _ in range(100)))
        await world.list.latest(max_age=5)
        await asyncio.sleep(6)
        await world.list.latest(max_age=5)
        return len(world.listings)

    assert in_virtual_time(work()) == 2


def test_one_who_gives_up_waiting_takes_the_listing_from_nobody() -> None:
    async def work() -> None:
        world = World(seconds=2)
        hasty = asyncio.create_task(world.list.latest(max_age=0))
        patient = asyncio.create_task(world.list.latest(max_age=0))
        await asyncio.sleep(1)
        hasty.cancel()
        assert (await patient).things == {}
        assert len(world.listings) == 1

    in_virtual_time(work())


def test_a_listing_that_fails_wakes_nobody_is_tried_again_and_is_told_to_who_asks() -> None:
    async def work() -> World:
        world = World()
        world.broken = True
        world.list.watch("a", "InProgress", "object-a")
        with pytest.raises(Unavailable):
            await world.list.latest(max_age=0)
        await asyncio.sleep(60)
        assert world.woken == []
        world.broken = False
        await asyncio.sleep(60)
        await world.end()
        return world

    assert [key for _, key in in_virtual_time(work()).woken] == ["object-a"]
