"""What the contract suite has to know of a backend; a new backend joins with one adapter in ADAPTERS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from millrace.engine.backend import Backend
from millrace.engine.controller import Pass
from millrace.kube.client import Client
from millrace.kube.resources import DEPLOYMENTS, JOBS, PODS, Resource
from millrace_controllers.dataset.backends.kubernetes import KubernetesDataset
from millrace_controllers.modelendpoint import models
from millrace_controllers.modelendpoint.backends.kubernetes import KubernetesServer
from millrace_controllers.trainingjob.backends.kubernetes import KubernetesTrainer
from support.cluster import DATASETS, MODEL_ENDPOINTS, TRAINING_JOBS, WRITE_MODEL, children, model_endpoint, training_job

Object = dict[str, Any]


@dataclass(frozen=True)
class Adapter:
    """One backend of one kind.

    `quick` ends well by itself, `endless` does not end; `wanted` gives what `create` is told to make. `things` names what exists
    outside for an object (name: identity), `vanish` takes it away behind the operator's back. `create_verb` and `create_resource`
    are the API call that makes the thing, for faults to hit; `missing` is what a refusal of that call must name.
    """

    name: str
    backend: Backend[Any, Any]
    resource: Resource
    done: str
    running: str
    quick: Callable[[str, str], Object]
    endless: Callable[[str, str], Object]
    wanted: Callable[[Pass, Any], Any]
    things: Callable[[Client, Object], Awaitable[dict[str, str]]]
    vanish: Callable[[Client, Object], Awaitable[None]]
    create_verb: str
    create_resource: str
    missing: str
    deadline: Callable[[Object], None] | None = None
    """Puts a deadline of two seconds into a manifest; None where the kind has none."""


def uids(found: Iterable[Object]) -> dict[str, str]:
    """Objects by name, with their uids."""
    return {o["metadata"]["name"]: o["metadata"]["uid"] for o in found}


async def jobs_of(client: Client, obj: Object) -> dict[str, str]:
    return uids(await children(client, JOBS, obj))


async def workers_of(client: Client, obj: Object) -> dict[str, str]:
    """The Jobs that do a Dataset's work; those that read it back come after them."""
    return uids(await children(client, JOBS, obj, role="worker"))


async def delete_jobs(client: Client, obj: Object) -> None:
    """As somebody with kubectl would."""
    for name in await jobs_of(client, obj):
        await client.delete(JOBS, obj["metadata"]["namespace"], name)


async def pods_of(client: Client, obj: Object) -> dict[str, str]:
    return uids(await children(client, PODS, obj))


async def serving_of(client: Client, obj: Object) -> dict[str, str]:
    """Deployments that ask for pods."""
    return uids(d for d in await children(client, DEPLOYMENTS, obj) if d["spec"]["replicas"])


async def delete_deployments(client: Client, obj: Object) -> None:
    """As somebody with kubectl would."""
    for name in await serving_of(client, obj):
        await client.delete(DEPLOYMENTS, obj["metadata"]["namespace"], name)


def _training_deadline(manifest: Object) -> None:
    manifest["spec"]["limits"] = {"maxRuntimeSeconds": 2}


def _dataset(ns: str, name: str, size: int) -> Object:
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "source": {"generated": {"name": "markov-text", "parameters": {"bytes": str(size)}}},
            "format": "text",
            "publish": {"claim": {"name": "results", "path": f"data/{name}"}},
            "resources": {"cpu": "50m", "memory": "128Mi"},
        },
    }


ADAPTERS = (
    Adapter(
        name="TrainingJob on kubernetes",
        backend=KubernetesTrainer(),
        resource=TRAINING_JOBS,
        done="Succeeded",
        running="Running",
        quick=lambda ns, name: training_job(ns, name, WRITE_MODEL),
        endless=lambda ns, name: training_job(ns, name, f'[ "$MILLRACE_ATTEMPT" = 1 ] && sleep 600; {WRITE_MODEL}'),
        wanted=lambda _ctx, _observed: (),
        things=jobs_of,
        vanish=delete_jobs,
        create_verb="create",
        create_resource="jobs",
        missing="jobs.batch",
        deadline=_training_deadline,
    ),
    Adapter(
        name="Dataset on kubernetes",
        backend=KubernetesDataset(),
        resource=DATASETS,
        done="Published",
        running="Reading",
        quick=lambda ns, name: _dataset(ns, name, 2_000),
        endless=lambda ns, name: _dataset(ns, name, 2_000_000_000),
        wanted=lambda _ctx, observed: observed.fingerprint,
        things=workers_of,
        vanish=delete_jobs,
        create_verb="create",
        create_resource="jobs",
        missing="jobs.batch",
    ),
    Adapter(
        name="ModelEndpoint on kubernetes",
        backend=KubernetesServer(),
        resource=MODEL_ENDPOINTS,
        done="Serving",
        running="Loading",
        quick=model_endpoint,
        endless=lambda ns, name: model_endpoint(ns, name, "sleep 600"),
        wanted=lambda ctx, _observed: models.target(ctx.spec, ctx.status, lambda _: None),
        things=serving_of,
        vanish=delete_deployments,
        create_verb="apply",
        create_resource="deployments",
        missing="deployments.apps",
    ),
)
