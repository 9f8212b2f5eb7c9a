"""One List for all objects of a kind in an account, instead of one Get per object.

While somebody watches a thing, one loop lists; a thing whose state is not what its watcher saw wakes the watcher. The pause
between two lists is short while things change, grows while they do not, stays under a minute, and is never shorter than a second
per call of a listing: 500 running jobs cost less than one call a second. Whoever needs a list now joins the one in flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace.aws.errors import AwsError

log = logging.getLogger(__name__)
FASTEST = 2.0
SLOWEST = 45.0
_SECONDS_PER_CALL = 1.5


@dataclass(frozen=True)
class Listed:
    """What a listing found: things by id with anything that compares unequal once a thing changed; and the calls that it took."""

    things: Mapping[str, Any]
    calls: int = 1


Fetch = Callable[[], Awaitable[Listed]]


@dataclass(frozen=True)
class Snapshot:
    """A listing, and when it was asked for, on the monotonic clock."""

    things: Mapping[str, Any]
    taken: float


@dataclass
class _Watch:
    seen: Any
    keys: set[Hashable] = field(default_factory=set)


def pause(before: float, changed: bool, calls: int) -> float:
    """Seconds until the next listing: half as long after a change, half as long again without one."""
    wanted = before / 2 if changed else before * 1.5
    return min(SLOWEST, max(FASTEST, wanted, calls * _SECONDS_PER_CALL))


class SharedList:
    """A list of one kind of things in one account. All methods must be called from one event loop."""

    def __init__(
        self,
        fetch: Fetch,
        monotonic: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        wake: Callable[[Any], None],
    ) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._spawn = spawn
        self._wake = wake
        self._watches: dict[str, _Watch] = {}
        self._in_flight: asyncio.Task[Snapshot] | None = None
        self._newest: Snapshot | None = None
        self._calls = 1
        self._runs = False

    async def latest(self, max_age: float) -> Snapshot:
        """A listing asked for at most `max_age` seconds ago: a held one, the one in flight, or a new one. Raises CallError."""
        oldest = self._monotonic() - max_age
        if self._newest is not None and self._newest.taken >= oldest:
            return self._newest
        return await self._list()

    async def _list(self) -> Snapshot:
        if self._in_flight is None or self._in_flight.done():
            self._in_flight = asyncio.create_task(self._ask())
            self._in_flight.add_done_callback(_looked_at)
        return await asyncio.shield(self._in_flight)

    async def _ask(self) -> Snapshot:
        taken = self._monotonic()
        listed = await self._fetch()
        self._newest = Snapshot(listed.things, taken)
        self._calls = listed.calls
        return self._newest

    def watch(self, id_: str, seen: Any, key: Hashable) -> None:
        """Wake `key` once, as soon as a listing shows the thing in another state than `seen` (None: it did not exist).

        A watcher that is still interested watches again in the pass that it was woken for.
        """
        held = self._watches.get(id_)
        if held is None or held.seen != seen:
            self._watches[id_] = held = _Watch(seen)
        held.keys.add(key)
        if not self._runs:
            self._runs = True
            self._spawn(self._run())

    def unwatch(self, id_: str) -> None:
        """Nobody is interested any more."""
        self._watches.pop(id_, None)

    def let_go(self) -> None:
        """Wake everybody: this list is about to be another one."""
        watches, self._watches = self._watches, {}
        for held in watches.values():
            for key in held.keys:
                self._wake(key)

    async def _run(self) -> None:
        """Lists while anything is watched."""
        wait = FASTEST
        try:
            while self._watches:
                await asyncio.sleep(wait)
                changed = await self._look()
                wait = pause(wait, changed, self._calls)
        finally:
            self._runs = False

    async def _look(self) -> bool:
        """Whether something changed. A listing that fails is no change: the passes themselves will meet the error."""
        try:
            snapshot = await self._list()
        except AwsError as error:
            log.warning("a shared listing failed and is repeated: %s", error.message)
            return False
        changed = [id_ for id_, held in self._watches.items() if snapshot.things.get(id_) != held.seen]
        for id_ in changed:
            for key in self._watches.pop(id_).keys:
                self._wake(key)
        return bool(changed)


def _looked_at(task: asyncio.Task[Snapshot]) -> None:
    """Whoever waits gets the error; where nobody does any more, it is no defect."""
    if not task.cancelled():
        task.exception()
