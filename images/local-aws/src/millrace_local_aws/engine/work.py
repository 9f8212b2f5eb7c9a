"""Work that takes time of its own, such as training a classifier: done beside everything else.

Whoever steps the clock waits for it, so that a step leaves behind what it promised, whatever the machine's speed is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace_local_aws.world import World

LOG = logging.getLogger(__name__)


class Work:
    """All that is under way."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What breaks here is our fault, and nobody else would tell."""
        try:
            await work
        except Exception as error:
            LOG.exception("work broke")
            self._world.counters.fault("work", repr(error))
        self._world.store.commit()

    async def settled(self) -> None:
        """Until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Give up what is under way; it begins again when this state is served again."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
