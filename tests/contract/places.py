"""Where backends make their things: how an operator gets there, and what goes wrong there on demand."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace.aws.cloud import Cloud
from millrace.aws.settings import AwsSettings
from millrace.engine.cache import Cache
from millrace.engine.clock import SystemClock
from millrace.engine.controller import Pass
from millrace.engine.progress import Board
from millrace.engine.settings import Settings
from millrace.kube import credentials
from millrace.kube.client import Client
from millrace.kube.errors import ApiError, Forbidden, Throttled
from millrace.kube.resources import Resource
from support import cluster
from support.aws import ACCOUNT, CLUSTER, a_cloud, cloud_account, make_role

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
Call = tuple[str, str]
ACCOUNT_NAME = "default"


class Faulty(Client):
    """Answers some calls with an error of the test's choice instead of sending them; `met` counts those."""

    fault: Callable[[str, str], ApiError | None] = staticmethod(lambda _verb, _plural: None)
    met = 0

    async def _call(self, verb: str, resource: Resource, *rest: Any, **named: Any) -> Any:
        if error := self.fault(verb, resource.plural):
            self.met += 1
            raise error
        return await super()._call(verb, resource, *rest, **named)


def faulty(fault: Callable[[str, str], ApiError | None]) -> Faulty:
    """A client of the cluster with a fault."""
    made = Faulty(credentials.load())
    made.fault = fault  # type: ignore[method-assign]
    return made


@dataclass(frozen=True)
class Trouble:
    """A call that is refused until `end`. An operator meets it that is run with `client` (None: with one of its own)."""

    says: str
    client: Client | None
    end: Callable[[], None]
    met: Callable[[], int]


@dataclass
class Place(ABC):
    """Seen from one namespace of the cluster."""

    client: Client
    ns: str

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, client: Client, ns: str, _aws: Callable[[], LocalAws]) -> AsyncIterator[Place]:
        """Ready for objects in the namespace."""
        yield cls(client, ns)

    @property
    def settings(self) -> Settings:
        """Of an operator that serves the namespace."""
        return cluster.settings(self.ns)

    @property
    def cloud(self) -> Cloud | None:
        """The accounts that passes outside an operator use."""
        return None

    def known(self) -> Cache:
        """What a pass knows beside its object and its children."""
        return Cache()

    def a_pass(self, obj: Object, resource: Resource) -> Pass:
        """A pass of its own, that knows nothing but the object."""
        clock, controller = SystemClock(), cluster.KINDS[resource.kind]
        board = Board(clock.monotonic())
        settings = cluster.settings(self.ns, progress_url="")
        return Pass(obj, controller, self.client, self.known(), board, clock, settings, cloud=self.cloud)

    @abstractmethod
    def throttled(self, call: Call) -> Trouble:
        """The call comes too often."""

    @abstractmethod
    def denied(self, call: Call, missing: str) -> Trouble:
        """The operator has no right to make the call."""


class InCluster(Place):
    """The API server; its refusals are made in the operator's own client."""

    def throttled(self, call: Call) -> Trouble:
        error = Throttled(429, "TooManyRequests", "too many requests, please try again later")
        error.after = 0.5
        return self._refused(call, error)

    def denied(self, call: Call, missing: str) -> Trouble:
        message = f'{missing} "x" is forbidden: User "operator" cannot {call[0]} resource "{missing}"'
        return self._refused(call, Forbidden(403, "Forbidden", message))

    def _refused(self, call: Call, error: ApiError) -> Trouble:
        lasting = [True]
        client = faulty(lambda verb, plural: error if (verb, plural) == call and lasting else None)
        return Trouble(error.message, client, lasting.clear, lambda: client.met)


class OnAws(Place):
    """An account of the local AWS, by a role that trusts this namespace alone, with events."""

    aws: LocalAws
    role: str
    _cloud: Cloud

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, client: Client, ns: str, aws: Callable[[], LocalAws]) -> AsyncIterator[Place]:
        made = cls(client, ns)
        made.aws = aws()
        made.role = make_role(made.aws, ns, external_id=f"{CLUSTER}/{ns}")
        spec = {"region": "us-east-1", "roleARN": made.role, "events": {"managed": {}}}
        resource = cluster.CLOUD_ACCOUNTS
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        await client.create(resource, {**head, "metadata": {"name": ACCOUNT_NAME, "namespace": ns}, "spec": spec})
        try:
            async with a_cloud(made.aws) as made._cloud:
                yield made
        finally:
            made.aws.admin.clear_faults()

    @property
    def settings(self) -> Settings:
        return cluster.settings(self.ns, aws=AwsSettings(endpoint_url=self.aws.endpoint_url, cluster_id=CLUSTER))

    @property
    def cloud(self) -> Cloud:
        return self._cloud

    def known(self) -> Cache:
        """The account, as its own passes have found it."""
        cache = Cache()
        cache.put("cloudaccounts", cloud_account(ACCOUNT_NAME, self.ns, roleARN=self.role))
        return cache

    def boto(self, service: str) -> Any:
        """A client beside the operator."""
        return self.aws.client(service, account=ACCOUNT)

    def throttled(self, call: Call) -> Trouble:
        return self._refused("Rate exceeded", call, "throttle", per_second=0, burst=0)

    def denied(self, call: Call, missing: str) -> Trouble:
        return self._refused(missing, call, "deny")

    def _refused(self, says: str, call: Call, kind: str, **more: Any) -> Trouble:
        admin = self.aws.admin
        fault = admin.add_fault(kind, service=call[0], operation=call[1], principal=f"*assumed-role/{self.ns}/*", **more)
        refused = f"{call[0]}.{call[1]}."
        before = self._failures(refused)
        return Trouble(says, None, lambda: admin.clear_faults(fault), lambda: self._failures(refused) - before)

    def _failures(self, prefix: str) -> int:
        return self.aws.admin.requests(prefix) - self.aws.admin.requests(f"{prefix}200")
