"""One object, pass by pass, without a cluster: as the engine makes a pass, and writes what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millrace.aws.cloud import Cloud
from millrace.engine import conditions
from millrace.engine.cache import Cache
from millrace.engine.controller import Controller, Pass
from millrace.engine.errors import understood
from millrace.engine.outcome import Event, Outcome
from millrace.engine.progress import Board
from millrace.engine.settings import Settings
from millrace.kube.resources import Resource
from support.clock import FakeClock

Object = dict[str, Any]
NOW = "2026-01-01T12:00:00Z"


class Stored:
    """The API server, as far as it is asked for the object itself."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    async def find(self, _resource: Resource, _namespace: str, _name: str) -> Object:
        return self._passes.object


class Passes:
    """An object of a kind, its clock and its cache, and the operator's accounts. Subclasses make the object."""

    controller: Controller
    object: Object

    def __init__(self, cloud: Cloud | None = None) -> None:
        self.cloud, self.clock, self.cache = cloud, FakeClock(), Cache()
        self.client: Any = Stored(self)
        self.events: list[Event] = []
        self.released = False
        self.referrers: Callable[[], list[Object]] = list

    def a_pass(self) -> Pass:
        made = Pass(self.object, self.controller, self.client, self.cache, Board(), self.clock, Settings(), cloud=self.cloud)
        made.referrers = self.referrers
        return made

    async def once(self, finalize: bool = False) -> Outcome:
        try:
            made = await (self.controller.finalize if finalize else self.controller.reconcile)(self.a_pass())
        except Exception as raised:
            error, kind = understood(raised), self.controller.kind
            made = Outcome(self.controller.explain(self.object, error) or conditions.for_error(kind.summary, error))
        generation = self.object["metadata"]["generation"]
        self.object["status"] = conditions.desired_status(self.object["status"], made, generation, NOW)
        self.controller.kind.status.model_validate(self.object["status"])
        self.events += made.events
        self.released = made.released
        return made

    def change(self, **spec: Any) -> None:
        self.object["spec"] |= spec
        self.object["metadata"]["generation"] += 1

    @property
    def told(self) -> Object:
        return dict(self.object["status"])
