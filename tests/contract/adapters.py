"""What the contract suite has to know of a backend, and the backends that make things in the cluster itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from millrace.engine.controller import Pass
from millrace.kube.resources import DEPLOYMENTS, JOBS, PODS, Resource
from millrace_controllers.dataset.backends.kubernetes import KubernetesDataset
from millrace_controllers.modelendpoint import models
from millrace_controllers.modelendpoint.backends.kubernetes import KubernetesServer
from millrace_controllers.trainingjob.backends.kubernetes import KubernetesTrainer
from support.cluster import DATASETS, MODEL_ENDPOINTS, TRAINING_JOBS, WRITE_MODEL, children, model_endpoint, training_job

from .places import InCluster, Place

Object = dict[str, Any]
QUICK, ENDLESS = "quick", "endless"


class Deleting(Protocol):
    """What the suite calls of every backend's port as it is; how a thing is made differs."""

    async def delete(self, ctx: Pass) -> bool:
        """Take everything down; True when nothing is left."""
        ...


@dataclass(frozen=True)
class Adapter:
    """One backend of one kind.

    `quick` ends well by itself, `endless` runs until it is taken down; the manifests have these names. `create` makes what a pass
    would make. `things` names what was made outside for an object (name: identity), `running` those of them that run or cost;
    `vanish` takes them away behind the operator's back. `created_by` is the call that makes the thing, for faults to hit;
    `missing` is what a refusal of that call must name.
    """

    name: str
    place: type[Place]
    backend: Deleting
    resource: Resource
    done: str
    runs: str
    quick: Callable[[str], Object]
    endless: Callable[[str], Object]
    create: Callable[[Pass], Awaitable[None]]
    things: Callable[[Place, Object], Awaitable[dict[str, str]]]
    running: Callable[[Place, Object], Awaitable[dict[str, str]]]
    vanish: Callable[[Place, Object], Awaitable[None]]
    created_by: tuple[str, str]
    missing: str
    deadline: Callable[[Object], None] | None = None
    """Puts a deadline of two seconds into a manifest; None where the kind has none."""


def uids(found: Iterable[Object]) -> dict[str, str]:
    """Objects by name, with their uids."""
    return {o["metadata"]["name"]: o["metadata"]["uid"] for o in found}


async def jobs_of(place: Place, obj: Object) -> dict[str, str]:
    return uids(await children(place.client, JOBS, obj))


async def workers_of(place: Place, obj: Object) -> dict[str, str]:
    """The Jobs that do a Dataset's work; those that read it back come after them."""
    return uids(await children(place.client, JOBS, obj, role="worker"))


async def delete_jobs(place: Place, obj: Object) -> None:
    """As somebody with kubectl would."""
    for name in await jobs_of(place, obj):
        await place.client.delete(JOBS, obj["metadata"]["namespace"], name)


async def pods_of(place: Place, obj: Object) -> dict[str, str]:
    return uids(await children(place.client, PODS, obj))


async def serving_of(place: Place, obj: Object) -> dict[str, str]:
    """Deployments that ask for pods."""
    return uids(d for d in await children(place.client, DEPLOYMENTS, obj) if d["spec"]["replicas"])


async def delete_deployments(place: Place, obj: Object) -> None:
    """As somebody with kubectl would."""
    for name in await serving_of(place, obj):
        await place.client.delete(DEPLOYMENTS, obj["metadata"]["namespace"], name)


async def create_training(ctx: Pass) -> None:
    await KubernetesTrainer().create(ctx, ())


async def create_dataset(ctx: Pass) -> None:
    backend = KubernetesDataset()
    await backend.create(ctx, (await backend.observe(ctx)).fingerprint)


async def create_server(ctx: Pass) -> None:
    await KubernetesServer().create(ctx, models.target(ctx.spec, ctx.status, lambda _: None))


def training_deadline(manifest: Object) -> None:
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


IN_CLUSTER = (
    Adapter(
        name="TrainingJob on kubernetes",
        place=InCluster,
        backend=KubernetesTrainer(),
        resource=TRAINING_JOBS,
        done="Succeeded",
        runs="Running",
        quick=lambda ns: training_job(ns, QUICK, WRITE_MODEL),
        endless=lambda ns: training_job(ns, ENDLESS, f'[ "$MILLRACE_ATTEMPT" = 1 ] && sleep 600; {WRITE_MODEL}'),
        create=create_training,
        things=jobs_of,
        running=jobs_of,
        vanish=delete_jobs,
        created_by=("create", "jobs"),
        missing="jobs.batch",
        deadline=training_deadline,
    ),
    Adapter(
        name="Dataset on kubernetes",
        place=InCluster,
        backend=KubernetesDataset(),
        resource=DATASETS,
        done="Published",
        runs="Reading",
        quick=lambda ns: _dataset(ns, QUICK, 2_000),
        endless=lambda ns: _dataset(ns, ENDLESS, 2_000_000_000),
        create=create_dataset,
        things=workers_of,
        running=workers_of,
        vanish=delete_jobs,
        created_by=("create", "jobs"),
        missing="jobs.batch",
    ),
    Adapter(
        name="ModelEndpoint on kubernetes",
        place=InCluster,
        backend=KubernetesServer(),
        resource=MODEL_ENDPOINTS,
        done="Serving",
        runs="Loading",
        quick=lambda ns: model_endpoint(ns, QUICK),
        endless=lambda ns: model_endpoint(ns, ENDLESS, "sleep 600"),
        create=create_server,
        things=serving_of,
        running=serving_of,
        vanish=delete_deployments,
        created_by=("apply", "deployments"),
        missing="deployments.apps",
    ),
)
