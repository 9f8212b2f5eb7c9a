"""One client's turn: POST small Jobs, 50 in flight. Run by clients.py in an environment of its own, one process a turn.

`python client_race.py CLIENT NAMESPACE TURN COUNT` prints the seconds that the writes took, and its own CPU seconds.
Imports and opening are not counted; each client makes its own objects in its own way, for that is what is compared.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

IN_FLIGHT = 50
Post = Callable[[str], Awaitable[Any]]
Taken = tuple[float, float]


def manifest(namespace: str, name: str) -> dict[str, Any]:
    """A small Job that makes no pods."""
    container = {"name": "main", "image": "none.invalid/none", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"suspend": True, "backoffLimit": 0, "template": template}
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "bench"}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


async def raced(post: Post, turn: str, count: int) -> Taken:
    """Seconds for all writes, and the client's own CPU seconds, after ten that warm connections up."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(name: str) -> None:
        async with gate:
            await post(name)

    await asyncio.gather(*(one(f"{turn}-warm-{n}") for n in range(10)))
    begun, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(f"{turn}-{n}") for n in range(count)))
    return time.perf_counter() - begun, time.process_time() - used


async def raw_aiohttp(namespace: str, turn: str, count: int) -> Taken:
    """The yardstick: bodies as bytes, answers read and not parsed."""
    import aiohttp

    from millrace.kube import credentials

    access = credentials.load()
    url = f"{access.server}/apis/batch/v1/namespaces/{namespace}/jobs"
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {t}"} if (t := access.token()) else {})}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=access.tls)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def post(name: str) -> None:
            async with session.post(url, data=json.dumps(manifest(namespace, name))) as answer:
                await answer.read()
                answer.raise_for_status()

        return await raced(post, turn, count)


async def millrace_client(namespace: str, turn: str, count: int) -> Taken:
    """aiohttp through our client: errors typed, answers parsed, metrics told."""
    from millrace.kube import credentials
    from millrace.kube.client import Client
    from millrace.kube.resources import JOBS

    async with Client(credentials.load(), connections=IN_FLIGHT) as client:
        return await raced(lambda name: client.create(JOBS, manifest(namespace, name)), turn, count)


async def official_aio(namespace: str, turn: str, count: int) -> Taken:
    """The official client's asyncio half, with its typed models."""
    from kubernetes.aio import client, config

    await config.load_kube_config()
    settings = client.Configuration.get_default_copy()
    settings.connection_pool_maxsize = IN_FLIGHT

    def job(name: str) -> Any:
        container = client.V1Container(name="main", image="none.invalid/none", command=["true"])
        template = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
        metadata = client.V1ObjectMeta(name=name, namespace=namespace, labels={"app": "bench"})
        spec = client.V1JobSpec(suspend=True, backoff_limit=0, template=template)
        return client.V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=spec)

    async with client.ApiClient(settings) as opened:
        api = client.BatchV1Api(opened)
        return await raced(lambda name: api.create_namespaced_job(namespace, job(name)), turn, count)


async def lightkube(namespace: str, turn: str, count: int) -> Taken:
    """lightkube's AsyncClient (httpx2), with its typed models."""
    import httpx2
    from lightkube import AsyncClient
    from lightkube.models.batch_v1 import JobSpec
    from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.batch_v1 import Job

    client = AsyncClient(namespace=namespace, timeout=httpx2.Timeout(60))

    def job(name: str) -> Any:
        container = Container(name="main", image="none.invalid/none", command=["true"])
        template = PodTemplateSpec(spec=PodSpec(restartPolicy="Never", containers=[container]))
        metadata = ObjectMeta(name=name, namespace=namespace, labels={"app": "bench"})
        return Job(metadata=metadata, spec=JobSpec(suspend=True, backoffLimit=0, template=template))

    return await raced(lambda name: client.create(job(name)), turn, count)


CLIENTS = {"raw-aiohttp": raw_aiohttp, "millrace": millrace_client, "kubernetes-aio": official_aio, "lightkube": lightkube}


def main() -> None:
    """Print the figures of one turn."""
    client, namespace, turn, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    print(*asyncio.run(CLIENTS[client](namespace, turn, count)))


if __name__ == "__main__":
    main()
