"""Manifests that differ from a good one, tried on the real API server without being made."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from millrace.kube.client import Client
from millrace.kube.errors import ApiError
from millrace.kube.resources import Resource, of_kind
from support import cluster

Object = dict[str, Any]
REMOVE = object()


def changed(base: Object, changes: dict[str, Any]) -> Object:
    """A copy with dotted paths set; REMOVE takes one out."""
    made = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node: Any = made
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if value is REMOVE:
            node.pop(last)
        else:
            node[last] = value
    return made


async def tried(client: Client, ns: str, manifest: Object) -> None:
    """A server-side dry run of `kubectl apply`'s strict kind."""
    resource: Resource = of_kind(cluster.KINDS[manifest["kind"]].kind)
    path = resource.path(ns)
    await client.raw("POST", path, manifest, dryRun="All", fieldValidation="Strict")


async def is_refused(client: Client, manifest: Object, message: str) -> None:
    """At apply time, and the message says why."""
    with pytest.raises(ApiError) as refused:
        await tried(client, "default", manifest)
    assert refused.value.status in {400, 422}
    assert message in refused.value.message
