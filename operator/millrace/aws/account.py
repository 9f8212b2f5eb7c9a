"""One CloudAccount as passes use it: awaitable calls, paced, on threads; what was denied; lists that objects share.

    answer = await account.call("sagemaker", "DescribeTrainingJob", TrainingJobName=name)

raises the errors of aws/errors.py; those that a backend does not handle go through, the engine knows what they mean to a pass.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from millrace.aws import failures
from millrace.aws.calls import Answer, Caller
from millrace.aws.errors import AlreadyExists, BudgetExceeded, Denied, Expired, NotFound, Throttled, Where
from millrace.aws.identity import Identity, Standing
from millrace.aws.listing import Fetch, SharedList
from millrace.aws.pace import TooLong, Turns
from millrace.aws.pods import PodAccess
from millrace.aws.threads import in_daemon_thread

Timed = tuple[Answer, float]
DEADLINE = 40.0
_DEADLINE_OF = {"sagemaker-runtime": 75.0}
"""A model may take its time."""
_PATIENCE = 5.0
"""Seconds that a call waits for its turn; with more to wait the pass ends, and its worker is free for other objects."""
_ROOM = 16
"""Calls of one operation that wait at a time: a third of the workers, the rest are for whoever needs something else."""


@dataclass(frozen=True)
class Missing:
    """An IAM action that was denied, and who lacks it."""

    action: str
    identity: str


@dataclass
class Account:
    """Made by Cloud; one for each identity that a CloudAccount had since the operator began to lead."""

    namespace: str
    name: str
    identity: Identity
    cluster_id: str
    caller: Caller
    executor: Executor
    monotonic: Callable[[], float]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    wake: Callable[[Any], None] = lambda _: None
    on_denied: Callable[[], None] = lambda: None
    standing: Standing = field(default_factory=lambda: Standing(""))
    _lines: dict[tuple[str, str], Turns] = field(default_factory=dict)
    _denied: dict[tuple[str, str], Missing] = field(default_factory=dict)
    _known: dict[Hashable, tuple[float, Answer]] = field(default_factory=dict)
    _lists: dict[str, SharedList] = field(default_factory=dict)

    @property
    def region(self) -> str:
        """The region that calls go to."""
        return self.identity.region

    @property
    def account_id(self) -> str:
        """The AWS account, as STS said."""
        return self.standing.account_id

    @property
    def pod_access(self) -> PodAccess:
        """How pods reach the same account."""
        return PodAccess(self.identity.region, self.identity.endpoint_url, self.standing.pod_role_arn)

    def check_budget(self) -> None:
        """Before anything begins that costs. Raises BudgetExceeded."""
        if self.standing.blocked:
            raise BudgetExceeded(self.standing.blocked)

    # -- calls -----------------------------------------------------------------------------------------------------

    async def call(self, service: str, operation: str, **parameters: Any) -> Answer:
        """Call an operation by its API name. Raises CallError; a call without an answer may have been carried out."""
        return (await self.timed(service, operation, **parameters))[0]

    async def timed(self, service: str, operation: str, **parameters: Any) -> Timed:
        """The same, and the seconds that the call took: without the wait for its turn and for a thread."""
        sent = await self._turn(service, operation)
        return await self._renewed(service, operation, parameters, sent)

    async def poll(self, service: str, operation: str, **parameters: Any) -> Answer:
        """A long poll, on a thread of its own and without a turn. Raises CallError."""
        return (await self._renewed(service, operation, parameters, self.monotonic(), listening=True))[0]

    async def _renewed(self, *call: Any, **named: Any) -> Timed:
        """Once more with new credentials where AWS says that they are too old."""
        began = time.monotonic()
        try:
            return await self._once(*call, **named)
        except Expired:
            await asyncio.get_running_loop().run_in_executor(self.executor, self.caller.sessions.renew, began)
            return await self._once(*call, **named)

    async def find(self, service: str, operation: str, **parameters: Any) -> Answer | None:
        """The same; None where the thing does not exist."""
        try:
            return await self.call(service, operation, **parameters)
        except NotFound:
            return None

    async def make(self, service: str, operation: str, **parameters: Any) -> Answer | None:
        """Create something; None where a thing of that name exists: look whose it is."""
        try:
            return await self.call(service, operation, **parameters)
        except AlreadyExists:
            return None

    async def remove(self, service: str, operation: str, **parameters: Any) -> bool:
        """Delete something; False where it was gone already."""
        return await self.find(service, operation, **parameters) is not None

    async def pages(self, service: str, operation: str, **parameters: Any) -> AsyncIterator[Answer]:
        """Every page of a listing; each waits for its turn."""
        rule = self.caller.sessions.paginator(service, operation)
        given, told = _tokens(rule)
        while True:
            page = await self.call(service, operation, **parameters)
            yield page
            following = {ours: page[theirs] for ours, theirs in zip(given, told, strict=True) if page.get(theirs)}
            if not following or ("more_results" in rule and not page.get(rule["more_results"])):
                return
            parameters = {**parameters, **following}

    async def items(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        """What all pages hold under a key."""
        return [item async for page in self.pages(service, operation, **parameters) for item in page.get(key) or ()]

    async def _turn(self, service: str, operation: str) -> float:
        try:
            return await self._turns(service, operation).take(_PATIENCE, _ROOM)
        except TooLong as late:
            where = Where(service, operation)
            error = Throttled(where, f"{where} may be called only so often in this account: it waits for its turn")
            error.after = max(0.5, late.seconds)
            raise error from None

    def _turns(self, service: str, operation: str) -> Turns:
        key = (service, operation)
        if key not in self._lines:
            self._lines[key] = Turns(self.monotonic)
        return self._lines[key]

    async def _once(self, service: str, operation: str, parameters: Answer, sent: float, *, listening: bool = False) -> Timed:
        try:
            timed = await self._in_thread(service, operation, parameters, listening)
        except Throttled as error:
            turns = self._turns(service, operation)
            turns.throttled(sent)
            error.after = max(0.5, turns.ahead())
            raise
        except Denied as error:
            self._note_denied(service, operation, Missing(error.action, error.identity))
            raise
        self._turns(service, operation).served()
        self._note_granted(service, operation)
        return timed

    async def _in_thread(self, service: str, operation: str, parameters: Answer, listening: bool) -> Timed:
        def work() -> Timed:
            begun = time.monotonic()
            answer = self.caller.call(service, operation, parameters, listening=listening)
            return answer, time.monotonic() - begun

        deadline = _DEADLINE_OF.get(service, DEADLINE)
        try:
            async with asyncio.timeout(deadline):
                if listening:
                    return await in_daemon_thread(work)
                told = contextvars.copy_context()
                return await asyncio.get_running_loop().run_in_executor(self.executor, told.run, work)
        except TimeoutError:
            raise failures.unreachable(Where(service, operation), f"no answer in {deadline:g} s") from None

    # -- what was denied -------------------------------------------------------------------------------------------

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What IAM refused and has not granted since, sorted."""
        return tuple(sorted(set(self._denied.values()), key=lambda m: (m.action, m.identity)))

    def _note_denied(self, service: str, operation: str, missing: Missing) -> None:
        if self._denied.get((service, operation)) != missing:
            self._denied[service, operation] = missing
            self.on_denied()

    def _note_granted(self, service: str, operation: str) -> None:
        if self._denied.pop((service, operation), None) is not None:
            self.on_denied()

    # -- what hardly changes -----------------------------------------------------------------------------------------

    async def known(self, what: Hashable, seconds: float, read: Callable[[], Awaitable[Answer | None]]) -> Answer | None:
        """What was read in the last `seconds`, else what is read now; that there is none is not remembered."""
        at, held = self._known.get(what, (0.0, None))
        if held is None or self.monotonic() - at >= seconds:
            held = await read()
            if held is not None:
                self._known[what] = (self.monotonic(), held)
        return held

    # -- lists -----------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """The CloudAccount calls as somebody else now: who watched here watches there."""
        for each in self._lists.values():
            each.let_go()

    def shared(self, kind: str, fetch: Fetch) -> SharedList:
        """The account's one list of a kind of things; `fetch` is of its first use."""
        if kind not in self._lists:
            self._lists[kind] = SharedList(fetch, self.monotonic, self.spawn, self.wake)
        return self._lists[kind]


def _tokens(rule: Any) -> tuple[list[str], list[str]]:
    """Names of the parameters that ask for the next page, and of the fields that tell them."""
    given, told = ([value] if isinstance(value, str) else list(value) for value in (rule["input_token"], rule["output_token"]))
    if not all(name.isidentifier() for name in told):
        raise ValueError(f"pages that follow by {told} are not supported")
    return given, told
