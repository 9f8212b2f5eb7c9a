"""Time that tests own: a clock that stands still until it is moved, and an event loop whose waits take no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
BEGIN = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    """Stands at BEGIN until it is moved."""

    def __init__(self, begin: datetime = BEGIN) -> None:
        self._begin = begin
        self._passed = 0.0

    def now(self) -> datetime:
        return self._begin + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return 1000.0 + self._passed

    def advance(self, seconds: float) -> None:
        self._passed += seconds


class _NoWait(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Instead of waiting it moves the loop's time on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everything waits and nothing is due: a real loop would stand still for ever")
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in which an hour's sleep is over at once. `time()` is the clock to hand to the code under test."""

    def __init__(self) -> None:
        self._still = _NoWait()
        super().__init__(self._still)

    def time(self) -> float:
        return self._still.now


class LoopClock:
    """The clock of a VirtualLoop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a VirtualLoop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
