"""What releasing an object is, in an order that is safe to be cut off at any point and to be repeated.

1. The pause annotation: from here on the operator writes nothing about it, and puts no finalizer back.
2. The owner references of its children go, or the garbage collector would take them with the object.
3. The finalizer goes; an object that was being deleted is gone with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from millrace.cli.cluster import Connection, Target, connected, subject
from millrace.engine import finalizers
from millrace.engine.controller import Controller
from millrace.engine.registry import controllers
from millrace.kube import labels, orphans
from millrace.kube.client import Client
from millrace.kube.errors import Conflict, NotFound
from millrace.kube.resources import Resource, of_kind

Object = dict[str, Any]
Held = tuple[Controller, Object]
_TRIES = 5


async def run(target: Target, subjects: Sequence[str], asked: Callable[[str], bool]) -> None:
    """The whole command; with no subjects, everything in the target's namespace, or in all where it names none."""
    async with connected(target) as connection:
        held = await _named(connection, subjects) if subjects else await _all(connection, target.namespace)
        if not held:
            typer.echo("nothing to release")
            return
        for controller, obj in held:
            typer.echo(f"  {_who(controller, obj)} in namespace {obj['metadata']['namespace']}")
        if not asked(f"Let go of {len(held)} object(s)? What they run goes on running and is nobody's from then on"):
            typer.echo("nothing was changed")
            return
        for controller, obj in held:
            kept = await let_go(connection.client, controller, obj)
            typer.echo(f"released {_who(controller, obj)}" + (f"; kept: {', '.join(kept)}" if kept else ""))
    typer.echo(f"They are paused: to hand one back, remove its annotation {labels.PAUSED}.")


def _who(controller: Controller, obj: Object) -> str:
    return f"{controller.kind.singular}/{obj['metadata']['name']}"


async def _named(connection: Connection, subjects: Sequence[str]) -> list[Held]:
    found = [subject(typed) for typed in subjects]
    return [(controller, await connection.get(controller, name)) for controller, name in found]


async def _all(connection: Connection, namespace: str | None) -> list[Held]:
    return [(c, o) for c in controllers() for o in await connection.list_all(c, namespace) if finalizers.has_finalizer(o)]


async def let_go(client: Client, controller: Controller, obj: Object) -> list[str]:
    """Release one object; gives what goes on living without it, as Kind/name."""
    resource, metadata = of_kind(controller.kind), obj["metadata"]
    try:
        await client.patch(
            resource, metadata["namespace"], metadata["name"], {"metadata": {"annotations": {labels.PAUSED: "true"}}}
        )
        kept = [name for child in controller.children for name in await _orphan_all(client, child, metadata)]
        await _drop_finalizer(client, resource, metadata["namespace"], metadata["name"])
    except NotFound:
        return []
    return kept


async def _orphan_all(client: Client, resource: Resource, owner: Object) -> list[str]:
    """Cut loose the children of a resource that our object itself owns; what those own in turn stays with them."""
    selector = f"{labels.OWNER_UID}={owner['uid']}"
    found = [c async for c in client.list_objects(resource, owner["namespace"], labels=selector)]
    own = [c for c in found if labels.is_owned_by(c, owner["uid"])]
    for child in own:
        await _orphan(client, resource, child)
    return [f"{resource.kind}/{c['metadata']['name']}" for c in own if not c["metadata"].get("deletionTimestamp")]


async def _orphan(client: Client, resource: Resource, child: Object) -> None:
    for attempt in range(_TRIES):
        try:
            await orphans.orphan(client, resource, child)
        except Conflict:
            if attempt == _TRIES - 1:
                raise
            child = await client.get(resource, child["metadata"]["namespace"], child["metadata"]["name"])
        else:
            return


async def _drop_finalizer(client: Client, resource: Resource, namespace: str, name: str) -> None:
    for attempt in range(_TRIES):
        obj = await client.get(resource, namespace, name)
        if not finalizers.has_finalizer(obj):
            return
        try:
            await finalizers.remove(client, resource, obj)
        except Conflict:
            if attempt == _TRIES - 1:
                raise
        else:
            return
