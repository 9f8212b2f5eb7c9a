"""Sees everything that ever existed: watches of a namespace that forget nothing, for assertions on what was made twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from millrace.kube import credentials, labels
from millrace.kube.client import open_session
from millrace.kube.resources import DEPLOYMENTS, JOBS, PODS, SERVICES, Resource

Object = dict[str, Any]
WATCHED = (JOBS, DEPLOYMENTS, SERVICES, PODS)


@dataclass
class Recorder:
    """Objects by uid as they were last seen, of a few resources in one namespace."""

    ns: str
    seen: dict[str, Object] = field(default_factory=dict)

    def of(self, owner_uid: str, kind: str, role: str | None = None) -> list[Object]:
        """All that ever existed of a kind for one of our objects, sorted by name."""
        found = [o for o in self.seen.values() if o["kind"] == kind and _mark(o, labels.OWNER_UID) == owner_uid]
        chosen = [o for o in found if role is None or _mark(o, labels.ROLE) == role]
        return sorted(chosen, key=lambda o: str(o["metadata"]["name"]))

    def doubled(self) -> list[str]:
        """Kinds and names that more than one object had, one after another."""
        uids: dict[tuple[str, str], set[str]] = {}
        for uid, obj in self.seen.items():
            uids.setdefault((obj["kind"], obj["metadata"]["name"]), set()).add(uid)
        return sorted(f"{kind} {name}" for (kind, name), found in uids.items() if len(found) > 1)

    async def watch(self, resource: Resource) -> None:
        """Until cancelled; a stream that the server ends is taken up where it ended."""
        found = credentials.load()
        unbounded = aiohttp.ClientTimeout(total=None, sock_connect=30)
        version = ""
        async with open_session(found, timeout=unbounded) as session:
            while True:
                query = {"watch": "true", **({"resourceVersion": version} if version else {})}
                async with session.get(found.server + resource.path(self.ns), params=query) as answer:
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise AssertionError(f"the recorder missed something: {event['object']}")
                        version = event["object"]["metadata"]["resourceVersion"]
                        self.seen[event["object"]["metadata"]["uid"]] = event["object"]


def _mark(obj: Object, label: str) -> str | None:
    return (obj["metadata"].get("labels") or {}).get(label)


def attempt_of(obj: Object) -> int:
    """The attempt that a child belongs to."""
    return int(_mark(obj, labels.ATTEMPT) or 0)


def index_of(pod: Object) -> int:
    """The rank of a pod's node."""
    return int((pod["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-completion-index") or 0)


@contextlib.asynccontextmanager
async def recording(ns: str) -> AsyncIterator[Recorder]:
    """Record a namespace while the block runs; a watch that breaks fails the test at its end."""
    made = Recorder(ns)
    tasks = [asyncio.create_task(made.watch(resource)) for resource in WATCHED]
    try:
        yield made
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
