"""Queues that cost the same at ten messages and at ten thousand.

What can be received lies in a deque (standard) or in a heap a group (FIFO); what cannot yet, in a heap by the time it can.
A deleted message is only forgotten: entries without a message, or of an older hiding, are skipped when they come up.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import json
import uuid
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millrace_local_aws.state.store import Record

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sqs_message (
    queue TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, visible REAL NOT NULL,
    receives INTEGER NOT NULL, first REAL, PRIMARY KEY (queue, id)
) WITHOUT ROWID;
"""
DEDUPLICATION_SECONDS = 300.0


@dataclass(slots=True)
class Message:
    """`visible` is when it can be received; `hiding` counts how often it was hidden, and is part of a receipt."""

    id: str
    seq: int
    body: str
    attributes: Record
    sender: str
    sent: float
    visible: float
    group: str | None = None
    deduplication: str | None = None
    receives: int = 0
    first: float | None = None
    hiding: int = 0
    state: str = "ready"
    trace: str | None = None
    source: str | None = None

    @property
    def receipt(self) -> str:
        return f"{self.id}#{self.hiding}#{self.receives}"

    def document(self) -> str:
        """What does not change once sent."""
        kept = (self.body, self.attributes, self.sender, self.sent, self.group, self.deduplication, self.trace, self.source)
        return json.dumps(kept, separators=(",", ":"))


