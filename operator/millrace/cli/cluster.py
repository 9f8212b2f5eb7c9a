"""How the commands reach the cluster, and how they find an object by what was typed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.cli.problems import Exit, Problem
from millrace.engine.controller import Controller
from millrace.engine.registry import controllers
from millrace.kube import credentials
from millrace.kube.client import Client
from millrace.kube.errors import NotFound
from millrace.kube.resources import of_kind

Object = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Which cluster and namespace a command is about; None leaves it to the kubeconfig."""

    context: str | None = None
    kubeconfig: Path | None = None
    namespace: str | None = None

    def credentials(self) -> credentials.Credentials:
        """Raises NoCluster."""
        if self.kubeconfig is None:
            return credentials.load(self.context)
        if not self.kubeconfig.is_file():
            raise credentials.NoCluster(f"{self.kubeconfig} does not exist; --kubeconfig must name a kubeconfig file")
        return credentials.from_kubeconfig(self.kubeconfig, self.context)


@dataclass(frozen=True)
class Connection:
    """An open client, and the namespace to work in."""

    client: Client
    namespace: str

    async def list_all(self, controller: Controller, namespace: str | None) -> list[Object]:
        """Objects of a kind, in one namespace or (None) in all; none where the kind is not installed."""
        try:
            return [o async for o in self.client.list_objects(of_kind(controller.kind), namespace)]
        except NotFound:
            return []

    async def find(self, controller: Controller, name: str) -> Object | None:
        """An object of the connection's namespace, or None."""
        return await self.client.find(of_kind(controller.kind), self.namespace, name)

    async def get(self, controller: Controller, name: str) -> Object:
        """An object of the connection's namespace. Raises Problem, with exit code 3, where there is none."""
        found = await self.find(controller, name)
        if found is None:
            kind = controller.kind
            raise Problem(
                f"{kind.singular}/{name} does not exist in namespace {self.namespace}",
                f"See `kubectl get {kind.plural} --all-namespaces`; -n names another namespace.",
                Exit.NOT_FOUND,
            )
        return found


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Connection]:
    """A connection for the time of a command."""
    found = target.credentials()
    async with Client(found) as client:
        yield Connection(client, target.namespace or found.namespace)


def kind_named(word: str) -> Controller:
    """The kind of a name as kubectl takes it: kind, singular, plural or short name, in any case."""
    lower = word.lower()
    for controller in controllers():
        kind = controller.kind
        if lower in {kind.singular, kind.plural, *kind.short_names, f"{kind.plural}.{kind.group}"}:
            return controller
    known = ", ".join(c.kind.singular for c in controllers())
    raise Problem(f"there is no kind {word!r}", f"Kinds are: {known}.", Exit.USAGE)


def subject(typed: str) -> tuple[Controller, str]:
    """Kind and name of KIND/NAME."""
    kind, slash, name = typed.partition("/")
    if not slash or not name:
        raise Problem(f"{typed!r} is not KIND/NAME", "For example: trainingjob/gpt.", Exit.USAGE)
    return kind_named(kind), name
