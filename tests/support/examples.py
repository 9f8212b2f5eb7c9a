"""The examples' own manifests in tests: built by kustomize, moved to a namespace of the test's, shortened where the test says so."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import yaml

from millrace.kube.client import Client
from millrace.kube.resources import CLAIMS, PODS, Resource
from support import cluster

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
_RESOURCES: dict[str, Resource] = {
    "PersistentVolumeClaim": CLAIMS,
    "Dataset": cluster.DATASETS,
    "TrainingJob": cluster.TRAINING_JOBS,
    "ModelEndpoint": cluster.MODEL_ENDPOINTS,
    "CloudAccount": cluster.CLOUD_ACCOUNTS,
}


async def run(*command: str, timeout: float = 120) -> str:
    """A command's standard output; fails with its last words."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), timeout)
    assert process.returncode == 0, f"{' '.join(command)}: {err.decode()[-2000:]}"
    return out.decode()


async def manifests(folder: str) -> list[Object]:
    """What `kubectl apply -k` would apply, without the namespace."""
    built = yaml.safe_load_all(await run("kubectl", "kustomize", folder))
    return [m for m in built if m["kind"] != "Namespace"]


async def apply(client: Client, ns: str, wanted: list[Object], *, only: tuple[str, ...] = ()) -> None:
    """Make them in a namespace."""
    for manifest in wanted:
        if not only or manifest["kind"] in only:
            manifest["metadata"]["namespace"] = ns
            await client.create(_RESOURCES[manifest["kind"]], manifest)


def of_kind(wanted: list[Object], kind: str) -> Object:
    """The one manifest of a kind."""
    return next(m for m in wanted if m["kind"] == kind)


async def read_claim(client: Client, ns: str, claim: str, script: str) -> str:
    """What a Python script prints that runs in a pod with the claim at /claim, read-only; at most what a log holds."""
    name = f"read-{abs(hash(script)) % 10**8}"
    container = {
        "name": "read",
        "image": cluster.images().operator,
        "command": ["python", "-c", script],
        "volumeMounts": [{"name": "claim", "mountPath": "/claim", "readOnly": True}],
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532},
        "containers": [container],
        "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}],
    }
    await client.create(PODS, {"metadata": {"name": name, "namespace": ns}, "spec": spec})

    async def ended() -> str | None:
        phase = (await client.get(PODS, ns, name))["status"].get("phase")
        return phase if phase in {"Succeeded", "Failed"} else None

    phase = await cluster.eventually(ended, "the reading pod ended", timeout=60)
    lines = [line async for line in client.logs(ns, name, "read", lines=100_000)]
    await client.delete(PODS, ns, name)
    assert phase == "Succeeded", "\n".join(lines)
    return "\n".join(lines)


async def read_file(client: Client, ns: str, claim: str, path: str) -> bytes:
    """A file of a claim."""
    script = f"import base64; print(base64.b64encode(open('/claim/{path}', 'rb').read()).decode())"
    return base64.b64decode(await read_claim(client, ns, claim, script))
