"""The finalizer: there before the first outside effect, gone when nothing is left outside.

Lists cannot be merged by a merge patch, so both changes are JSON patches that test the resource version first.
"""

from __future__ import annotations

from typing import Any

from millrace.kube.client import Client
from millrace.kube.errors import NotFound
from millrace.kube.labels import FINALIZER
from millrace.kube.resources import Resource

Object = dict[str, Any]


def has_finalizer(obj: Object) -> bool:
    """Whether ours is on the object."""
    return FINALIZER in (obj["metadata"].get("finalizers") or [])


async def add(client: Client, resource: Resource, obj: Object) -> Object:
    """Put ours on; gives the object as stored. Raises Conflict where somebody wrote in between."""
    metadata = obj["metadata"]
    finalizers = metadata.get("finalizers")
    change = (
        {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}
        if finalizers
        else {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}
    )
    return await client.patch(resource, metadata["namespace"], metadata["name"], [_same_version(obj), change])


async def remove(client: Client, resource: Resource, obj: Object) -> None:
    """Take ours off; gone already is success. Raises Conflict where somebody wrote in between."""
    metadata = obj["metadata"]
    left = [f for f in metadata.get("finalizers") or [] if f != FINALIZER]
    change = {"op": "replace", "path": "/metadata/finalizers", "value": left}
    try:
        await client.patch(resource, metadata["namespace"], metadata["name"], [_same_version(obj), change])
    except NotFound:
        return


def _same_version(obj: Object) -> Object:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]}
