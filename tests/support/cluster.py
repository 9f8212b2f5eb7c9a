"""The real cluster in tests: a namespace of one's own, an operator in process, and waiting with a deadline and a reason."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from millrace.engine.registry import controllers
from millrace.engine.runtime import Runtime
from millrace.engine.settings import Images, Settings
from millrace.kube import credentials, labels
from millrace.kube.client import Client
from millrace.kube.errors import ApiError, NotFound
from millrace.kube.resources import CLAIMS, NAMESPACES, Resource, of_kind

Object = dict[str, Any]
KINDS = {c.kind.name: c for c in controllers()}
TRAINING_JOBS = of_kind(KINDS["TrainingJob"].kind)
DATASETS = of_kind(KINDS["Dataset"].kind)
MODEL_ENDPOINTS = of_kind(KINDS["ModelEndpoint"].kind)
CLOUD_ACCOUNTS = of_kind(KINDS["CloudAccount"].kind)
HOST = "10.112.0.1"
"""Where pods of the local cluster reach this machine."""


def images() -> Images:
    """The images that `make cluster-up` loaded, by their full names."""
    names = json.loads(Path(os.environ["MILLRACE_IMAGES_FILE"]).read_text())
    return Images(*(names[f"localhost/millrace/{name}"] for name in ("operator", "trainer", "dataset")))


def image(name: str) -> str:
    """The full name of an image that is in every node."""
    return str(json.loads(Path(os.environ["MILLRACE_IMAGES_FILE"]).read_text())[f"localhost/millrace/{name}"])


def busybox() -> str:
    """A small foreign image."""
    return image("busybox")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    """A client of the cluster that KUBECONFIG names."""
    async with Client(credentials.load()) as client:
        yield client


@contextlib.asynccontextmanager
async def namespace(client: Client, *, prefix: str = "t", labels: dict[str, str] | None = None) -> AsyncIterator[str]:
    """A namespace of one's own, deleted afterwards (its finalizers first, so that a failed test leaves nothing stuck)."""
    name = f"{prefix}-{secrets.token_hex(4)}"
    await client.create(NAMESPACES, {"metadata": {"name": name, "labels": labels or {}}})
    await eventually(lambda: _has_account(client, name), f"the default service account of {name}")
    try:
        yield name
    finally:
        for resource in (TRAINING_JOBS, DATASETS, MODEL_ENDPOINTS, CLOUD_ACCOUNTS):
            async for found in client.list_objects(resource, name):
                with contextlib.suppress(ApiError):
                    await client.patch(resource, name, found["metadata"]["name"], {"metadata": {"finalizers": None}})
        await client.delete(NAMESPACES, None, name)


async def _has_account(client: Client, name: str) -> bool:
    accounts = Resource("", "v1", "serviceaccounts", "ServiceAccount")
    return await client.find(accounts, name, "default") is not None


async def claim(client: Client, ns: str, name: str = "results", gib: int = 1) -> str:
    """A claim on the default RWX storage class."""
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": f"{gib}Gi"}}}
    await client.create(CLAIMS, {"metadata": {"name": name, "namespace": ns}, "spec": spec})
    return name


