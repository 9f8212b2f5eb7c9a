"""One pass over one object, and nothing about any kind.

load from cache -> paused? -> finalizer -> the kind's stages -> one status write, only on a difference -> events, only after it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from millrace.aws.cloud import Cloud
from millrace.engine import conditions, finalizers
from millrace.engine.cache import Cache, Key
from millrace.engine.clock import Clock, stamp
from millrace.engine.controller import Controller, Pass
from millrace.engine.errors import MillraceError, Retry, Terminal, Waiting, from_api, understood
from millrace.engine.outcome import Event, Outcome
from millrace.engine.progress import Board
from millrace.engine.queue import Queue
from millrace.engine.settings import Settings
from millrace.kube import events
from millrace.kube.client import Client
from millrace.kube.errors import ApiError, NotFound
from millrace.kube.labels import PAUSED, RECONCILE_AT
from millrace.kube.resources import of_kind
from millrace.telemetry.logs import bound
from millrace.telemetry.metrics import Metrics

Object = dict[str, Any]
_GOING_SECONDS = 60.0
"""No spec will change of what is being deleted: its errors are tried again, even those that end the matter otherwise."""
log = logging.getLogger(__name__)


class WriteBudget:
    """A token bucket for status writes that tell of nothing but progress. Pure but for the clock.

    It holds one second's worth, and one write at least: a rate below one a second is slow, not never.
    """

    def __init__(self, clock: Clock, per_second: float) -> None:
        self._clock = clock
        self._rate = per_second
        self._most = max(1.0, per_second)
        self._tokens = self._most
        self._filled = clock.monotonic()

    def take(self) -> float:
        """0 when a write may go now, else the seconds until one may."""
        now = self._clock.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


@dataclass
class Engine:
    """What every pass shares."""

    client: Client
    cache: Cache
    queue: Queue
    board: Board
    clock: Clock
    settings: Settings
    metrics: Metrics
    controllers: Mapping[str, Controller]
    budget: WriteBudget
    cloud: Cloud | None = None

    async def run(self, key: Key) -> None:
        """One pass, whatever happens in it; asks the queue for the next one. Never raises an Exception."""
        controller = self.controllers[key.plural]
        obj = self.cache.get(key)
        if obj is None:
            self.queue.forget(key)
            return
        begun = time.monotonic()
        with bound(**_log_fields(controller, obj)):
            result = await self._guarded(key, controller, obj)
        self.metrics.reconciles.labels(controller.kind.name, result).inc()
        self.metrics.seconds.labels(controller.kind.name).observe(time.monotonic() - begun)

    async def _guarded(self, key: Key, controller: Controller, obj: Object) -> str:
        try:
            outcome = await self._pass(key, controller, obj)
        except ApiError as error:
            return self._again(key, controller, from_api(error))
        except MillraceError as error:
            return self._again(key, controller, error)
        except Exception as error:
            log.exception("the pass failed where no failure is expected")
            return self._again(key, controller, error)
        if outcome.failed:
            return "error"
        self.queue.forget(key)
        if outcome.requeue_after is not None:
            self.queue.add(key, outcome.requeue_after)
        return "ok"

    def _again(self, key: Key, controller: Controller, error: Exception) -> str:
        """Errors outside the kind's stages: the status could not be written, so there is nowhere to say it but the log."""
        self.metrics.errors.labels(controller.kind.name, type(error).__name__).inc()
        delay = self.queue.failed(key, error.after if isinstance(error, (Retry, Waiting)) else None)
        if not (isinstance(error, Retry) and error.silent):
            log.warning("the pass is repeated in %.1f s: %s", delay, error)
        return "retry"

    async def _pass(self, key: Key, controller: Controller, obj: Object) -> Outcome:
        annotations = obj["metadata"].get("annotations") or {}
        if annotations.get(PAUSED, "false") != "false":
            return Outcome()
        deleting = bool(obj["metadata"].get("deletionTimestamp"))
        if deleting and not finalizers.has_finalizer(obj):
            return Outcome()
        if not deleting and not finalizers.has_finalizer(obj):
            obj = await finalizers.add(self.client, of_kind(controller.kind), obj)
            self.cache.put(key.plural, obj)
        outcome = await self._stages(key, controller, obj, deleting)
        if outcome.released:
            await self._post(obj, outcome.events)
            await finalizers.remove(self.client, of_kind(controller.kind), obj)
            self.board.forget(obj["metadata"]["uid"])
            return outcome
        return await self._write(key, controller, obj, outcome)

    async def _stages(self, key: Key, controller: Controller, obj: Object, deleting: bool) -> Outcome:
        """The kind's own pass; what it raises becomes an outcome too, and a next try."""
        made = Pass(obj, controller, self.client, self.cache, self.board, self.clock, self.settings, cloud=self.cloud)
        made.referrers = lambda: self._referrers(key)
        try:
            return await (controller.finalize(made) if deleting else controller.reconcile(made))
        except Exception as raised:
            return self._failed(key, controller, obj, understood(raised))

    def _referrers(self, key: Key) -> list[Object]:
        return [
            obj
            for controller in self.controllers.values()
            for obj in self.cache.all(controller.kind.plural)
            if obj["metadata"].get("namespace") == key.namespace and key in controller.references(obj)
        ]

    def _failed(self, key: Key, controller: Controller, obj: Object, error: Exception) -> Outcome:
        kind = controller.kind
        if isinstance(error, Retry) and error.silent:
            raise error
        self.metrics.errors.labels(kind.name, type(error).__name__).inc()
        if not isinstance(error, MillraceError):
            log.error("unexpected error", exc_info=error)
        verdicts = controller.explain(obj, error) or conditions.for_error(kind.summary, error)
        outcome = Outcome(conditions=verdicts)
        if isinstance(error, Terminal):
            self.metrics.terminal.labels(kind.name).inc()
            again = _GOING_SECONDS if obj["metadata"].get("deletionTimestamp") else None
            return replace(outcome, events=(Event(verdicts[0].reason, error.message, "Warning"),), requeue_after=again)
        if isinstance(error, Waiting) or (isinstance(error, Retry) and error.patient):
            return replace(outcome, requeue_after=error.after)
        self.queue.failed(key, error.after if isinstance(error, Retry) else None)
        return replace(outcome, failed=True)

    async def _write(self, key: Key, controller: Controller, obj: Object, outcome: Outcome) -> Outcome:
        old = obj.get("status") or {}
        generation = int(obj["metadata"].get("generation") or 0)
        asked = (obj["metadata"].get("annotations") or {}).get(RECONCILE_AT)
        echoed = {**outcome.fields, "lastReconcileAt": asked} if asked else outcome.fields
        new = conditions.desired_status(old, replace(outcome, fields=echoed), generation, stamp(self.clock.now()))
        patch = conditions.merge_patch(old, new)
        if not patch:
            return outcome
        if _only_progress(patch, controller.progress_fields) and (wait := self.budget.take()):
            self.metrics.status_deferred.inc()
            return replace(outcome, requeue_after=min(wait, outcome.requeue_after or wait))
        if await self._write_status(key, controller, obj, patch):
            await self._post(obj, outcome.events)
        return outcome

    async def _write_status(self, key: Key, controller: Controller, obj: Object, patch: Object) -> bool:
        """False where the object is gone: there is nobody to tell."""
        metadata = obj["metadata"]
        resource = of_kind(controller.kind)
        try:
            stored = await self.client.patch_status(resource, metadata["namespace"], metadata["name"], metadata["uid"], patch)
        except NotFound:
            return False
        self.cache.put(key.plural, stored)
        return True

    async def _post(self, obj: Object, happened: tuple[Event, ...]) -> None:
        now = stamp(self.clock.now())
        for event in happened:
            try:
                await events.post(self.client, obj, event.type, event.reason, event.message, now, self.settings.identity)
            except ApiError as error:
                log.warning("an event was not posted: %s", error.message)


def _only_progress(patch: Object, progress_fields: frozenset[str]) -> bool:
    return bool(progress_fields) and patch.keys() <= progress_fields


def _log_fields(controller: Controller, obj: Object) -> dict[str, Any]:
    metadata = obj["metadata"]
    return {
        "kind": controller.kind.name,
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "uid": metadata["uid"],
        "generation": metadata.get("generation"),
        "pass": f"{metadata['uid'][:8]}-{time.monotonic_ns() // 1000:x}",
    }
