"""Progress pushes: the board that holds the newest one of each sender, and who may write on it.

Pushes are hints. They are held in memory only; what must be true is read back from the claim.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

from millrace.engine.cache import Cache
from millrace.engine.clock import Clock
from millrace.kube import labels
from millrace.kube.client import Client
from millrace.kube.errors import ApiError
from millrace.kube.resources import PODS, TOKEN_REVIEWS

Object = dict[str, Any]
AUDIENCE = "millrace"
_TOKEN_CACHE_SECONDS = 300.0
_MAX_METRICS = 32
_MOST = 2**53
"""Largest number taken: what is larger is no step and no rate, and would make the status write fail."""


class PushRefused(Exception):
    """A push that is not taken; `status` is the HTTP status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Push:
    """The newest report of one rank. `received` is the operator's monotonic clock, in seconds."""

    uid: str
    attempt: int
    rank: int
    phase: str
    step: int
    max_steps: int | None
    metrics: dict[str, float]
    tokens_per_second: float | None
    step_seconds: float | None
    checkpoint: Object | None
    message: str | None
    received: float
    step_changed: float
    """When the step was last seen to move, on the same clock."""


@dataclass
class Board:
    """Newest pushes by (uid, attempt) and rank. `since` is when it was opened, on the clock of `Push.received`."""

    since: float = 0.0
    pushes: dict[tuple[str, int], dict[int, Push]] = field(default_factory=dict)

    def put(self, push: Push) -> None:
        """Take in a push; an older attempt's pushes of the same object are forgotten."""
        for key in [k for k in self.pushes if k[0] == push.uid and k[1] < push.attempt]:
            del self.pushes[key]
        self.pushes.setdefault((push.uid, push.attempt), {})[push.rank] = push

    def of(self, uid: str, attempt: int) -> dict[int, Push]:
        """Pushes of an attempt by rank."""
        return self.pushes.get((uid, attempt), {})

    def forget(self, uid: str) -> None:
        """The object is gone."""
        for key in [k for k in self.pushes if k[0] == uid]:
            del self.pushes[key]


def parse(body: Object, before: Push | None, now: float) -> Push:
    """A push from its JSON body. Raises PushRefused (400) naming the field that is wrong."""
    try:
        step = _count(body.get("step"))
        moved = before is None or before.step != step or before.attempt != int(body["attempt"])
        return Push(
            uid=str(body["uid"]),
            attempt=int(body["attempt"]),
            rank=_count(body.get("rank")),
            phase=str(body.get("phase") or "training")[:32],
            step=step,
            max_steps=_count(body.get("maxSteps")) or None,
            metrics={str(k)[:63]: float(v) for k, v in list((body.get("metrics") or {}).items())[:_MAX_METRICS]},
            tokens_per_second=_finite(body.get("tokensPerSecond")),
            step_seconds=_finite(body.get("stepSeconds")),
            checkpoint=_checkpoint(body.get("checkpoint")),
            message=str(body["message"])[:1024] if body.get("message") else None,
            received=now,
            step_changed=now if moved or before is None else before.step_changed,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PushRefused(400, f"not a progress report: {type(error).__name__}: {error}") from error


def _count(value: Any) -> int:
    number = int(value or 0)
    if not 0 <= number <= _MOST:
        raise ValueError(f"{number:.3g} is not a count")
    return number


def _finite(value: Any) -> float | None:
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) and 0 <= number <= _MOST else None


def _checkpoint(value: Any) -> Object | None:
    if not value:
        return None
    return {"step": _count(value["step"]), "path": str(value["path"])[:512], "committedAt": str(value["committedAt"])[:32]}


@dataclass(frozen=True)
class _Sender:
    namespace: str
    pod_name: str
    pod_uid: str
    until: float


class Gate:
    """Says whether a token's pod may report for an attempt: it must be a live pod of just that attempt."""

    def __init__(self, client: Client, cache: Cache, clock: Clock) -> None:
        self._client = client
        self._cache = cache
        self._clock = clock
        self._known: dict[str, _Sender] = {}

    async def check(self, token: str, uid: str, attempt: int) -> None:
        """Raises PushRefused: 401 for a bad token, 403 for a pod that is not of this attempt, 503 when it cannot be told."""
        sender = await self._sender(token)
        pod = next((p for p in self._cache.children(uid, PODS.plural) if p["metadata"]["uid"] == sender.pod_uid), None)
        if pod is None:
            raise PushRefused(403, "the token's pod does not belong to this object")
        if (pod["metadata"].get("labels") or {}).get(labels.ATTEMPT) != str(attempt):
            raise PushRefused(403, "the token's pod belongs to another attempt")
        if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            raise PushRefused(403, "the token's pod has ended")

    async def _sender(self, token: str) -> _Sender:
        if not token:
            raise PushRefused(401, "a bearer token is needed")
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(digest)
        if known is None or known.until < self._clock.monotonic():
            known = await self._review(token)
            self._forget_expired()
            self._known[digest] = known
        return known

    def _forget_expired(self) -> None:
        now = self._clock.monotonic()
        self._known = {k: s for k, s in self._known.items() if s.until >= now}

    async def _review(self, token: str) -> _Sender:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": {},
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            status = (await self._client.create(TOKEN_REVIEWS, review))["status"]
        except ApiError as error:
            raise PushRefused(503, f"the token could not be checked: {error.message}") from error
        if not status.get("authenticated") or AUDIENCE not in (status.get("audiences") or []):
            raise PushRefused(401, "the token is not valid for the audience millrace")
        return self._from_review(status["user"])

    def _from_review(self, user: Object) -> _Sender:
        extra = user.get("extra") or {}
        pod_uid = (extra.get("authentication.kubernetes.io/pod-uid") or [""])[0]
        pod_name = (extra.get("authentication.kubernetes.io/pod-name") or [""])[0]
        if not pod_uid:
            raise PushRefused(403, "the token is not bound to a pod")
        namespace = user["username"].split(":")[2]
        return _Sender(namespace, pod_name, pod_uid, self._clock.monotonic() + _TOKEN_CACHE_SECONDS)
