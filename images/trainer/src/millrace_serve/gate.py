"""How many requests are answered at once, how many may wait, and who is refused. Single-threaded: the event loop's."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millrace_serve.problems import ApiError

RETRY_SECONDS = 1


class Gate:
    """Lets `most` requests in and `queue` wait, in order of arrival."""

    def __init__(self, most: int, queue: int) -> None:
        self._most, self._queue = most, queue
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, deadline: float) -> AsyncIterator[None]:
        """A place while the block runs; ApiError 429 where too many wait, TimeoutError after `deadline` (loop time)."""
        async with asyncio.timeout_at(deadline):
            await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self.running < self._most:
            self.running += 1
            return
        if self.waiting >= self._queue:
            message = f"{self.running} requests are being answered and {self.waiting} wait: try again later"
            raise ApiError(429, message, code="overloaded", wait=RETRY_SECONDS)
        await self._wait()

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place was given in the same moment
            else:
                self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        """Give the place to the first that waits; `running` stays the same then."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