@dataclass
class Queue:
    """One queue; `attributes` as they were set."""

    world: World
    account: str
    region: str
    name: str
    attributes: dict[str, str]
    created: float
    messages: dict[str, Message] = field(default_factory=dict)
    ready: deque[str] = field(default_factory=deque)
    groups: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    flying: dict[str, int] = field(default_factory=dict)
    hidden: list[tuple[float, int, str, int]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"ready": 0, "flight": 0, "delayed": 0})
    seen: dict[str, tuple[float, str, int]] = field(default_factory=dict)
    waiters: set[asyncio.Event] = field(default_factory=set)

    @property
    def key(self) -> str:
        return f"{self.account}/{self.region}/{self.name}"

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account}:{self.name}"

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    def number(self, name: str) -> int:
        """An attribute that is a number, or AWS's default."""
        return int(self.attributes.get(name, DEFAULTS[name]))

    # Messages in

    def send(
        self,
        body: str,
        attributes: Record,
        sender: str,
        *,
        delay: float,
        group: str | None,
        deduplication: str | None,
        **more: Any,
    ) -> tuple[str, int]:
        """The message's id and sequence number; those of the earlier one where it is a duplicate."""
        now = self.world.clock.wall()
        if self.fifo and deduplication:
            earlier = self.seen.get(self._window(group, deduplication))
            if earlier and now - earlier[0] < DEDUPLICATION_SECONDS:
                return earlier[1], earlier[2]
        seq = self.world.sqs.next_sequence()
        message = Message(str(uuid.uuid4()), seq, body, attributes, sender, now, now + delay, group, deduplication, **more)
        self.put(message, new=True)
        if self.fifo and deduplication:
            self._remember(now, self._window(group, deduplication), message)
        return message.id, seq

    def _window(self, group: str | None, deduplication: str) -> str:
        return f"{group}\0{deduplication}" if self.attributes.get("DeduplicationScope") == "messageGroup" else deduplication

    def _remember(self, now: float, key: str, message: Message) -> None:
        for old in [name for name, (when, _, _) in self.seen.items() if now - when >= DEDUPLICATION_SECONDS]:
            del self.seen[old]
        self.seen[key] = (now, message.id, message.seq)

    def remember_sent(self, message: Message) -> None:
        """After a restart: what was sent shortly before still makes duplicates."""
        if self.fifo and message.deduplication:
            self.seen[self._window(message.group, message.deduplication)] = (message.sent, message.id, message.seq)

    def put(self, message: Message, *, new: bool) -> None:
        """Take a message in: sent, moved here, or found on disk."""
        self.messages[message.id] = message
        if new:
            self.world.store.execute(
                "INSERT INTO sqs_message VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self.key, message.id, message.seq, message.document(), message.visible, message.receives, message.first),
            )
        later = message.visible > self.world.clock.wall()
        message.state = ("flight" if message.receives else "delayed") if later else "ready"
        self.counts[message.state] += 1
        if message.state == "flight" and message.group is not None:
            self.flying[message.group] = self.flying.get(message.group, 0) + 1
        if later:
            heapq.heappush(self.hidden, (message.visible, message.seq, message.id, message.hiding))
        else:
            self._offer(message)
        self.wake()

    def _offer(self, message: Message) -> None:
        if message.group is None:
            self.ready.append(message.id)
        else:
            if message.group not in self.groups:
                self.ready.append(message.group)
            heapq.heappush(self.groups.setdefault(message.group, []), (message.seq, message.id))

    def wake(self) -> None:
        """Whoever waits may find something now."""
        for waiter in self.waiters:
            waiter.set()

    # Messages out

    def settle(self) -> None:
        """What has become visible by now can be received."""
        now = self.world.clock.wall()
        while self.hidden and self.hidden[0][0] <= now:
            _, _, name, hiding = heapq.heappop(self.hidden)
            message = self.messages.get(name)
            if message is not None and message.hiding == hiding and message.state != "ready":
                self._state(message, "ready")
                self._offer(message)

    def _state(self, message: Message, state: str) -> None:
        if message.group is not None:
            change = (state == "flight") - (message.state == "flight")
            self.flying[message.group] = self.flying.get(message.group, 0) + change
        self.counts[message.state] -= 1
        self.counts[state] += 1
        message.state = state

    def receive(self, most: int, timeout: float) -> list[Message]:
        """Up to so many visible messages, hidden for the timeout from now on."""
        self.settle()
        out = []
        for message in self._candidates(most):
            self._hide(message, timeout)
            now = self.world.clock.wall()
            message.receives += 1
            message.first = now if message.first is None else message.first
            self._save(message)
            out.append(message)
        return out

    def _candidates(self, most: int) -> Iterator[Message]:
        source = self._grouped() if self.fifo else self._plain()
        oldest = self.world.clock.wall() - self.number("MessageRetentionPeriod")
        redrive = json.loads(self.attributes.get("RedrivePolicy", "{}"))
        found = 0
        while found < most and (message := next(source, None)) is not None:
            if message.sent < oldest:
                self.remove(message)
            elif redrive and message.receives >= int(redrive["maxReceiveCount"]) and self._to_dead_letters(message, redrive):
                continue
            else:
                found += 1
                yield message
        source.close()

    def _plain(self) -> Generator[Message, None, None]:
        while self.ready:
            message = self.messages.get(self.ready.popleft())
            if message is not None and message.state == "ready":
                yield message

    def _grouped(self) -> Generator[Message, None, None]:
        """A group with a message in flight waits, so that order holds; one call may take several of one group."""
        for _ in range(len(self.ready)):
            group = self.ready.popleft()
            waiting = self.groups.get(group, [])
            try:
                if self.flying.get(group, 0) == 0:
                    yield from self._of_group(waiting)
            finally:
                # Also when the caller has enough and closes this generator.
                if waiting:
                    self.ready.append(group)
                else:
                    self.groups.pop(group, None)

    def _of_group(self, waiting: list[tuple[int, str]]) -> Iterator[Message]:
        while waiting:
            message = self.messages.get(waiting[0][1])
            if message is None or message.state != "ready":
                heapq.heappop(waiting)
                continue
            yield message
            if waiting and waiting[0][1] == message.id:
                heapq.heappop(waiting)

    def _hide(self, message: Message, timeout: float) -> None:
        self._state(message, "flight")
        message.hiding += 1
        message.visible = self.world.clock.wall() + timeout
        heapq.heappush(self.hidden, (message.visible, message.seq, message.id, message.hiding))

    def _save(self, message: Message) -> None:
        self.world.store.execute(
            "UPDATE sqs_message SET visible = ?, receives = ?, first = ? WHERE queue = ? AND id = ?",
            (message.visible, message.receives, message.first, self.key, message.id),
        )

    def _to_dead_letters(self, message: Message, redrive: Record) -> bool:
        parts = str(redrive["deadLetterTargetArn"]).split(":")
        target = self.world.sqs.find(f"{parts[4]}/{parts[3]}", parts[5])
        if target is None:
            return False
        self.remove(message)
        message.source = self.arn
        message.visible, message.hiding, message.state = self.world.clock.wall(), message.hiding + 1, "ready"
        target.put(message, new=True)
        return True

    def by_receipt(self, receipt: str) -> Message | None:
        """The message a receipt stands for, if it is still there."""
        return self.messages.get(receipt.partition("#")[0])

    def remove(self, message: Message) -> None:
        self.messages.pop(message.id, None)
        self.counts[message.state] -= 1
        if message.state == "flight" and message.group is not None:
            self.flying[message.group] -= 1
            self.wake()
        self.world.store.execute("DELETE FROM sqs_message WHERE queue = ? AND id = ?", (self.key, message.id))

    def change_visibility(self, message: Message, seconds: float) -> None:
        """From now; 0 shows it at once."""
        message.visible = self.world.clock.wall() + seconds
        message.hiding += 1
        self._save(message)
        heapq.heappush(self.hidden, (message.visible, message.seq, message.id, message.hiding))
        self.wake()

    def purge(self) -> None:
        self.messages.clear()
        self.ready.clear()
        self.groups.clear()
        self.flying.clear()
        self.hidden.clear()
        self.counts = dict.fromkeys(self.counts, 0)
        self.world.store.execute("DELETE FROM sqs_message WHERE queue = ?", (self.key,))

    async def wait(self, seconds: float) -> None:
        """Until something may have become visible, or so many real seconds have passed."""
        soonest = self.hidden[0][0] - self.world.clock.wall() if self.hidden else seconds
        event = asyncio.Event()
        self.waiters.add(event)
        try:
            await asyncio.wait_for(event.wait(), max(0.0, min(seconds, soonest)))
        except TimeoutError:
            pass
        finally:
            self.waiters.discard(event)


