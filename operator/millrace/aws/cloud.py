"""All CloudAccounts of one replica: their accounts, threads, loops and listeners, for as long as it leads.

What botocore needs is imported with the first account: an operator without AWS does not pay for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from millrace.aws.costs import Ledger
from millrace.aws.errors import AccountNotReady
from millrace.aws.resolve import ACCOUNTS, Resolved, resolve
from millrace.aws.settings import AwsSettings
from millrace.data.prices import Prices
from millrace.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from millrace.aws.account import Account
    from millrace.aws.listener import Listener

Object = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass
class _Ear:
    listener: Listener
    task: asyncio.Task[None]


@dataclass
class Cloud:
    """`wake` takes what passes handed to `SharedList.watch`; `wake_by_id` is told the id of a thing and says how many it woke;
    `wake_account` is told namespace and name of a CloudAccount whose own state changed outside a pass."""

    settings: AwsSettings
    metrics: Metrics
    monotonic: Callable[[], float]
    wake: Callable[[Any], None] = lambda _: None
    wake_by_id: Callable[[str], int] = lambda _: 0
    wake_account: Callable[[str, str], None] = lambda _namespace, _name: None
    cluster_id: str = ""
    ledgers: dict[tuple[str, str], Ledger] = field(default_factory=dict)
    """What each CloudAccount's objects have cost this month, by its namespace and name."""
    prices: Prices = field(init=False)
    _accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    _ears: dict[tuple[str, str], _Ear] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _executor: ThreadPoolExecutor | None = None

    def __post_init__(self) -> None:
        self.prices = Prices(self.settings.prices_file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """End every loop. Threads in a call end with its answer; nobody waits for a long poll."""
        for key in list(self._ears):
            await self.hush(*key)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    # -- accounts --------------------------------------------------------------------------------------------------

    def account(self, namespace: str, name: str, lookup: Callable[[str, str], Object | None]) -> Account:
        """The account that a CloudAccount stands for, for objects that use it. Raises AccountNotReady, saying why."""
        obj = lookup(ACCOUNTS, name)
        if obj is None:
            raise AccountNotReady(f"CloudAccount {name!r} does not exist in namespace {namespace!r}")
        resolved = resolve(obj, self.settings, self.cluster_id, must_be_ready=True)
        return self._opened(namespace, name, resolved)

    def unproven(self, obj: Object) -> Account:
        """The account of a CloudAccount that is about to be asked who it is. Raises AccountNotReady."""
        metadata = obj["metadata"]
        resolved = resolve(obj, self.settings, self.cluster_id, must_be_ready=False)
        return self._opened(metadata["namespace"], metadata["name"], resolved)

    def _opened(self, namespace: str, name: str, resolved: Resolved) -> Account:
        held = self._accounts.get((namespace, name))
        if held is None or held.identity != resolved.identity:
            if held is not None:
                held.let_go()
            held = self._made(namespace, name, resolved)
            self._accounts[namespace, name] = held
        held.standing = resolved.standing
        return held

    def _made(self, namespace: str, name: str, resolved: Resolved) -> Account:
        from millrace.aws.account import Account
        from millrace.aws.calls import Caller
        from millrace.aws.sessions import Sessions

        sessions = Sessions(resolved.identity, connections=self.settings.threads)
        return Account(
            namespace,
            name,
            resolved.identity,
            self.cluster_id,
            Caller(sessions, self._observe, lambda service, code: self.metrics.aws_unknown.labels(service, code).inc()),
            self._threads(),
            self.monotonic,
            self._spawn,
            wake=self.wake,
            on_denied=lambda: self.wake_account(namespace, name),
        )

    def _observe(self, service: str, operation: str, code: str, seconds: float) -> None:
        self.metrics.aws_calls.labels(service, operation, code or "ok").inc()
        self.metrics.aws_seconds.labels(service, operation).observe(seconds)

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.settings.threads, thread_name_prefix="millrace-aws")
        return self._executor

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """A loop of a shared list; what it raises is a defect, and must be heard of."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a loop of an account ended by itself", exc_info=error)

    async def forget(self, namespace: str, name: str) -> None:
        """The CloudAccount is gone."""
        await self.hush(namespace, name)
        self._accounts.pop((namespace, name), None)
        self.ledgers.pop((namespace, name), None)

    # -- listening -------------------------------------------------------------------------------------------------

    async def listen(self, account: Account, queue_url: str) -> Listener:
        """Listen to a queue in this account's name; the one that is listened to already is left as it is."""
        from millrace.aws.listener import Listener

        key = (account.namespace, account.name)
        ear = self._ears.get(key)
        if ear and ear.listener.queue_url == queue_url and ear.listener.account is account and not ear.task.done():
            return ear.listener
        await self.hush(*key)
        listener = Listener(
            account,
            queue_url,
            self.wake_by_id,
            lambda type_, result: self.metrics.aws_events.labels(type_ or "other", result).inc(),
            on_broken=lambda: self.wake_account(*key),
        )
        self._ears[key] = _Ear(listener, asyncio.get_running_loop().create_task(listener.run()))
        return listener

    async def hush(self, namespace: str, name: str) -> None:
        """Stop listening for an account."""
        ear = self._ears.pop((namespace, name), None)
        if ear is not None:
            ear.task.cancel()
            await asyncio.gather(ear.task, return_exceptions=True)
