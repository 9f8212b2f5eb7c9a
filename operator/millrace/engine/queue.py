"""The work queue: deduplicated, one key in one pass, fair between kinds, delayed adds, backoff per key."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
from collections import OrderedDict, deque
from dataclasses import dataclass

from millrace.engine.cache import Key
from millrace.engine.clock import Clock


@dataclass(frozen=True)
class Backoff:
    """Delays that double from `base` to `limit` seconds, spread by ±`jitter` so that a crowd does not come back at once."""

    base: float = 0.5
    limit: float = 300.0
    jitter: float = 0.2

    def delay(self, failures: int, draw: float) -> float:
        """Seconds before try number `failures` + 1; `draw` is a random number in [0, 1)."""
        raw: float = min(self.limit, self.base * 2.0 ** min(failures - 1, 30))
        return raw * (1 - self.jitter + 2 * self.jitter * draw)


class Queue:
    """Keys that need a pass.

    `add` during a pass of the same key makes one more pass after it. Kinds take turns, so that a flood of one does not starve
    another. All methods must be called from one event loop.
    """

    def __init__(self, clock: Clock, backoff: Backoff | None = None, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._ready: dict[str, OrderedDict[Key, float]] = {}
        self._turns: deque[str] = deque()
        self._delayed: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._running: set[Key] = set()
        self._dirty: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._order = itertools.count()
        self._resting: deque[asyncio.Future[None]] = deque()

    @property
    def depth(self) -> int:
        """Keys that could run now."""
        return sum(len(keys) for keys in self._ready.values())

    @property
    def oldest_seconds(self) -> float:
        """Age of the key that has waited longest to run."""
        firsts = [next(iter(keys.values())) for keys in self._ready.values() if keys]
        return self._clock.monotonic() - min(firsts) if firsts else 0.0

    def add(self, key: Key, after: float = 0.0) -> None:
        """Ask for a pass, now or in `after` seconds; the earlier of two wishes wins."""
        if after > 0:
            self._add_later(key, self._clock.monotonic() + after)
        elif key in self._running:
            self._dirty.add(key)
        else:
            self._make_ready(key)

    def _add_later(self, key: Key, when: float) -> None:
        if self._due.get(key, float("inf")) <= when or self._runs_next(key):
            return
        self._due[key] = when
        heapq.heappush(self._delayed, (when, next(self._order), key))
        self._wake_one()

    def _runs_next(self, key: Key) -> bool:
        return key in self._dirty or key in self._ready.get(key.plural, ())

    def _make_ready(self, key: Key) -> None:
        self._due.pop(key, None)
        keys = self._ready.setdefault(key.plural, OrderedDict())
        if key not in keys:
            keys[key] = self._clock.monotonic()
            if key.plural not in self._turns:
                self._turns.append(key.plural)
        self._wake_one()

    async def get(self) -> Key:
        """Wait for the next key and mark it running; `done` must follow."""
        while True:
            self._promote()
            if self._turns:
                key = self._take()
                if self._turns or self._delayed:
                    self._wake_one()
                return key
            await self._rest()

    async def _rest(self) -> None:
        """Until there may be something to do. One is woken at a time; one that takes a key wakes the next if more is left.

        Not by `asyncio.wait_for`: in Python 3.11 it swallows a cancellation that comes together with what it waits for.
        """
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(woken)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_next()):
                    await woken
        except asyncio.CancelledError:
            self._wake_one()
            raise
        finally:
            if woken in self._resting:
                self._resting.remove(woken)

    def _wake_one(self) -> None:
        while self._resting:
            woken = self._resting.popleft()
            if not woken.done():
                woken.set_result(None)
                return

    def _promote(self) -> None:
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            when, _, key = heapq.heappop(self._delayed)
            if self._due.get(key) == when:
                del self._due[key]
                self.add(key)

    def _until_next(self) -> float | None:
        return max(0.0, self._delayed[0][0] - self._clock.monotonic()) if self._delayed else None

    def _take(self) -> Key:
        plural = self._turns.popleft()
        key, _ = self._ready[plural].popitem(last=False)
        if self._ready[plural]:
            self._turns.append(plural)
        self._running.add(key)
        return key

    def done(self, key: Key) -> None:
        """The pass of a key is over."""
        self._running.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self._make_ready(key)

    def failed(self, key: Key, at_least: float | None = None) -> float:
        """Count a failure and ask for another try after the backoff, or `at_least` seconds; gives the delay."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(self._backoff.delay(self._failures[key], self._rng.random()), at_least or 0.0)
        self.add(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """A pass went well: its backoff starts anew."""
        self._failures.pop(key, None)
