"""Lets children outlive their object: the owner reference goes before the finalizer does, or the garbage collector takes them."""

from __future__ import annotations

from typing import Any

from millrace.kube.client import Client
from millrace.kube.errors import NotFound
from millrace.kube.resources import Resource

Object = dict[str, Any]


async def orphan(client: Client, resource: Resource, child: Object) -> None:
    """Take our owner reference off a child; gone already is success. Raises Conflict where somebody wrote in between."""
    metadata = child["metadata"]
    if not metadata.get("ownerReferences"):
        return
    body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "ownerReferences": None}}
    try:
        await client.patch(resource, metadata["namespace"], metadata["name"], body)
    except NotFound:
        return
