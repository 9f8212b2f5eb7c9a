"""The backends that make things in SageMaker, of the local AWS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from millrace.engine.controller import Pass
from millrace_controllers.modelendpoint import models
from millrace_controllers.modelendpoint.backends.sagemaker import SageMakerHost, config_name, endpoint_name, requests
from millrace_controllers.trainingjob.backends.sagemaker import SageMakerTrainer
from support import hosting, sagemaker
from support.cluster import MODEL_ENDPOINTS, TRAINING_JOBS

from .adapters import ENDLESS, QUICK, Adapter, training_deadline
from .places import OnAws, Place

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
MACHINE = "ml.g5.2xlarge"
ENOUGH = 1000
STATES = {
    "sagemaker.training/Starting": 0.1,
    "sagemaker.training/Downloading": 0.1,
    "sagemaker.training/Training": 0.6,
    "sagemaker.training/Uploading": 0.1,
    "sagemaker.training/Stopping": 0.1,
    "sagemaker.endpoint/Creating": 0.3,
    "sagemaker.endpoint/Updating": 0.3,
    "sagemaker.endpoint/Deleting": 0.3,
}
"""Seconds that states last: long enough to be seen."""


def furnish(aws: LocalAws) -> None:
    """What an account has that every test uses."""
    hosting.stage(aws)
    sagemaker.prepare(aws)
    aws.admin.set_quota("training", MACHINE, ENOUGH, account=hosting.ACCOUNT)
    hosting.quota(aws, hosting.FIRST, ENOUGH)
    aws.admin.plan("training", "script", name=f"{ENDLESS}-*-*", seconds=3600, times=None)


def training(ns: str, name: str) -> Object:
    """A TrainingJob of an image."""
    return {
        "apiVersion": TRAINING_JOBS.api_version,
        "kind": TRAINING_JOBS.kind,
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "inputs": [{"name": "train", "uri": "s3://data/train/"}],
            "output": {"uri": "s3://data/models"},
            "sageMaker": {"algorithm": {"image": "repo/x:1"}, "roleARN": sagemaker.ROLE, "instanceTypes": [MACHINE]},
        },
    }


def endpoint(ns: str, name: str) -> Object:
    """A ModelEndpoint of a model in S3 and an image."""
    return {
        "apiVersion": MODEL_ENDPOINTS.api_version,
        "kind": MODEL_ENDPOINTS.kind,
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "model": {"uri": "s3://models/m.tar.gz"},
            "sageMaker": {"roleARN": hosting.SERVING_ROLE, "image": hosting.IMAGE, "instanceTypes": [hosting.FIRST]},
            "probe": {"request": {"body": {"inputs": "x"}}, "expect": {"contains": "positive"}},
        },
    }


async def create_training(ctx: Pass) -> None:
    await SageMakerTrainer().create(ctx, ())


async def create_endpoint(ctx: Pass) -> None:
    host, target, serving = SageMakerHost(), models.target(ctx.spec, ctx.status, lambda _: None), ctx.spec.sage_maker
    found = await host.observe(ctx)
    recipe = requests.own(serving, target.uri)
    await host.create(ctx, found, config_name(found.name, target.revision, 0), recipe, serving.instance_types[0])


def _jobs(place: Place, obj: Object) -> Iterator[Object]:
    assert isinstance(place, OnAws)
    begins = f"{obj['metadata']['name']}-{obj['metadata']['uid'][:6]}-"
    yield from place.boto("sagemaker").list_training_jobs(NameContains=begins)["TrainingJobSummaries"]


def _made(jobs: Iterator[Object]) -> dict[str, str]:
    return {j["TrainingJobName"]: str(j["CreationTime"]) for j in jobs}


async def jobs_of(place: Place, obj: Object) -> dict[str, str]:
    """Training jobs, for ever."""
    return await asyncio.to_thread(lambda: _made(_jobs(place, obj)))


async def running_jobs(place: Place, obj: Object) -> dict[str, str]:
    """Training jobs that have not ended."""
    going = {"InProgress", "Stopping"}
    return await asyncio.to_thread(lambda: _made(j for j in _jobs(place, obj) if j["TrainingJobStatus"] in going))


async def stop_jobs(place: Place, obj: Object) -> None:
    """As somebody at the console would."""
    assert isinstance(place, OnAws)
    for name in await running_jobs(place, obj):
        await asyncio.to_thread(place.boto("sagemaker").stop_training_job, TrainingJobName=name)


def _endpoints(place: Place, obj: Object) -> dict[str, str]:
    assert isinstance(place, OnAws)
    found = place.boto("sagemaker").list_endpoints(NameContains=endpoint_name(obj))["Endpoints"]
    return {e["EndpointName"]: str(e["CreationTime"]) for e in found}


async def endpoints_of(place: Place, obj: Object) -> dict[str, str]:
    return await asyncio.to_thread(_endpoints, place, obj)


async def delete_endpoints(place: Place, obj: Object) -> None:
    """As somebody at the console would."""
    assert isinstance(place, OnAws)
    for name in await endpoints_of(place, obj):
        await asyncio.to_thread(place.boto("sagemaker").delete_endpoint, EndpointName=name)


ON_SAGEMAKER = (
    Adapter(
        name="TrainingJob on SageMaker",
        place=OnAws,
        backend=SageMakerTrainer(),
        resource=TRAINING_JOBS,
        done="Succeeded",
        runs="Running",
        quick=lambda ns: training(ns, QUICK),
        endless=lambda ns: training(ns, ENDLESS),
        create=create_training,
        things=jobs_of,
        running=running_jobs,
        vanish=stop_jobs,
        created_by=("sagemaker", "CreateTrainingJob"),
        missing="sagemaker:CreateTrainingJob",
        deadline=training_deadline,
    ),
    Adapter(
        name="ModelEndpoint on SageMaker",
        place=OnAws,
        backend=SageMakerHost(),
        resource=MODEL_ENDPOINTS,
        done="Serving",
        runs="Serving",
        quick=lambda ns: endpoint(ns, QUICK),
        endless=lambda ns: endpoint(ns, ENDLESS),
        create=create_endpoint,
        things=endpoints_of,
        running=endpoints_of,
        vanish=delete_endpoints,
        created_by=("sagemaker", "CreateEndpoint"),
        missing="sagemaker:CreateEndpoint",
    ),
)
