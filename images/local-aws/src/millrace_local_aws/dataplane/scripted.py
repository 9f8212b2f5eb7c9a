"""A runner that runs nothing: for tests of what uses SageMaker's control plane, where the test itself says what jobs do.

What it leaves behind says so. It answers no invocation but with what a test has scripted.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from millrace_local_aws.dataplane.runner import Answer, Ended, EndpointTask, Runner, TrainingTask
from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action

if TYPE_CHECKING:
    from millrace_local_aws.world import World

NOTE = b"Written by the scripted runner of local-aws: no container ran.\n"


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of these files, the same bytes every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


class Scripted(Runner):
    """Its jobs are timers of the clock, and so outlive the process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running = world.store.table("scripted.training")

    def script(self, name: str) -> dict[str, Any]:
        """What the test said about this job or endpoint."""
        from millrace_local_aws.services.sagemaker import plans

        return plans.script(self._world, name)

    def start_training(self, task: TrainingTask) -> None:
        script = self.script(task.job)
        seconds = float(script.get("seconds", duration(self._world, "sagemaker.training/Training")))
        self._running.put("", task.id, {"output": list(task.output), "script": script})
        self._world.reports.log(task.id, script.get("logs") or ["scripted runner: no container runs"])
        self._world.scheduler.after(seconds, "scripted.ended", task=task.id, exit_code=int(script.get("exit_code", 0)))

    def stop_training(self, task: str, *, kill: bool = False) -> None:
        self._world.scheduler.after(0, "scripted.ended", task=task, exit_code=143)

    def knows(self, task: str) -> bool:
        return self._running.get("", task) is not None

    def start_endpoint(self, task: EndpointTask) -> None:
        reason = self.script(task.endpoint).get("ping_failure")
        if reason:
            self._world.scheduler.after(1, "scripted.endpoint", task=task.id, reason=reason)
        else:
            self._world.scheduler.after(1, "scripted.endpoint", task=task.id, reason=None)

    def stop_endpoint(self, task: str) -> None:
        return None

    async def invoke(self, task: str, body: bytes, headers: Mapping[str, str], path: str = "/invocations") -> Answer:
        answer = self.script(task.split("/")[2]).get("answer")
        if answer is None:
            raise ConnectionError("the scripted runner runs no container: script an answer, or choose another runner")
        text = str(answer.get("body", ""))
        return Answer(
            int(answer.get("status", 200)), {"Content-Type": answer.get("type", "application/json")}, _once(text.encode())
        )


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


@action("scripted.ended")
def ended(world: World, task: str, exit_code: int) -> None:
    """A scripted container's time is over."""
    record = world.store.table("scripted.training").drop("", task)
    if record is None:
        return
    script, (bucket, prefix) = record["script"], record["output"]
    if exit_code in (0, 143):
        files = {name: text.encode() for name, text in script.get("files", {}).items()} or {"NOTE": NOTE}
        world.s3.put_bytes(bucket, f"{prefix}/output/model.tar.gz", archive(files))
    world.reports.training_ended(task, Ended(exit_code, script.get("failure"), metrics=script.get("metrics", {})))


@action("scripted.endpoint")
def endpoint(world: World, task: str, reason: str | None) -> None:
    """A scripted container answers /ping, or does not."""
    if reason is None:
        world.reports.endpoint_ready(task)
    else:
        world.reports.endpoint_failed(task, reason)