DEFAULTS = {
    "VisibilityTimeout": "30",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
}


class Queues:
    """All queues of all accounts and regions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._table = world.store.table("sqs.queue")
        self._queues: dict[str, dict[str, Queue]] = {}
        world.store.schema(_SCHEMA)
        self._sequence = world.store.select("SELECT coalesce(max(seq), 0) FROM sqs_message")[0][0]
        for _, _, record in self._table.everything():
            self._open(record)
        self._load()

    def next_sequence(self) -> int:
        self._sequence += 1
        return int(self._sequence)

    def _open(self, record: Record) -> Queue:
        queue = Queue(self.world, record["account"], record["region"], record["name"], record["attributes"], record["created"])
        self._queues.setdefault(f"{queue.account}/{queue.region}", {})[queue.name] = queue
        return queue

    def _load(self) -> None:
        by_key = {queue.key: queue for queues in self._queues.values() for queue in queues.values()}
        statement = "SELECT queue, id, seq, body, visible, receives, first FROM sqs_message ORDER BY seq"
        for key, name, seq, document, visible, receives, first in self.world.store.select(statement):
            body, attributes, sender, sent, group, deduplication, trace, source = json.loads(document)
            message = Message(name, seq, body, attributes, sender, sent, visible, group, deduplication, receives, first)
            message.trace, message.source = trace, source
            if key in by_key:
                by_key[key].put(message, new=False)
                by_key[key].remember_sent(message)

    def find(self, scope: str, name: str) -> Queue | None:
        return self._queues.get(scope, {}).get(name)

    def by_arn(self, arn: str) -> Queue | None:
        parts = arn.split(":")
        return self.find(f"{parts[4]}/{parts[3]}", parts[5]) if len(parts) == 6 else None

    def of(self, scope: str) -> list[Queue]:
        return sorted(self._queues.get(scope, {}).values(), key=lambda queue: queue.name)

    def create(self, account: str, region: str, name: str, attributes: dict[str, str], tags: dict[str, str]) -> Queue:
        now = float(int(self.world.clock.wall()))
        record = {"account": account, "region": region, "name": name, "attributes": attributes, "created": now, "tags": tags}
        record["changed"] = now
        self._table.put(f"{account}/{region}", name, record)
        return self._open(record)

    def record(self, queue: Queue) -> Record:
        found = self._table.get(f"{queue.account}/{queue.region}", queue.name)
        assert found is not None
        return found

    def save(self, queue: Queue, **changes: Any) -> None:
        """Attributes or tags were changed."""
        record = self.record(queue) | {"attributes": queue.attributes, "changed": float(int(self.world.clock.wall()))} | changes
        self._table.put(f"{queue.account}/{queue.region}", queue.name, record)
        queue.wake()

    def delete(self, queue: Queue) -> None:
        queue.purge()
        queue.wake()
        self._table.drop(f"{queue.account}/{queue.region}", queue.name)
        del self._queues[f"{queue.account}/{queue.region}"][queue.name]

    def wake_all(self) -> None:
        """The clock was stepped."""
        for queues in self._queues.values():
            for queue in queues.values():
                queue.wake()


def digest(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
