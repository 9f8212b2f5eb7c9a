"""When a wait ends, and with which exit code: a pure decision over what is seen, and the loop around it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from millrace.api.resource import Kind
from millrace.cli.cluster import Target, connected, subject
from millrace.cli.problems import Exit, Problem
from millrace.cli.status import next_step
from millrace.engine.conditions import find
from millrace.kube.errors import Throttled, Unavailable

Object = Mapping[str, Any]
_POLL_SECONDS = 1.0
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Wanted:
    """What is waited for: a condition's status, or (type "deleted") the end of the object. "" is the kind's summary."""

    type: str = ""
    status: str = "True"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `--for`. Raises Problem."""
        type_, _, status = text.removeprefix("condition=").partition("=")
        if status and status.capitalize() not in {"True", "False", "Unknown"}:
            raise Problem(f"--for: {status!r} is no status of a condition", "Use True, False or Unknown.", Exit.USAGE)
        return cls("deleted" if type_ == "delete" else type_, status.capitalize() or "True")


class Decision(Enum):
    """What is seen means one of these."""

    REACHED = "reached"
    FAILED = "failed"
    MISSING = "missing"
    WAITING = "waiting"


@dataclass(frozen=True)
class Told:
    """How a wait ended."""

    code: Exit
    message: str
    next_step: str = ""


def seconds(text: str) -> float | None:
    """A duration in seconds; None where none is given. Raises Problem."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text.strip())
    if found is None:
        raise Problem(f"--timeout: {text!r} is no duration", "For example 90s, 15m or 2h.", Exit.USAGE)
    return float(found[1]) * _UNITS[found[2]]


def decide(obj: Object | None, kind: Kind, wanted: Wanted) -> Decision:
    """What an object (None: there is none) means to whoever waits for `wanted`.

    Conditions of an older spec say nothing. Failed is what no longer changes by itself: Stalled, or a bounded kind's False.
    """
    if wanted.type == "deleted":
        return Decision.REACHED if obj is None else Decision.WAITING
    if obj is None:
        return Decision.MISSING
    status = obj.get("status") or {}
    if int(status.get("observedGeneration", -1)) < int(obj["metadata"].get("generation") or 0):
        return Decision.WAITING
    if _is(status, wanted.type or kind.summary, wanted.status):
        return Decision.REACHED
    failed = _is(status, "Stalled", "True") or (kind.summary == "Succeeded" and _is(status, "Succeeded", "False"))
    return Decision.FAILED if failed else Decision.WAITING


def _is(status: Object, type_: str, wanted: str) -> bool:
    found = find(status.get("conditions"), type_)
    return found is not None and found["status"] == wanted


def saying(obj: Object | None, kind: Kind) -> str:
    """The object's own words: those of what stalls it, or of its summary condition."""
    conditions = ((obj or {}).get("status") or {}).get("conditions")
    stalled = find(conditions, "Stalled")
    told = stalled if stalled is not None and stalled["status"] == "True" else find(conditions, kind.summary)
    if told is None:
        return "the operator has said nothing of it yet"
    return f"{told['reason']}: {told['message']}" if told.get("message") else str(told["reason"])


async def until(
    look: Callable[[], Awaitable[Object | None]],
    kind: Kind,
    wanted: Wanted,
    timeout: float | None,
    say: Callable[[str], None],
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Decision, Object | None]:
    """Look until it is decided or the time is up (WAITING then); `say` is told each time that the object says something new."""
    deadline = None if timeout is None else monotonic() + timeout
    said = ""
    while True:
        obj = await look()
        decision = decide(obj, kind, wanted)
        if decision is not Decision.WAITING or (deadline is not None and monotonic() >= deadline):
            return decision, obj
        if (now_says := saying(obj, kind)) != said:
            say(said := now_says)
        await sleep(_POLL_SECONDS)


async def wait_for(target: Target, typed: str, wanted: Wanted, timeout: float | None, quiet: bool) -> Told:
    """The whole command. A cluster that is away for a while is waited for, too, once it has answered."""
    controller, name = subject(typed)
    kind = controller.kind
    async with connected(target) as connection:
        last: Object | None = await connection.find(controller, name)

        async def look() -> Object | None:
            nonlocal last
            try:
                last = await connection.find(controller, name)
            except (Unavailable, Throttled) as error:
                say(f"the cluster does not answer: {error.message}")
            return last

        def say(text: str) -> None:
            if not quiet:
                sys.stderr.write(f"{kind.singular}/{name}: {text}\n")

        decision, obj = await until(look, kind, wanted, timeout, say)
    return told(decision, obj, kind, f"{kind.singular}/{name}", wanted)


def told(decision: Decision, obj: Object | None, kind: Kind, who: str, wanted: Wanted) -> Told:
    """How to end, in words and as an exit code."""
    says = saying(obj, kind)
    match decision:
        case Decision.REACHED if wanted.type == "deleted":
            return Told(Exit.OK, f"{who}: deleted")
        case Decision.REACHED:
            return Told(Exit.OK, f"{who}: {wanted.type or kind.summary}={wanted.status}: {says}")
        case Decision.FAILED:
            return Told(Exit.FAILED, f"{who}: failed: {says}", next_step(kind.singular, says.partition(":")[0]))
        case Decision.MISSING:
            return Told(Exit.NOT_FOUND, f"{who}: does not exist", f"See `kubectl get {kind.plural} --all-namespaces`.")
        case Decision.WAITING:
            return Told(Exit.TIMED_OUT, f"{who}: timed out: {says}", "It goes on; wait again, or give it a longer --timeout.")
