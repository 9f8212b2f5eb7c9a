"""What is to happen at a time of the clock: kept on disk, done in the order of the times, whoever looks or not."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.clock import Clock
from millrace_local_aws.state.store import Store

if TYPE_CHECKING:
    from millrace_local_aws.world import World

LOG = logging.getLogger(__name__)
Action = Callable[..., None]
# Below what a float of seconds since 1970 can tell apart.
_GRAIN = 1e-6
ACTIONS: dict[str, Action] = {}


def action(name: str) -> Callable[[Action], Action]:
    """Register what a timer may do, by a name that outlives the process."""

    def register(function: Action) -> Action:
        ACTIONS[name] = function
        return function

    return register


class Scheduler:
    """Timers. `run` does what is due while the clock runs; `advance` steps the clock from due time to due time."""

    def __init__(self, world: World, store: Store, clock: Clock) -> None:
        self._world = world
        self._store = store
        self._clock = clock
        self._table = store.table("timer")
        self._heap: list[tuple[float, int, str]] = []
        self._changed = asyncio.Event()
        self._count = 0
        for _, key, record in self._table.everything():
            self._count = max(self._count, int(key))
            heapq.heappush(self._heap, (record["due"], int(key), key))

    def after(self, seconds: float, name: str, /, **arguments: Any) -> str:
        """Do the action so many seconds of the clock from now; returns the timer's id."""
        return self.at(self._clock.now() + seconds, name, **arguments)

    def at(self, due: float, name: str, /, **arguments: Any) -> str:
        self._count += 1
        key = str(self._count)
        self._table.put("", key, {"due": due, "action": name, "arguments": arguments})
        heapq.heappush(self._heap, (due, self._count, key))
        self._changed.set()
        return key

    def cancel(self, key: str | None) -> None:
        if key is not None:
            self._table.drop("", key)

    def _next(self) -> float | None:
        while self._heap and self._table.get("", self._heap[0][2]) is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _do_first(self) -> None:
        _, _, key = heapq.heappop(self._heap)
        record = self._table.drop("", key)
        if record is not None:
            try:
                ACTIONS[record["action"]](self._world, **record["arguments"])
            except Exception as error:
                LOG.exception("timer %s failed", record["action"])
                self._world.counters.fault("timer", f"{record['action']}: {error!r}")
        self._store.commit()

    def do_due(self) -> None:
        """All that is due by now, earliest first."""
        while (due := self._next()) is not None and due <= self._clock.now() + _GRAIN:
            self._do_first()

    async def advance(self, seconds: float) -> None:
        """Step the clock; each timer on the way finds it at its own due time, and what it began is done before the next."""
        await self._world.work.settled()
        end = self._clock.now() + seconds
        while (due := self._next()) is not None and due <= end:
            self._clock.step(max(0.0, due - self._clock.now()))
            self.do_due()
            await self._world.work.settled()
        self._clock.step(max(0.0, end - self._clock.now()))
        self._store.commit()
        self._changed.set()

    def wake(self) -> None:
        """The clock's speed has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.do_due()
            self._changed.clear()
            due = self._next()
            wait = None if due is None else self._clock.real_seconds(due)
            try:
                await asyncio.wait_for(self._changed.wait(), wait)
            except TimeoutError:
                continue
