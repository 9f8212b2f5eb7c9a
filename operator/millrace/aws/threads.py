"""A thread for a long poll. The interpreter waits for an executor's threads when it ends, and nobody should wait for a queue."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(work: Callable[[], T]) -> T:
    """What `work` gives or raises; cancelled, the thread goes on until its work ends, and nobody listens."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as raised:
            _tell(loop, done, done.set_exception, raised)
        else:
            _tell(loop, done, done.set_result, result)

    threading.Thread(target=run, name="millrace-aws-listen", daemon=True).start()
    return await done


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[T], say: Callable[..., None], what: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(lambda: None if done.done() else say(what))
