"""What every part needs: a namespace of its own, a raw client, an operator as its own process, and figures of that process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from millrace.api.v1alpha1.trainingjob import KIND
from millrace.engine.registry import controllers
from millrace.kube import credentials
from millrace.kube.client import Client
from millrace.kube.errors import ApiError
from millrace.kube.resources import NAMESPACES, Resource, of_kind

Object = dict[str, Any]
TRAINING_JOBS = of_kind(KIND)
OWN = tuple(of_kind(c.kind) for c in controllers())
"""Our kinds: what has our finalizer."""
IN_FLIGHT = 50
HOST = os.environ.get("MILLRACE_BENCH_HOST", "10.112.0.1")
"""Where pods of the local cluster reach this machine."""
_TICKS = os.sysconf("SC_CLK_TCK")


def images() -> dict[str, str]:
    """Full names of the images that `make cluster-up` loaded, by their short names."""
    names = json.loads(Path(os.environ["MILLRACE_IMAGES_FILE"]).read_text())
    return {name.rsplit("/", 1)[1]: full for name, full in names.items()}


class Raw:
    """aiohttp and nothing else: the yardstick. Bodies are bytes, answers are read and not looked at unless asked for."""

    def __init__(self, access: credentials.Credentials) -> None:
        self._server = access.server
        self._tls: ssl.SSLContext | bool = access.tls
        self._token = access.token()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Raw:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=self._tls)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def send(self, method: str, path: str, body: bytes | None = None, content: str = "application/json") -> bytes:
        """One call; gives the answer's body. Raises RuntimeError for anything but success."""
        assert self._session is not None
        async with self._session.request(method, self._server + path, data=body, headers={"Content-Type": content}) as answer:
            read = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {read[:300]!r}")
            return read

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """A watch, line by line, for as long as it is read."""
        assert self._session is not None
        unbounded = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._server + path, timeout=unbounded) as answer:
            async for line in answer.content:
                yield line


@dataclass
class World:
    """Our client for housekeeping, and the raw one for what is measured."""

    client: Client
    raw: Raw
    progress: Callable[[str], None]


@contextlib.asynccontextmanager
async def connected(progress: Callable[[str], None]) -> AsyncIterator[World]:
    """The cluster that KUBECONFIG names."""
    access = credentials.load()
    async with Client(access, timeout_seconds=120) as client, Raw(access) as raw:
        yield World(client, raw, progress)


async def each(work: Iterable[Awaitable[Any]], width: int = IN_FLIGHT) -> list[Any]:
    """Await all, no more than `width` at a time."""
    gate = asyncio.Semaphore(width)

    async def one(awaitable: Awaitable[Any]) -> Any:
        async with gate:
            return await awaitable

    return await asyncio.gather(*(one(a) for a in work))


async def until(check: Callable[[], Awaitable[Any]], what: str, *, timeout: float, every: float = 0.05) -> Any:
    """The first truthy answer. Raises TimeoutError saying what was waited for."""
    deadline = time.monotonic() + timeout
    while not (found := await check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s: {what}")
        await asyncio.sleep(every)
    return found


# -- namespaces ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def namespace(world: World) -> AsyncIterator[str]:
    """A namespace of one's own; at the end everything in it is deleted, and this waits until it is."""
    name = f"bench-{secrets.token_hex(3)}"
    await world.client.create(NAMESPACES, {"metadata": {"name": name}})
    accounts = Resource("", "v1", "serviceaccounts", "ServiceAccount")
    await until(lambda: world.client.find(accounts, name, "default"), "the default service account", timeout=30)
    try:
        yield name
    finally:
        await asyncio.shield(_emptied(world, name))


async def _emptied(world: World, ns: str) -> None:
    """Collections at once, then the finalizers; a namespace's own deletion would take each kind one object after another."""
    world.progress(f"tidying up {ns}")
    for path in (TRAINING_JOBS.path(ns), f"/apis/batch/v1/namespaces/{ns}/jobs", f"/api/v1/namespaces/{ns}/pods"):
        with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
            await world.client.raw("DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    for resource in OWN:
        names = [o["metadata"]["name"] async for o in world.client.list_objects(resource, ns)]
        await each(_released(world, resource, ns, name) for name in names)
    await world.client.delete(NAMESPACES, None, ns)

    async def gone() -> bool:
        return await world.client.find(NAMESPACES, None, ns) is None

    await until(gone, f"namespace {ns} is gone", timeout=600, every=1)


async def _released(world: World, resource: Resource, ns: str, name: str) -> None:
    with contextlib.suppress(ApiError):
        await world.client.patch(resource, ns, name, {"metadata": {"finalizers": None}})


async def count(world: World, path: str) -> int:
    """Objects at a collection's path, without reading them."""
    page = json.loads(await world.raw.send("GET", f"{path}?limit=1"))
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount") or 0)


# -- manifests -----------------------------------------------------------------------------------------------------


def training_job(ns: str, name: str, **spec: Any) -> Object:
    """A TrainingJob of a foreign image whose pods no node can hold."""
    kubernetes = {
        "image": images()["busybox"],
        "command": ["sh", "-c"],
        "args": ["sleep 1"],
        "resources": {"cpu": "4k", "memory": "64Mi"},
        "fabric": {"efa": "None"},
        "gangTimeoutSeconds": 3600,
    }
    return {
        "apiVersion": TRAINING_JOBS.api_version,
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "output": {"claim": {"name": "results", "path": name}},
            "parameters": {"learningRate": "3e-4", "seed": "7"},
            "kubernetes": {**kubernetes, **spec.pop("kubernetes", {})},
            **spec,
        },
    }


# -- the operator --------------------------------------------------------------------------------------------------


@dataclass
class Operator:
    """An operator that runs as its own process."""

    pid: int
    http_port: int
    started: float

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self, which: str = "VmRSS") -> float:
        """Resident memory now, or (VmHWM) at its highest."""
        found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024

    async def ready(self) -> bool:
        """Whether /readyz is ok."""
        try:
            return (await self._get("/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def requests(self) -> dict[tuple[str, str], float]:
        """Calls to the API so far, by verb and resource."""
        made: dict[tuple[str, str], float] = {}
        pattern = re.compile(r'^millrace_kube_requests_total\{code="\d+",resource="(\w+)",verb="(\w+)"\} (\S+)')
        for line in (await self._get("/metrics"))[1].splitlines():
            if found := pattern.match(line):
                made[found[2], found[1]] = made.get((found[2], found[1]), 0) + float(found[3])
        return made

    async def _get(self, path: str) -> tuple[int, str]:
        address = f"http://127.0.0.1:{self.http_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            return answer.status, await answer.text()


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def operator(ns: str, **more: str) -> AsyncIterator[Operator]:
    """`python -m millrace` for one namespace, with every feature on; its log goes to bench/operator.log."""
    http, progress, names = free_port(), free_port(), images()
    wanted = {
        "MILLRACE_NAMESPACE": ns,
        "MILLRACE_WATCH_NAMESPACES": ns,
        "MILLRACE_IDENTITY": "bench",
        "MILLRACE_HTTP_PORT": str(http),
        "MILLRACE_PROGRESS_PORT": str(progress),
        "MILLRACE_PROGRESS_URL": f"http://{HOST}:{progress}/v1/progress",
        **{f"MILLRACE_IMAGE_{name.upper()}": names[name] for name in ("operator", "trainer", "dataset")},
    }
    with Path(__file__).with_name("operator.log").open("wb") as log:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "millrace", env={**os.environ, **wanted, **more}, stdout=log, stderr=log
        )
        try:
            yield Operator(process.pid, http, begun)
        finally:
            await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()
