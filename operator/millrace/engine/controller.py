"""What a kind's folder exports, and the hands that a pass gives it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from millrace.api.resource import Kind
from millrace.aws import subscriptions
from millrace.aws.cloud import Cloud
from millrace.aws.costs import Estimate
from millrace.aws.permissions import Feature
from millrace.aws.places import CloudLog
from millrace.aws.resolve import ACCOUNTS
from millrace.engine.cache import Cache, Key
from millrace.engine.clock import Clock
from millrace.engine.errors import NameConflict
from millrace.engine.outcome import Outcome, Verdict
from millrace.engine.progress import Board
from millrace.engine.reasons import Reason
from millrace.engine.settings import Settings
from millrace.kube import labels, managers
from millrace.kube.client import Client
from millrace.kube.errors import AlreadyExists
from millrace.kube.managers import Manager
from millrace.kube.resources import Resource, of_kind

if TYPE_CHECKING:
    from millrace.aws.account import Account

Object = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """RBAC that a kind needs beside its own resource: API group, resources, verbs."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    cluster_scoped: bool = False


Price = Callable[[str, str], Decimal | None]
"""US dollars an hour of a use and a type; None where it has no price."""


@dataclass(frozen=True)
class Controller:
    """One kind: its API, its stages, what it watches and what it may do.

    `reconcile` and `finalize` make one pass each; `explain` gives the conditions for an error that a pass raised, or None to
    leave it to the engine. `references` names objects of other kinds that this object's state depends on: a change of one of
    them wakes it. `progress_fields` are status fields that tell of nothing but progress; their writes are bounded. `external_ids`
    are the ids (ARNs) of things outside whose events wake the object. `tells` gives what of an object concerns those that refer
    to it: they are woken when it changes; by every write of the object where it is None. `estimate` tells what an object would
    cost by a price for a use and a type; `cloud_log` where the log of an attempt's rank is, of what runs outside the cluster;
    `aws` what each use needs of a CloudAccount's role. `resting` are the reasons, beside Suspended, with which an object rightly
    does nothing.
    """

    kind: Kind
    reconcile: Callable[[Pass], Awaitable[Outcome]]
    finalize: Callable[[Pass], Awaitable[Outcome]]
    explain: Callable[[Object, BaseException], tuple[Verdict, ...] | None]
    children: tuple[Resource, ...]
    rules: tuple[Rule, ...]
    reasons: tuple[Reason, ...]
    references: Callable[[Object], tuple[Key, ...]] = lambda _: ()
    watches_nodes: bool = False
    wake_on_node: Callable[[Object], bool] = lambda _: False
    progress_fields: frozenset[str] = frozenset()
    preview: Callable[[Object, Settings], list[Object]] = lambda _obj, _settings: []
    estimate: Callable[[Object, Price], Estimate | None] = lambda _obj, _price: None
    cloud_log: Callable[[Object, int | None, int], CloudLog | None] = lambda _obj, _attempt, _rank: None
    tells: Callable[[Object], Any] | None = None
    aws: tuple[Feature, ...] = ()
    resting: tuple[Reason, ...] = ()
    external_ids: Callable[[Object], tuple[str, ...]] = lambda obj: (
        *filter(None, [(obj.get("status") or {}).get("externalID")]),
        *subscriptions.awaited(obj),
    )


@dataclass
class Pass:
    """One pass over one object: what is known, and the only ways to act."""

    object: Object
    controller: Controller
    client: Client
    cache: Cache
    board: Board
    clock: Clock
    settings: Settings
    wrote: list[str] = field(default_factory=list)
    cloud: Cloud | None = None
    referrers: Callable[[], list[Object]] = list
    """Objects of the namespace that refer to this one, of any kind."""

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.object["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """The generation of its spec."""
        return int(self.object["metadata"].get("generation") or 0)

    @property
    def status(self) -> Object:
        """Its status as last written; {} at first."""
        return dict(self.object.get("status") or {})

    @cached_property
    def spec(self) -> Any:
        """The typed spec."""
        return self.controller.kind.spec.model_validate(self.object["spec"])

    async def manager_of(self, *path: str) -> Manager | None:
        """Who set a field, asked of the API server: the cache leaves that out."""
        found = await self.client.find(of_kind(self.controller.kind), self.namespace, self.name)
        same = found is not None and found["metadata"].get("uid") == self.uid
        return managers.of_field(found["metadata"].get("managedFields") or (), *path) if found and same else None

    def child(self, resource: Resource, name: str) -> Object | None:
        """A child by name, from the cache; None where there is none or it belongs to another object."""
        found = self.cache.get(Key(resource.plural, self.namespace, name))
        return found if found is not None and self.cache.owner_uid(found) == self.uid else None

    def children(self, resource: Resource) -> list[Object]:
        """All children of a resource, sorted by name."""
        return self.cache.children(self.uid, resource.plural)

    def lookup(self, plural: str, name: str) -> Object | None:
        """An object of one of our kinds in the same namespace, from the cache."""
        return self.cache.get(Key(plural, self.namespace, name))

    @property
    def key(self) -> Key:
        """What wakes this object: for `account.shared(...).watch(id, seen, ctx.key)`."""
        return Key(self.controller.kind.plural, self.namespace, self.name)

    @property
    def clouds(self) -> Cloud:
        """All accounts of this replica."""
        assert self.cloud is not None, "passes of the runtime have one; give one to a pass made by hand"
        return self.cloud

    def account(self, name: str = "default") -> Account:
        """The account of a CloudAccount of the namespace. Raises AccountNotReady, which goes through as it is."""
        return self.clouds.account(self.namespace, name, self.lookup)

    def never_answered(self, name: str) -> bool:
        """Whether there is no such CloudAccount, or AWS has never answered it: nothing can have been made in it.

        One that was used stays until the last object that uses it is gone.
        """
        found = self.lookup(ACCOUNTS, name)
        return not ((found or {}).get("status") or {}).get("accountID")

    async def create(self, resource: Resource, manifest: Object) -> Object:
        """Make a child that never changes; one that is already there and ours is adopted.

        Raises NameConflict where the name is taken by something that is not this object's.
        """
        try:
            made = await self.client.create(resource, manifest)
        except AlreadyExists:
            made = await self._adopted(resource, manifest)
        self._note(resource, "create", made)
        return made

    async def _adopted(self, resource: Resource, manifest: Object) -> Object:
        name = manifest["metadata"]["name"]
        found = await self.client.get(resource, self.namespace, name)
        if self.cache.owner_uid(found) != self.uid:
            raise NameConflict(f"{resource.kind} {name!r} exists and was not made for this object")
        return found

    async def apply(self, resource: Resource, manifest: Object) -> Object:
        """Server-side apply a child that may change later."""
        made = await self.client.apply(resource, manifest)
        self._note(resource, "apply", made)
        return made

    async def delete(self, resource: Resource, child: Object, **how: Any) -> None:
        """Delete exactly this child; gone already is success. `how` is as for the client's `delete`."""
        metadata = child["metadata"]
        await self.client.delete(resource, self.namespace, metadata["name"], uid=metadata["uid"], **how)
        self.wrote.append(f"delete {resource.kind} {metadata['name']}")

    def _note(self, resource: Resource, verb: str, made: Object) -> None:
        self.cache.put(resource.plural, {"apiVersion": resource.api_version, "kind": resource.kind, **made})
        self.wrote.append(f"{verb} {resource.kind} {made['metadata']['name']}")

    def labels(self, role: str, attempt: int | None = None) -> dict[str, str]:
        """Labels of a child of this object."""
        return labels.child_labels(self.object, role, attempt)
