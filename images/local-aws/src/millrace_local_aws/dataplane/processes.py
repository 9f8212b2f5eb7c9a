"""A runner without containers: the image's command as a process, in a private folder in place of /opt/ml.

Options: `images`, a map from image patterns to the image's entrypoint, such as {"*/trainer:*": ["python3", "-m", "trainer"]};
SageMaker's argument (`train` or `serve`) is added, unless the job names an entrypoint of its own. Programs find their folder
through SAGEMAKER_BASE_DIR and SM_*, and their port through SAGEMAKER_BIND_TO_PORT, as with SageMaker's own toolkits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from millrace_local_aws.dataplane import contract
from millrace_local_aws.dataplane.runner import UNHEALTHY, Answer, Ended, EndpointTask, Runner, TrainingTask

if TYPE_CHECKING:
    from millrace_local_aws.world import World

LOG = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 1.0
PING_SECONDS = 0.2
LAST_LINES_SECONDS = 2.0
"""A child that the process leaves behind may hold its pipe for ever."""
PID = ".pid"
_HIDDEN_HEADERS = {"content-length", "transfer-encoding", "connection"}


@dataclass
class Running:
    """A process and its folder."""

    root: Path
    port: int = 0
    process: asyncio.subprocess.Process | None = None
    stopped: bool = False
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)


class Processes(Runner):
    """Everything happens in the event loop; only files are copied beside it."""

    def __init__(self, world: World, images: Mapping[str, list[str]] | None = None) -> None:
        self._world = world
        self._images = images or {}
        self._folder = world.folder / "processes"
        _end_orphans(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._training: dict[str, Running] = {}
        self._serving: dict[str, Running] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        watcher = asyncio.ensure_future(work)
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def _new(self) -> Running:
        root = self._folder / uuid.uuid4().hex
        root.mkdir(parents=True)
        return Running(root)

    def _command(
        self, image: str, verb: str, entrypoint: tuple[str, ...] = (), arguments: tuple[str, ...] = ()
    ) -> list[str] | None:
        if entrypoint:
            return [*entrypoint, *arguments]
        found = next((command for pattern, command in self._images.items() if fnmatchcase(image, pattern)), None)
        return None if found is None else [*found, *(arguments or (verb,))]

    # Training

    def start_training(self, task: TrainingTask) -> None:
        running = self._training[task.id] = self._new()
        self._watch(self._guarded(self._train(task, running), task.id))

    async def _guarded(self, work: Coroutine[Any, Any, Ended], task: str) -> None:
        try:
            ended = await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            LOG.exception("training %s broke", task)
            ended = Ended(1, f"local-aws could not run the job: {error!r}", lost=True)
        self._training.pop(task, None)
        self._world.reports.training_ended(task, ended)
        self._world.store.commit()

    async def _train(self, task: TrainingTask, running: Running) -> Ended:
        root = running.root
        command = self._command(task.image, "train", task.entrypoint, task.arguments)
        if command is None:
            return Ended(1, f"Cannot pull image {task.image}: the processes runner has no command for it")
        contract.lay_out(root, task)
        await self._fetch_all(task, running)
        if running.stopped:
            return Ended(143)
        code = await self._run(command, contract.training_environment(root, task), task, running)
        await self._store(task, running)
        ended = Ended(code, contract.failure(root))
        await asyncio.to_thread(shutil.rmtree, root, True)
        return ended

    async def _fetch_all(self, task: TrainingTask, running: Running) -> None:
        for channel in task.channels:
            await self._fetch(channel.bucket, channel.prefix, running.root / "input/data" / channel.name)
        if task.checkpoints is not None:
            bucket, prefix, _ = task.checkpoints
            folder = running.root / "checkpoints"
            await self._fetch(bucket, f"{prefix}/" if prefix else "", folder)
            list(contract.changed(folder, running.seen))

    async def _fetch(self, bucket: str, prefix: str, folder: Path) -> None:
        """Every object below a prefix, named by what comes behind the prefix's last slash."""
        s3 = self._world.s3
        if s3.buckets.get("", bucket) is None:
            return
        for found in s3.keys(bucket, prefix):
            name = contract.below(prefix, found.key)
            if name and not found.key.endswith("/"):
                await asyncio.to_thread(contract.fetch, s3.pieces(found.files, 0, found.size), folder / name)

    async def _run(self, command: list[str], environment: dict[str, str], task: TrainingTask, running: Running) -> int:
        process = running.process = await self._spawn(command, environment, running.root)
        lines = asyncio.ensure_future(self._log(task.id, process))
        saver = asyncio.ensure_future(self._save_checkpoints(task, running))
        if running.stopped:
            self._signal(running, signal.SIGTERM)
        try:
            await process.wait()
            await asyncio.wait({lines}, timeout=LAST_LINES_SECONDS)
        finally:
            await self._end(running)
            for helper in (saver, lines):
                helper.cancel()
            await asyncio.gather(saver, lines, return_exceptions=True)
        code = process.returncode or 0
        return code if code >= 0 else 128 - code

    async def _spawn(self, command: list[str], environment: dict[str, str], root: Path) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=root,
            env=contract.tidy_environment() | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=1 << 20,
        )
        (root / PID).write_text(str(process.pid))
        return process

    async def _log(self, task: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while chunk := await process.stdout.readline():
            self._world.reports.log(task, [chunk.decode(errors="replace").rstrip("\n")])
            self._world.store.commit()

    async def _save_checkpoints(self, task: TrainingTask, running: Running) -> None:
        while task.checkpoints is not None:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            await self._upload_checkpoints(task, running)

    async def _upload_checkpoints(self, task: TrainingTask, running: Running) -> None:
        if task.checkpoints is None:
            return
        bucket, prefix, _ = task.checkpoints
        folder = running.root / "checkpoints"
        for name, path in await asyncio.to_thread(lambda: list(contract.changed(folder, running.seen))):
            copy = running.root / f"upload-{uuid.uuid4().hex}"
            if await asyncio.to_thread(contract.snapshot, path, copy):
                self._world.s3.put_file(bucket, f"{prefix}/{name}" if prefix else name, copy)
        self._world.store.commit()

    async def _store(self, task: TrainingTask, running: Running) -> None:
        """Checkpoints, the model, and other output."""
        await self._upload_checkpoints(task, running)
        bucket, prefix = task.output
        for folder, name in (("model", "model"), ("output/data", "output")):
            archive = running.root / f"{name}.tar.gz"
            if await asyncio.to_thread(contract.pack, running.root / folder, archive):
                self._world.s3.put_file(bucket, f"{prefix}/output/{name}.tar.gz", archive)

    def stop_training(self, task: str, *, kill: bool = False) -> None:
        running = self._training.get(task)
        if running is not None:
            running.stopped = True
            self._signal(running, signal.SIGKILL if kill else signal.SIGTERM)

    async def _end(self, running: Running) -> None:
        """Kills what is left of it, and gives its pipe back: a loop that is closed before it warns about both."""
        self._signal(running, signal.SIGKILL)
        if running.process is not None:
            await running.process.wait()
            running.process._transport.close()  # type: ignore[attr-defined]

    def _signal(self, running: Running, which: signal.Signals) -> None:
        """To the process and whatever it has started."""
        if running.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, which)

    def knows(self, task: str) -> bool:
        return task in self._training

    # Serving

    def start_endpoint(self, task: EndpointTask) -> None:
        if task.id not in self._serving:
            running = self._serving[task.id] = self._new()
            self._watch(self._serve(task, running))

    async def _serve(self, task: EndpointTask, running: Running) -> None:
        try:
            reason = await self._served(task, running)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            LOG.exception("endpoint %s broke", task.id)
            reason = f"local-aws could not run the container: {error!r}"
        if not running.stopped:
            self._world.reports.endpoint_failed(task.id, reason)
            self._world.store.commit()

    async def _served(self, task: EndpointTask, running: Running) -> str:
        """Returns why it no longer serves."""
        command = self._command(task.image, "serve")
        if command is None:
            return f"Cannot pull image {task.image}: the processes runner has no command for it"
        running.port = _free_port()
        await self._fetch_model(task, running)
        environment = contract.serving_environment(running.root, task, running.port)
        process = running.process = await self._spawn(command, environment, running.root)
        lines = asyncio.ensure_future(self._log(task.id, process))
        try:
            if await self._answers(running, process):
                self._world.reports.endpoint_ready(task.id)
                self._world.store.commit()
            await process.wait()
            await asyncio.wait({lines}, timeout=LAST_LINES_SECONDS)
        finally:
            await self._end(running)
            lines.cancel()
        return UNHEALTHY.format(variant=task.variant)

    async def _fetch_model(self, task: EndpointTask, running: Running) -> None:
        folder = running.root / "model"
        folder.mkdir(exist_ok=True)
        if task.model is None:
            return
        bucket, key = task.model
        found = self._world.s3.current(bucket, key)
        if found is None or key.endswith("/"):
            await self._fetch(bucket, key, folder)
            return
        archive = running.root / "model.tar.gz"
        await asyncio.to_thread(contract.fetch, self._world.s3.pieces(found.files, 0, found.size), archive)
        await asyncio.to_thread(contract.unpack, archive, folder)
        archive.unlink()

    async def _answers(self, running: Running, process: asyncio.subprocess.Process) -> bool:
        """Once /ping says 200; False where the process ends before."""
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._http().get(f"http://127.0.0.1:{running.port}/ping", timeout=aiohttp.ClientTimeout(2)) as answer:
                    if answer.status == 200:
                        return True
            await asyncio.sleep(PING_SECONDS)
        return False

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def invoke(self, task: str, body: bytes, headers: Mapping[str, str], path: str = "/invocations") -> Answer:
        running = self._serving.get(task)
        if running is None or not running.port:
            raise ConnectionError("no container runs")
        try:
            answer = await self._http().post(f"http://127.0.0.1:{running.port}{path}", data=body, headers=dict(headers))
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error
        shown = {name: value for name, value in answer.headers.items() if name.lower() not in _HIDDEN_HEADERS}
        return Answer(answer.status, shown, _chunks(answer))

    def stop_endpoint(self, task: str) -> None:
        running = self._serving.pop(task, None)
        if running is not None:
            running.stopped = True
            self._signal(running, signal.SIGKILL)

    async def close(self) -> None:
        for running in (*self._training.values(), *self._serving.values()):
            running.stopped = True
            self._signal(running, signal.SIGKILL)
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """As the container sends them."""
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error)) from error
    finally:
        answer.release()


def _end_orphans(folder: Path) -> None:
    """What an earlier server left running when it was killed: only processes that work in our folder."""
    for path in folder.glob(f"*/{PID}"):
        number = int(path.read_text() or 0)
        with contextlib.suppress(OSError):
            if number and f"SAGEMAKER_BASE_DIR={path.parent}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(
                b"\0"
            ):
                os.killpg(number, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
