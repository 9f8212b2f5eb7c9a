"""Listens to one account's SQS queue, one long poll at a time. A message is deleted only after its wake is queued."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from millrace.aws import events
from millrace.aws.account import Account
from millrace.aws.errors import AwsError, NotFound

Object = dict[str, Any]
log = logging.getLogger(__name__)
POLL_SECONDS = 20
_LONGEST_PAUSE = 60.0


class Listener:
    """One queue of one account.

    `wake` is told the id of a thing and says how many objects it woke; `count` is told (event type, result) of each message;
    `on_event` and `on_broken` speak of the listener itself: a first event, and a queue that is not there.
    """

    def __init__(
        self,
        account: Account,
        queue_url: str,
        wake: Callable[[str], int],
        count: Callable[[str, str], None],
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self.account = account
        self.queue_url = queue_url
        self.heard: float | None = None
        """When the last message came, on the account's clock."""
        self._wake = wake
        self._count = count
        self._on_broken = on_broken

    async def run(self) -> None:
        """Until cancelled; a queue that cannot be read is tried again with growing pauses."""
        pause = 1.0
        while True:
            try:
                await self.once()
                pause = 1.0
            except AwsError as error:
                log.warning("the queue %s could not be read and is tried again: %s", self.queue_url, error.message)
                if isinstance(error, NotFound):
                    self._on_broken()
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)

    async def once(self) -> int:
        """One long poll; gives the number of messages. Raises CallError."""
        answer = await self.account.poll(
            "sqs",
            "ReceiveMessage",
            QueueUrl=self.queue_url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=POLL_SECONDS,
        )
        messages = answer.get("Messages") or []
        for message in messages:
            self._take(message)
        if messages:
            self.heard = self.account.monotonic()
            await self._delete(messages)
        return len(messages)

    def _take(self, message: Object) -> None:
        told = events.read(message.get("Body", ""))
        if told.dropped:
            self._count(told.type, told.dropped)
            return
        woken = sum(self._wake(id_) for id_ in told.ids)
        self._count(told.type, "woke" if woken else "nobody")

    async def _delete(self, messages: list[Object]) -> None:
        """What is not deleted comes again, and wakes once more."""
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        await self.account.call("sqs", "DeleteMessageBatch", QueueUrl=self.queue_url, Entries=entries)
