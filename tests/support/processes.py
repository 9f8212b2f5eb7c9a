"""Operators as processes: started with the settings of one namespace, heard line by line, never killed but by their own id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import cluster

Object = dict[str, Any]
_SCRIPT = Path(__file__).with_name("chaos_operator.py")


def environment(ns: str, **more: str) -> dict[str, str]:
    """What the operator's settings are read from: one namespace, no doors, no pushes."""
    images = cluster.images()
    wanted = {
        "MILLRACE_NAMESPACE": ns,
        "MILLRACE_WATCH_NAMESPACES": ns,
        "MILLRACE_LEADER_ELECTION": "false",
        "MILLRACE_HTTP_PORT": "0",
        "MILLRACE_PROGRESS_PORT": "0",
        "MILLRACE_PROGRESS_URL": "",
        "MILLRACE_WORKERS": "8",
        "MILLRACE_IMAGE_OPERATOR": images.operator,
        "MILLRACE_IMAGE_TRAINER": images.trainer,
        "MILLRACE_IMAGE_DATASET": images.dataset,
    }
    return {**os.environ, **wanted, **more}


@dataclass
class Process:
    """A started `chaos_operator.py`; `told` is every line that it has said."""

    inner: asyncio.subprocess.Process
    told: list[Object] = field(default_factory=list)

    async def hear(self) -> Object | None:
        """The next line that it says; None at its end."""
        assert self.inner.stdout is not None
        line = await self.inner.stdout.readline()
        if not line:
            return None
        self.told.append(json.loads(line))
        return self.told[-1]

    @property
    def alive(self) -> list[int]:
        """The operator that it told of and that has not ended."""
        return [line["pid"] for line in self.told[-1:] if "pid" in line]

    async def hear_all(self) -> None:
        """Until its end."""
        while await self.hear() is not None:
            pass

    async def order(self, line: str) -> None:
        """Write to its standard input."""
        assert self.inner.stdin is not None
        self.inner.stdin.write(f"{line}\n".encode())
        await self.inner.stdin.drain()


@contextlib.asynccontextmanager
async def started(mode: str, settings: dict[str, str], log: Path) -> AsyncIterator[Process]:
    """Start the script; at the end it, and what it forked last, are killed."""
    with log.open("ab") as stream:
        inner = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_SCRIPT),
            mode,
            env=settings,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stream,
        )
        made = Process(inner)
        try:
            yield made
        finally:
            for pid in {inner.pid, *made.alive}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await inner.wait()
