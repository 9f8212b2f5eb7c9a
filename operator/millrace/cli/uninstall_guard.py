"""`python -m millrace.cli.uninstall_guard`: refuses `helm uninstall` while objects exist that only the operator can take down.

The chart's pre-delete hook runs it. An object with our finalizer cannot go away when nobody is left to take the finalizer off.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from millrace.engine.finalizers import has_finalizer
from millrace.engine.registry import controllers
from millrace.kube import credentials
from millrace.kube.client import Client
from millrace.kube.errors import ApiError, Forbidden, NotFound
from millrace.kube.resources import Resource, of_kind

Object = dict[str, Any]
_NAMED = 20


async def held(client: Client, resources: Iterable[Resource], namespaces: Sequence[str]) -> list[Object]:
    """Objects with our finalizer, in the given namespaces or in all. A kind that is not installed has none."""
    found: list[Object] = []
    for resource in resources:
        for namespace in namespaces or (None,):
            found += [o for o in await _listed(client, resource, namespace) if has_finalizer(o)]
    return found


async def _listed(client: Client, resource: Resource, namespace: str | None) -> list[Object]:
    """All of a kind. A namespace that is gone took the right to list it along: there is nothing in it."""
    try:
        return [o async for o in client.list_objects(resource, namespace)]
    except NotFound:
        return []
    except Forbidden as error:
        if namespace is None:
            raise
        sys.stdout.write(f"namespace {namespace} is passed over, for it may not be read, as when it is gone: {error}\n")
        return []


def refusal(objects: Sequence[Object]) -> str:
    """What to say when uninstalling is refused: the first objects by name, and the two ways on."""
    names = [f"  {o['kind'].lower()}/{o['metadata']['name']} in namespace {o['metadata']['namespace']}" for o in objects[:_NAMED]]
    more = [f"  and {len(objects) - _NAMED} more"] if len(objects) > _NAMED else []
    return "\n".join(
        [
            f"uninstall refused: {len(objects)} object(s) have a finalizer that only the operator removes:",
            *names,
            *more,
            "Delete them and wait until they are gone, which takes down what they run;",
            "or run `millrace release --all`, which lets go of them and leaves what runs running.",
            "Then run `helm uninstall` again. `helm uninstall --no-hooks` skips this check.",
        ]
    )


async def guard(namespaces: Sequence[str]) -> str:
    """ "" when the operator may go, else what to say."""
    async with Client(credentials.load()) as client:
        objects = await held(client, [of_kind(c.kind) for c in controllers()], namespaces)
    return refusal(objects) if objects else ""


def main() -> int:
    """0 when nothing is held, 1 when something is, 2 when it could not be found out."""
    namespaces = [n for n in os.environ.get("MILLRACE_WATCH_NAMESPACES", "").split(",") if n]
    try:
        said = asyncio.run(guard(namespaces))
    except (ApiError, credentials.NoCluster) as error:
        sys.stdout.write(f"cannot tell whether objects are left: {error}\n")
        return 2
    sys.stdout.write(said + "\n" if said else "nothing is left that needs the operator\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
