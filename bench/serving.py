"""(f) What an endpoint adds to its model's own time; (g) requests that fail while it is rolled over: none may.

A tiny GPT is trained and served by two pods of our own server. (f): one client in a pod asks through the Service, and then the
server's engine is timed without HTTP, by `python -m millrace_serve.bare` in one of the same pods; in turn, several rounds. (g): clients
ask without a pause while the endpoint's pods are replaced twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import report
from millrace.api.v1alpha1.dataset import KIND as DATASET
from millrace.api.v1alpha1.modelendpoint import KIND as ENDPOINT
from millrace.kube import pods
from millrace.kube.errors import ApiError
from millrace.kube.resources import CLAIMS, PODS, of_kind
from world import TRAINING_JOBS, Object, World, images, namespace, operator, training_job, until

DATASETS, ENDPOINTS = of_kind(DATASET), of_kind(ENDPOINT)
TOKENS, ASKED = 16, 200
REQUESTS = 5000
CONNECTIONS = 4
_LOAD = Path(__file__).parents[1] / "tests/support/load.py"
_BARE = ["python", "-m", "millrace_serve.bare", "--prompt", "In the beginning", "--tokens", str(TOKENS), "--requests", str(ASKED)]


async def measure(world: World, rounds: int) -> Object:
    """Both parts on one endpoint."""
    async with namespace(world) as ns, operator(ns) as running:
        await until(running.ready, "the operator is ready", timeout=60)
        await _served(world, ns)
        bare, whole = await _latencies(world, ns, rounds)
        rolled = await _rolled_over(world, ns)
        await world.client.delete(ENDPOINTS, ns, "chat")
        await until(lambda: _gone(world, ns), "the endpoint is gone", timeout=120, every=0.5)
    added = {q: statistics.median(w[q] - b[q] for w, b in zip(whole, bare, strict=True)) for q in ("p50", "p99")}
    return {"tokens": TOKENS, "bare": bare, "endpoint": whole, "addedSeconds": added, "rollOver": rolled}


async def _gone(world: World, ns: str) -> bool:
    return await world.client.find(ENDPOINTS, ns, "chat") is None


# -- the model -----------------------------------------------------------------------------------------------------


async def _served(world: World, ns: str) -> None:
    """A model after a few steps, behind an endpoint; what it says does not matter here."""
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await world.client.create(CLAIMS, {"metadata": {"name": "results", "namespace": ns}, "spec": claim})
    data = {
        "source": {"generated": {"name": "markov-text", "parameters": {"bytes": "400000"}}},
        "format": "text",
        "publish": {"claim": {"name": "results", "path": "data"}},
    }
    await world.client.create(DATASETS, _object(DATASETS, ns, "text", data))
    parameters = {"preset": "tiny", "maxSteps": "20", "validateEverySteps": "20"}
    inputs = [{"name": "train", "datasetRef": {"name": "text"}}]
    job = training_job(ns, "gpt", parameters=parameters, inputs=inputs)
    job["spec"]["kubernetes"] = {"runtime": "nemo", "resources": {"cpu": "1", "memory": "3Gi"}, "fabric": {"efa": "None"}}
    await world.client.create(TRAINING_JOBS, job)
    serving = {"replicas": 2, "resources": {"cpu": "100m", "memory": "2Gi"}, "parameters": {"threads": "1"}}
    spec = {"model": {"trainingJobRef": {"name": "gpt"}}, "kubernetes": serving}
    await world.client.create(ENDPOINTS, _object(ENDPOINTS, ns, "chat", spec))
    await until(lambda: _is_ready(world, ns, 1), "the endpoint serves", timeout=600, every=1)
    world.progress("(f) a model is trained and served")


def _object(resource: Any, ns: str, name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": ns}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


async def _is_ready(world: World, ns: str, generation: int) -> bool:
    status = (await world.client.get(ENDPOINTS, ns, "chat")).get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
    return ready.get("status") == "True" and ready["observedGeneration"] >= generation


# -- asking --------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _asking(world: World, ns: str, tokens: int, connections: int) -> AsyncIterator[str]:
    """A pod that asks without a pause; gives the path at which it tells what came of it."""
    body = json.dumps({"model": "chat", "prompt": "In the beginning", "max_tokens": tokens, "temperature": 0})
    url = f"http://chat.{ns}.svc:8080/v1/completions"
    container = {
        "name": "load",
        "image": images()["operator"],
        "command": ["python3", "-c", _LOAD.read_text(), "POST", url, body, str(connections)],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    made = await world.client.create(PODS, {"metadata": {"generateName": "load-", "namespace": ns}, "spec": spec})
    name = made["metadata"]["name"]

    async def up() -> bool:
        return pods.is_condition(await world.client.get(PODS, ns, name), "Ready")

    try:
        await until(up, "the load is up", timeout=60, every=0.5)
        yield f"/api/v1/namespaces/{ns}/pods/http:{name}:8000/proxy/"
    finally:
        await world.client.delete(PODS, ns, name, grace=0)


async def _after(world: World, path: str, requests: int) -> Object:
    """What was told once so many requests were made in all."""

    async def check() -> Object | None:
        with contextlib.suppress(ApiError):
            told = await world.client.raw("GET", path)
            return told if told["requests"] >= requests else None
        return None

    found: Object = await until(check, f"{requests} requests", timeout=900, every=0.5)
    return found


async def _latencies(world: World, ns: str, rounds: int) -> tuple[list[Object], list[Object]]:
    """Seconds of whole answers, without HTTP and through the Service, round by round."""
    bare: list[Object] = []
    whole: list[Object] = []
    for number in range(rounds):
        async with _asking(world, ns, TOKENS, 1) as path:
            told = await _after(world, path, ASKED)
        whole.append({"p50": told["p50"], "p99": told["p99"]})
        bare.append(await _without_http(ns))
        world.progress(
            f"(f) round {number + 1}: p50 {whole[-1]['p50'] * 1000:.1f} ms, of it the model {bare[-1]['p50'] * 1000:.1f} ms"
        )
    return bare, whole


async def _without_http(ns: str) -> Object:
    """The engine in one of the endpoint's own pods."""
    command = ["kubectl", "exec", "-n", ns, "service/chat", "-c", "serve", "--", *_BARE]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ
    )
    out, err = await asyncio.wait_for(process.communicate(), 300)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:6])}: {err.decode()[-500:]}")
    told = json.loads(out.decode().strip().splitlines()[-1])
    return {"p50": told["wholeP50"], "p99": told["wholeP99"]}


