"""What runners report, brought to the jobs and endpoints it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.api import Body, route
from millrace_local_aws.dataplane.runner import Ended, Runner
from millrace_local_aws.services.bedrock import containers

if TYPE_CHECKING:
    from millrace_local_aws.world import World


class WorldReports:
    """Task ids are paths: account/region/job/attempt, or account/region/endpoint/generation/variant. Bedrock's are marked."""

    def __init__(self, world: World) -> None:
        self._world = world

    def log(self, task: str, lines: list[str]) -> None:
        from millrace_local_aws.services.sagemaker import endpoint_life, training_life

        if containers.is_ours(task):
            containers.log(self._world, task, lines)
            return
        parts = task.split("/")
        scope, now = f"{parts[0]}/{parts[1]}", self._world.logs.now()
        if len(parts) == 4:
            group, stream = training_life.LOG_GROUP, f"{parts[2]}/algo-1-{parts[3]}"
        else:
            group, stream = f"{endpoint_life.LOG_GROUP}/{parts[2]}", f"{parts[4]}/i-{parts[3]}"
        self._world.logs.write(scope, group, stream, [(now, line) for line in lines])

    def training_ended(self, task: str, ended: Ended) -> None:
        from millrace_local_aws.services.sagemaker import training_life

        if containers.is_ours(task):
            containers.ended(self._world, task, ended)
            return
        account, region, name, attempt = task.split("/")
        training_life.ended(self._world, f"{account}/{region}", name, int(attempt), ended)

    def endpoint_ready(self, task: str) -> None:
        from millrace_local_aws.services.sagemaker import endpoint_life

        if containers.is_ours(task):
            containers.ready(self._world, task)
            return
        account, region, name, generation, variant = task.split("/")
        endpoint_life.ready(self._world, f"{account}/{region}", name, int(generation), variant)

    def endpoint_failed(self, task: str, reason: str) -> None:
        from millrace_local_aws.services.sagemaker import endpoint_life
        from millrace_local_aws.services.sagemaker.service import table

        if containers.is_ours(task):
            containers.failed(self._world, task, reason)
            return
        account, region, name, generation, _ = task.split("/")
        record = table(self._world, "endpoint").get(f"{account}/{region}", name)
        coming = (record or {}).get("_pending") or record or {}
        if (
            record is not None
            and coming.get("_generation") == int(generation)
            and record["EndpointStatus"] in ("Creating", "Updating")
        ):
            endpoint_life.failed(self._world, f"{account}/{region}", record, reason)


def make_runner(world: World) -> Runner:
    """The one that the settings name."""
    from millrace_local_aws.dataplane.scripted import Scripted

    name = world.settings.runner
    if name == "scripted":
        return Scripted(world)
    if name == "processes":
        from millrace_local_aws.dataplane.processes import Processes

        return Processes(world, **world.settings.runner_options)
    if name == "kubernetes":
        from millrace_local_aws.dataplane.kubernetes import Kubernetes

        return Kubernetes(world, **world.settings.runner_options)
    raise ValueError(f"no runner {name}")


@route("GET", "dataplane/task")
def told(world: World, body: Body) -> Any:
    """The container beside asks: has the user's ended, is it to stop?"""
    return world.data_plane.told(body["task"]) if world.data_plane is not None else {"ended": True, "signal": None}


@route("POST", "dataplane/stored")
def stored(world: World, body: Body) -> Any:
    """The container beside says that all is in S3."""
    if world.data_plane is not None:
        world.data_plane.stored(body["task"], body.get("failure"))