async def eventually(
    check: Callable[[], Awaitable[Any]],
    what: str,
    *,
    timeout: float = 90.0,
    every: float = 0.2,
    show: Callable[[], Awaitable[Any]] | None = None,
) -> Any:
    """The first truthy answer of `check`. Fails, saying what it waited for (and what `show` says), after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        if found := await check():
            return found
        if loop.time() > deadline:
            seen = json.dumps(await show(), indent=1, default=str) if show else ""
            raise AssertionError(f"not within {timeout:.0f} s: {what}\n{seen}")
        await asyncio.sleep(every)


async def children(client: Client, resource: Resource, obj: Object, role: str = "") -> list[Object]:
    """What was made for an object, of one resource; of one role alone when it is named."""
    chosen = f"{labels.OWNER_UID}={obj['metadata']['uid']}" + (f",{labels.ROLE}={role}" if role else "")
    return [child async for child in client.list_objects(resource, obj["metadata"]["namespace"], labels=chosen)]


def condition(obj: Object, type_: str = "Succeeded") -> Object:
    """A condition of an object; {} where there is none."""
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((dict(c) for c in found if c["type"] == type_), {})


async def reaches(
    client: Client, resource: Resource, ns: str, name: str, reason: str, *, type_: str = "", timeout: float = 90.0
) -> Object:
    """The object once its summary condition has a reason."""
    summary = type_ or KINDS[resource.kind].kind.summary

    async def check() -> Object | None:
        found = await client.find(resource, ns, name)
        return found if found is not None and condition(found, summary).get("reason") == reason else None

    async def show() -> Any:
        return (await client.get(resource, ns, name)).get("status")

    result: Object = await eventually(check, f"{resource.kind} {name}: {reason}", timeout=timeout, show=show)
    return result


async def gone(client: Client, resource: Resource, ns: str, name: str, *, timeout: float = 90.0) -> None:
    """Wait until an object is not there any more."""

    async def check() -> bool:
        try:
            await client.get(resource, ns, name)
        except NotFound:
            return True
        return False

    async def show() -> Any:
        return await client.find(resource, ns, name)

    await eventually(check, f"{resource.kind} {name} is gone", timeout=timeout, show=show)


def settings(ns: str | None, **changes: Any) -> Settings:
    """Settings of an operator in process that serves one namespace (all when None) and hears pushes on this machine."""
    port = free_port()
    made = Settings(
        namespace=ns or "default",
        watch_namespaces=(ns,) if ns else (),
        images=images(),
        http_port=0,
        progress_port=port,
        progress_url=f"http://{HOST}:{port}/v1/progress",
        progress_interval_seconds=0.5,
        leader_election=False,
        identity="in-process",
    )
    return replace(made, **changes)


@dataclass
class Running:
    """An operator that runs in this process."""

    runtime: Runtime
    task: asyncio.Task[None]


@contextlib.asynccontextmanager
async def operator(
    wanted: Settings,
    *,
    client: Client | None = None,
    kind: type[Runtime] = Runtime,
    found: credentials.Credentials | None = None,
) -> AsyncIterator[Running]:
    """Run the whole operator in process; it is stopped afterwards, and a failure of it fails the test.

    `kind` may be a class of a test's own; `found` are other credentials than KUBECONFIG's.
    """
    runtime = kind(tuple(KINDS.values()), wanted, found or credentials.load(), client=client)
    task = asyncio.create_task(runtime.run())
    try:
        await eventually(lambda: _up(runtime, task), "the operator has listed what it watches", timeout=30)
        yield Running(runtime, task)
    finally:
        runtime.stop()
        await asyncio.wait_for(task, 30)


async def _up(runtime: Runtime, task: asyncio.Task[None]) -> bool:
    if task.done():
        task.result()
    return runtime.synced


def training_job(ns: str, name: str, script: str, *, image: str = "", **spec: Any) -> Object:
    """A TrainingJob that runs a shell script in busybox on one node; `spec` is merged over it."""
    kubernetes = {
        "image": image or busybox(),
        "nodes": 1,
        "command": ["sh", "-c"],
        "args": [script],
        "resources": {"cpu": "20m", "memory": "64Mi"},
        "terminationGracePeriodSeconds": 3,
        "fabric": {"efa": "None"},
        **spec.pop("kubernetes", {}),
    }
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": ns},
        "spec": {"output": {"claim": {"name": "results", "path": name}}, "kubernetes": kubernetes, **spec},
    }


WRITE_MODEL = "echo weights > $MILLRACE_OUTPUT_DIR/model-$MILLRACE_NODE_RANK"
"""The least that a foreign program must leave."""


LIST_FILES = "cd $MILLRACE_MODEL_DIR && exec python3 -m http.server $MILLRACE_PORT"
"""A server that answers with the files of its model: /NAME is a file, / is the list."""


def model_endpoint(ns: str, name: str, script: str = LIST_FILES, *, asks: str = "/", says: str = "", **spec: Any) -> Object:
    """A ModelEndpoint that runs a shell script in the operator's image; its golden request is GET `asks`, which must hold `says`.

    The model is a folder of the image unless the spec names another.
    """
    kubernetes = {
        "image": images().operator,
        "command": ["sh", "-c"],
        "args": [script],
        "protocol": "Custom",
        "readyPath": "/",
        "resources": {"cpu": "20m", "memory": "64Mi"},
        "drainSeconds": 4,
        "terminationGracePeriodSeconds": 6,
        **spec.pop("kubernetes", {}),
    }
    probe = {"request": {"method": "GET", "path": asks}, "expect": {"status": 200, **({"contains": says} if says else {})}}
    made = {"model": {"uri": "file:///etc"}, "kubernetes": kubernetes, "probe": probe, **spec}
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "ModelEndpoint",
        "metadata": {"name": name, "namespace": ns},
        "spec": made,
    }