# -- rolling over --------------------------------------------------------------------------------------------------


async def _rolled_over(world: World, ns: str) -> Object:
    """Replace all pods twice under load."""
    async with _asking(world, ns, 1, CONNECTIONS) as path:
        for number in (2, 3):
            marks = [{"name": "ROUND", "value": str(number)}]
            await world.client.patch(ENDPOINTS, ns, "chat", {"spec": {"kubernetes": {"env": marks}}})
            await until(lambda: _is_ready(world, ns, number), "rolled over", timeout=300, every=0.5)  # noqa: B023
            told = await world.client.raw("GET", path)
            world.progress(f"(g) {number - 1} of 2 rolled over: {told['requests']} requests, {told['failed']} failed")
        told = await _after(world, path, REQUESTS)
    kept = {name: told[name] for name in ("requests", "failed", "failures", "p50", "p99")}
    return {**kept, "met": told["failed"] == 0 and told["requests"] >= REQUESTS}


def rows(found: Object) -> list[report.Row]:
    """For the table."""
    added, rolled = found["addedSeconds"], found["rollOver"]
    told = ", ".join(f"{q} {seconds * 1000:.1f} ms" for q, seconds in added.items())
    asked = f"{rolled['failed']} of {rolled['requests']}"
    return [
        (f"(f) latency added by the endpoint, {found['tokens']} tokens", told, "", None),
        ("(g) failed requests while rolled over twice", asked, f"0 of {REQUESTS}", rolled["met"]),
    ]
