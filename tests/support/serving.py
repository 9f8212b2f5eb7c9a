"""Load on an endpoint from within the cluster."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.kube import pods
from millrace.kube.client import Client
from millrace.kube.errors import ApiError
from millrace.kube.resources import PODS
from support.cluster import eventually, images

Object = dict[str, Any]
_SOURCE = Path(__file__).with_name("load.py")


@dataclass(frozen=True)
class Load:
    """A pod that asks and counts."""

    client: Client
    ns: str
    name: str

    async def told(self) -> Object:
        """What came of it so far."""
        return await self.client.raw("GET", f"/api/v1/namespaces/{self.ns}/pods/http:{self.name}:8000/proxy/")

    async def after(self, requests: int, timeout: float = 120) -> Object:
        """The count once so many more requests were made."""
        wanted = (await self.told())["requests"] + requests
        return await self._once(lambda told: told["requests"] >= wanted, f"{requests} more requests", timeout)

    async def hears(self, answer: str, timeout: float = 60) -> Object:
        """The count once somebody answered so: the asker's node learns of a new pod a moment after the status tells of it."""
        return await self._once(lambda told: answer in told["answers"], f"an answer {answer!r}", timeout)

    async def _once(self, holds: Callable[[Object], bool], what: str, timeout: float) -> Object:
        async def check() -> Object | None:
            told = await self.told()
            return told if holds(told) else None

        found: Object = await eventually(check, what, timeout=timeout, show=self.told)
        return found


@contextlib.asynccontextmanager
async def load(
    client: Client, ns: str, url: str, *, method: str = "GET", body: str = "", connections: int = 4, pause: float = 0
) -> AsyncIterator[Load]:
    """Ask `url` until the end of the block; `pause` is in seconds."""
    container = {
        "name": "load",
        "image": images().operator,
        "command": ["python3", "-c", _SOURCE.read_text(), method, url, body, str(connections), str(pause)],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    made = await client.create(PODS, {"metadata": {"generateName": "load-", "namespace": ns}, "spec": spec})
    asking = Load(client, ns, made["metadata"]["name"])
    try:
        await eventually(lambda: _is_up(asking), "the load is up", timeout=60)
        yield asking
    finally:
        await client.delete(PODS, ns, asking.name, grace=0)


async def _is_up(asking: Load) -> bool:
    with contextlib.suppress(ApiError):
        return pods.is_condition(await asking.client.get(PODS, asking.ns, asking.name), "Ready")
    return False
