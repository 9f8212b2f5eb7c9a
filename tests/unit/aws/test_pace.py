"""The pace of calls, against simulated quotas: it finds them, uses them, and finds out when they grow."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from millrace.aws.account import _PATIENCE as PATIENCE
from millrace.aws.account import _ROOM as ROOM
from millrace.aws.pace import FASTEST, Pace, TooLong, Turns
from millrace.engine.cache import Key
from millrace.engine.queue import Queue
from support.clock import LoopClock, in_virtual_time

ANSWER_SECONDS = 0.05


@dataclass
class Server:
    """A token bucket as AWS documents its own: so many calls a second, and a second's worth at once."""

    rate: float
    tokens: float = 0.0
    at: float = 0.0
    served: int = 0
    refused: int = 0

    def call(self, now: float) -> bool:
        self.tokens = min(max(1.0, self.rate), self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            self.refused += 1
            return False
        self.tokens -= 1
        self.served += 1
        return True


class World:
    """A server and the line before it."""

    def __init__(self, quota: float, answer: float = ANSWER_SECONDS) -> None:
        self.now = asyncio.get_running_loop().time
        self.server = Server(quota)
        self.turns = Turns(self.now)
        self.answer = answer

    async def call_for(self, seconds: float, callers: int = 48) -> Server:
        """Callers who call again as soon as they may; gives the server with its counts of this time."""
        self.server.served = self.server.refused = 0
        end = self.now() + seconds
        callings = [asyncio.create_task(self.caller(end)) for _ in range(callers)]
        await asyncio.sleep(seconds)
        counted = Server(self.server.rate, served=self.server.served, refused=self.server.refused)
        for task in callings:
            task.cancel()
        await asyncio.gather(*callings, return_exceptions=True)
        return counted

    async def caller(self, end: float) -> None:
        while self.now() < end:
            await self.call()

    async def call(self, patience: float = float("inf"), room: float = float("inf")) -> bool:
        """Wait for a turn, and call; whether it was served."""
        sent = await self.turns.take(patience, room)
        await asyncio.sleep(self.answer / 2)
        served = self.server.call(self.now())
        await asyncio.sleep(self.answer / 2)
        if served:
            self.turns.served()
        else:
            self.turns.throttled(sent)
        return served


# quota, seconds until an answer, share of it that is used at least, why
QUOTAS = [
    (1.0, 0.05, 0.88, "each call that tries for more costs a turn, and there are few"),
    (3.0, 0.05, 0.94, "the same, less"),
    (10.0, 0.05, 0.95, "the bar"),
    (25.0, 0.05, 0.95, "the bar"),
    (10.0, 2.0, 0.95, "a busy machine: what was under way at a cut is refused for the same reason, and cuts no more"),
    (10.0, 4.0, 0.90, "the rate is learned from what was served some seconds ago"),
]


@pytest.mark.parametrize(("quota", "answer", "share", "why"), QUOTAS)
def test_nearly_all_of_a_quota_is_used_and_little_is_refused(quota: float, answer: float, share: float, why: str) -> None:
    async def work() -> Server:
        world = World(quota, answer)
        await world.call_for(60)  # it has found the quota by now
        return await world.call_for(100)

    server = in_virtual_time(work())
    assert server.served >= share * quota * 100, (why, server)
    assert server.refused <= 0.1 * server.served


@pytest.mark.parametrize("rest", [0.0, 600.0], ids=["the first calls", "the first calls after a rest"])
def test_a_quota_is_found_without_falling_far_below_it(rest: float) -> None:
    """A rate that was served for a second is no rate of five."""

    async def work() -> Server:
        world = World(10.0)
        if rest:
            await world.call_for(30)
            await asyncio.sleep(rest)
        return await world.call_for(30)

    assert in_virtual_time(work()).served >= 0.95 * 10 * 30


def test_a_quota_that_grows_is_found_within_two_minutes() -> None:
    async def work() -> Server:
        world = World(1.0)
        await world.call_for(30)
        world.server.rate = 20.0
        await world.call_for(120)
        return await world.call_for(10)

    assert in_virtual_time(work()).served >= 0.8 * 20 * 10


def test_who_would_wait_too_long_is_told_at_once_how_long() -> None:
    async def work() -> TooLong:
        turns = Turns(asyncio.get_running_loop().time)
        turns.throttled(0.0)
        turns.pace.rate = 1.0
        line = [asyncio.create_task(turns.take(patience=100)) for _ in range(20)]
        await asyncio.sleep(0)
        with pytest.raises(TooLong) as late:
            await turns.take(patience=5)
        for task in line:
            task.cancel()
        await asyncio.gather(*line, return_exceptions=True)
        assert turns.ahead() < 5  # who gave up waits no more
        return late.value

    assert 15 < in_virtual_time(work()).seconds < 25


def test_who_is_never_throttled_never_waits_below_the_fastest_rate() -> None:
    pace = Pace(0.0)
    assert [pace.take(n / 10) for n in range(100)] == [0.0] * 100


def test_a_burst_waits_its_turn() -> None:
    pace = Pace(0.0)
    waits = [pace.take(0.0) for _ in range(int(FASTEST) + 11)]
    assert waits[int(FASTEST)] == pytest.approx(0.0)
    assert waits[-1] == pytest.approx(10 / FASTEST)


def test_answers_to_calls_under_way_at_a_cut_do_not_cut_again() -> None:
    pace = Pace(0.0)
    for n in range(40):
        pace.throttled(1.0 + n / 10, sent=n / 100)
    assert pace.rate == pytest.approx(FASTEST / 2)
    pace.throttled(6.0, sent=5.0)
    assert pace.rate < FASTEST / 2


def test_a_thousand_creations_before_a_quota_of_ten_a_second_use_nearly_all_of_it() -> None:
    """The operator's own queue and workers: a pass whose turn is far away gives its worker back and comes again in time."""

    async def work() -> tuple[float, Server, set[Key], int]:
        world = World(10.0)
        queue = Queue(LoopClock(asyncio.get_running_loop()), rng=random.Random(1))
        done: set[Key] = set()
        away: list[Key] = []
        await world.call_for(30)  # the operator has created jobs before, and knows the quota
        world.server.served = world.server.refused = 0
        begun = world.now()

        async def worker() -> None:
            while len(done) < 1000:
                key = await queue.get()
                await one(key)
                queue.done(key)

        async def one(key: Key) -> None:
            try:
                served = await world.call(PATIENCE, ROOM)
            except TooLong as late:
                away.append(key)
                queue.add(key, max(0.5, late.seconds))
                return
            if served:
                assert key not in done
                done.add(key)
            else:
                queue.add(key, max(0.5, world.turns.ahead()))

        for n in range(1000):
            queue.add(Key("trainingjobs", "team", f"job-{n}"))
        workers = [asyncio.create_task(worker()) for _ in range(48)]
        while len(done) < 1000:
            await asyncio.sleep(0.1)
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return world.now() - begun, world.server, done, len(away)

    seconds, server, done, away = in_virtual_time(work())
    assert len(done) == server.served == 1000
    assert seconds <= 1000 / (0.95 * 10.0)
    assert away < 3 * 1000, "each is sent away about once, and not every few seconds"


def test_turns_taken_late_do_not_put_off_those_after_them() -> None:
    """A program that is busy wakes a fiftieth of a second late, each time; at ten calls a second that would be a fifth of them."""
    pace = Pace(0.0)
    pace.throttled(0.0, sent=0.0)
    pace.rate = 10.0
    now = 0.0
    for _ in range(100):
        now += pace.wait(now) + 0.02
        pace.take(now)
    assert now < 10.3


def test_a_long_pause_is_not_made_up_for() -> None:
    """A quarter of a second is; a minute's worth of calls at once would be refused."""
    pace = Pace(0.0)
    pace.throttled(0.0, sent=0.0)
    pace.rate = 10.0
    waits = [pace.take(60.0) for _ in range(10)]
    assert waits.count(0.0) <= 4, waits
