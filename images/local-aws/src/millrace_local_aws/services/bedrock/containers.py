"""Containers that Bedrock runs in the data plane that SageMaker's jobs run in: one tunes, one serves what was tuned, and one
serves in place of the foundation models.

Their images are named here and mapped by the runner's option `images`, as those of jobs are. Names of their tasks begin with
`bedrock:`, so that what runners report finds its way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from millrace_local_aws.dataplane.runner import Channel, Ended, EndpointTask, TrainingTask

if TYPE_CHECKING:
    from millrace_local_aws.world import World

TUNER = "aws/bedrock-tuner:1"
CUSTOM = "aws/bedrock-custom:1"
FOUNDATION = "aws/bedrock-foundation:1"
MODEL = "model"
"""What the containers call the model that they serve."""
_INSTANCE = "ml.g5.xlarge"
_MARK = "bedrock:"
_VARIANT = "AllTraffic"
_PATIENCE_SECONDS = 180.0


def is_ours(task: str) -> bool:
    return task.split("/")[2].startswith(_MARK)


def tuning_task(scope: str, job: str, name: str) -> str:
    """The id of a job's task."""
    return f"{scope}/{_MARK}job:{job}:{name}/1"


def tune(
    world: World, task: str, name: str, parameters: dict[str, str], channels: tuple[Channel, ...], output: tuple[str, str]
) -> None:
    """Start a job's container."""
    account, region = task.split("/")[:2]
    world.runner.start_training(
        TrainingTask(task, name, account, region, TUNER, (), (), {}, parameters, _INSTANCE, 1, channels, output, None, True)
    )


def serving_task(scope: str, kind: str, key: str, label: str, generation: int) -> str:
    """The id of what serves a `throughput` or a `deployment`; the label is what scripts of tests call it by."""
    return f"{scope}/{_MARK}{kind}:{key}:{label}/{generation}/{_VARIANT}"


def serve(world: World, task: str, model: tuple[str, str] | None) -> None:
    """Start what serves a custom model's archive, or without one what stands in for foundation models."""
    account, region, name = task.split("/")[:3]
    image, environment = CUSTOM if model else FOUNDATION, {"MILLRACE_MODEL_NAME": MODEL}
    world.runner.start_endpoint(EndpointTask(task, name, _VARIANT, account, region, image, environment, model, _INSTANCE))


async def foundation(world: World, region: str, model: str) -> str:
    """The task that answers for a foundation model: one for all of them, started with the first request."""
    if world.settings.runner == "scripted":
        return serving_task(f"bedrock/{region}", "foundation", "all", model, 1)
    task = serving_task(f"000000000000/{region}", "foundation", "all", "all", 1)
    waiting = world.foundations.get(task)
    if waiting is None:
        waiting = world.foundations[task] = asyncio.get_running_loop().create_future()
        serve(world, task, None)
    await asyncio.wait_for(asyncio.shield(waiting), _PATIENCE_SECONDS)
    return task


# What runners report


def log(world: World, task: str, lines: list[str]) -> None:
    """Of a job's container; what serves has no log that a client could read."""
    from millrace_local_aws.services.bedrock import job_life

    scope, kind, key = _parts(task)
    if kind == "job":
        job_life.log(world, scope, key, lines)


def ended(world: World, task: str, result: Ended) -> None:
    from millrace_local_aws.services.bedrock import job_life

    scope, _, key = _parts(task)
    job_life.ended(world, scope, key, result)


def ready(world: World, task: str) -> None:
    scope, kind, key = _parts(task)
    if kind == "foundation":
        _settle(world, task, None)
    else:
        _life(kind).ready(world, scope, key, int(task.split("/")[3]))


def failed(world: World, task: str, why: str) -> None:
    scope, kind, key = _parts(task)
    if kind == "foundation":
        _settle(world, task, ConnectionError(why))
    else:
        _life(kind).failed(world, scope, key, int(task.split("/")[3]), why)


def _settle(world: World, task: str, error: ConnectionError | None) -> None:
    """Those who wait go on; what failed is started again by the next request."""
    waiting = world.foundations.get(task)
    if waiting is None or waiting.done():
        return
    if error is None:
        waiting.set_result(None)
        return
    waiting.set_exception(error)
    waiting.exception()
    del world.foundations[task]
    world.runner.stop_endpoint(task)


def _parts(task: str) -> tuple[str, str, str]:
    """Scope, kind and key."""
    account, region, name = task.split("/")[:3]
    _, kind, key, _ = name.split(":", 3)
    return f"{account}/{region}", kind, key


def _life(kind: str) -> Any:
    from millrace_local_aws.services.bedrock import deployments, throughputs

    return {"throughput": throughputs, "deployment": deployments}[kind]
