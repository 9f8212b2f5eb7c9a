"""The finalizer: there before the first outside effect, gone when nothing is left outside.

A merge patch replaces the whole list, so both changes name the resource version that they were made from: the API server answers
409 where somebody wrote in between. (A JSON patch with a failed `test` would be answered 422, as if the spec were invalid.)
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
    return await _replace(client, resource, obj, [*(obj["metadata"].get("finalizers") or []), FINALIZER])


async def remove(client: Client, resource: Resource, obj: Object) -> None:
    """Take ours off; gone already is success. Raises Conflict where somebody wrote in between."""
    left = [f for f in obj["metadata"].get("finalizers") or [] if f != FINALIZER]
    try:
        await _replace(client, resource, obj, left)
    except NotFound:
        return


async def _replace(client: Client, resource: Resource, obj: Object, finalizers: list[str]) -> Object:
    metadata = obj["metadata"]
    body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}}
    return await client.patch(resource, metadata["namespace"], metadata["name"], body)
