"""One local AWS in this process: a world and a server in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from millrace_local_aws.admin.client import Admin
from millrace_local_aws.wire.server import Server
from millrace_local_aws.world import Settings, World


class LocalAwsFault(AssertionError):
    """local-aws itself was wrong, or was asked for what nobody serves: the test that used it does not count."""


@dataclass(frozen=True)
class Options:
    """`data_dir` None keeps the state in a temporary folder. `speed` 0 stands still until stepped; None is 1, or as it was."""

    data_dir: Path | None = None
    speed: float | None = None
    start_clock: float | None = None
    host: str = "127.0.0.1"
    port: int = 0
    settings: Settings | None = None


async def serve(folder: Path, options: Options, ready: Callable[[World, int], None], stop: asyncio.Event) -> None:
    """Until `stop` is set."""
    world = World(folder, options.speed, options.start_clock, options.settings or Settings())
    server = Server(world)
    timers = None
    world.resume()
    try:
        port = await server.start(options.host, options.port)
        timers = asyncio.create_task(world.scheduler.run())
        ready(world, port)
        await stop.wait()
    finally:
        if timers is not None:
            timers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await timers
        await world.work.close()
        await world.runner.close()
        await server.stop()
        world.close()


def run_forever(options: Options, announce: Callable[[str], None]) -> None:
    """Until SIGTERM or SIGINT."""

    async def main() -> None:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        with _folder(options.data_dir) as folder:
            await serve(folder, options, lambda world, port: announce(f"http://{options.host}:{port}"), stop)

    asyncio.run(main())


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="local-aws-") as made:
        yield Path(made)


class Thread:
    """The server's thread."""

    def __init__(self, folder: Path, options: Options) -> None:
        self._folder, self._options = folder, options
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="local-aws", daemon=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await serve(self._folder, self._options, self._announce, self._stop)

    def _announce(self, world: World, port: int) -> None:
        self.port = port
        self._ready.set()

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(60)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@cache
def _session(region: str) -> Any:
    """One a region, because it keeps the service models that take longest to read."""
    import boto3

    return boto3.Session(region_name=region)


class LocalAws:
    """What `local_aws` gives."""

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self.admin = Admin(endpoint_url)

    def client(
        self, service: str, *, account: str = "123456789012", region: str = "us-east-1", role: str | None = None, **options: Any
    ) -> Any:
        """A boto3 client as the account's root, or in a session of the role of that ARN; `options` go to boto3."""
        credentials = {"aws_access_key_id": account, "aws_secret_access_key": "local"}
        if role is not None:
            found = self.client("sts", account=account, region=region).assume_role(RoleArn=role, RoleSessionName="local")[
                "Credentials"
            ]
            credentials = {
                "aws_access_key_id": found["AccessKeyId"],
                "aws_secret_access_key": found["SecretAccessKey"],
                "aws_session_token": found["SessionToken"],
            }
        return _session(region).client(service, endpoint_url=self.endpoint_url, **credentials, **options)

    def check(self) -> None:
        """Raises LocalAwsFault where an answer was not what the model says, or something nobody serves was asked for."""
        found = self.admin.counters()
        if found["faultCount"] or found["unserved"]:
            faults = [fault["text"] for fault in found["faults"]]
            raise LocalAwsFault(f"faults of local-aws: {faults}; not served: {found['unserved']}")


@contextlib.contextmanager
def local_aws(
    *,
    speed: float | None = None,
    data_dir: Path | None = None,
    start_clock: float | None = None,
    strict: bool = True,
    enforce_iam: bool = False,
    **settings: Any,
) -> Iterator[LocalAws]:
    """A running local AWS; with `strict` its own faults and unserved operations fail the caller at the end."""
    with _folder(data_dir) as folder:
        options = Options(data_dir, speed, start_clock, settings=Settings(enforce_iam=enforce_iam, **settings))
        thread = Thread(folder, options)
        thread.start()
        aws = LocalAws(f"http://127.0.0.1:{thread.port}")
        try:
            yield aws
            if strict:
                aws.check()
        finally:
            thread.stop()
