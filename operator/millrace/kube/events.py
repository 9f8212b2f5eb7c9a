"""Kubernetes Events about our objects: one object an occurrence, counted up when it repeats."""

from __future__ import annotations

import hashlib
from typing import Any

from millrace.kube.client import Client
from millrace.kube.errors import AlreadyExists
from millrace.kube.resources import EVENTS

Object = dict[str, Any]


async def post(client: Client, about: Object, type_: str, reason: str, message: str, now: str, reporter: str) -> None:
    """Post an Event; the same one again only raises its count. Raises ApiError."""
    metadata = about["metadata"]
    digest = hashlib.sha256(f"{metadata['uid']}\0{reason}\0{message}".encode()).hexdigest()[:16]
    name = f"{metadata['name']}.{digest}"
    try:
        await client.create(EVENTS, _manifest(about, name, type_, reason, message, now, reporter))
    except AlreadyExists:
        found = await client.get(EVENTS, metadata["namespace"], name)
        counted = {"count": int(found.get("count") or 1) + 1, "lastTimestamp": now}
        await client.patch(EVENTS, metadata["namespace"], name, counted)


def _manifest(about: Object, name: str, type_: str, reason: str, message: str, now: str, reporter: str) -> Object:
    metadata = about["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": type_,
        "reason": reason,
        "message": message[:1024],
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "millrace"},
        "reportingComponent": "millrace.dev/operator",
        "reportingInstance": reporter,
    }
