"""The server's life: loading, ready, draining, ended; and how many requests are under way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class State(Enum):
    """The words that /ready answers with."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class Life:
    """Begins with loading; draining is for good."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self._told = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.under_way = 0

    def loaded(self) -> None:
        """The model answers."""
        if self.state is State.LOADING:
            self.state = State.READY

    def drain(self) -> None:
        """SIGTERM: not ready any more from now on."""
        self.state = State.DRAINING
        self._told.set()

    async def told_to_end(self) -> None:
        """Wait for `drain`."""
        await self._told.wait()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request that must not be cut."""
        self.under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._idle.set()

    async def idle(self, seconds: float) -> bool:
        """Wait until no request is under way; False where some still are after so long."""
        try:
            await asyncio.wait_for(self._idle.wait(), max(0.0, seconds))
        except TimeoutError:
            return False
        return True
