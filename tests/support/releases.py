"""The operator installed by its chart, in a namespace of a test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from millrace.cli.local.builds import HELM, ensure_tool
from support import cluster

ROOT = Path(__file__).parents[2]


@dataclass
class Release:
    """A Helm release in a test's namespace that serves that namespace alone."""

    ns: str

    async def helm(self, *arguments: str, fails: bool = False) -> str:
        command = [str(ensure_tool(HELM)), *arguments, "--namespace", self.ns]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        out, _ = await asyncio.wait_for(process.communicate(), 240)
        assert bool(process.returncode) is fails, out.decode()
        return out.decode()

    async def apply(self, verb: str, *values: str, files: tuple[Path, ...] = ()) -> str:
        """Install or upgrade; `values` are as for --set, `files` hold values too."""
        images = cluster.images()
        sets = [f"watchNamespaces={{{self.ns}}}", f"rbac.aggregateToUserRoles={json.dumps(False)}", *values]
        for name in ("operator", "trainer", "dataset"):
            repository, _, tag = getattr(images, name).rpartition(":")
            sets += [f"images.{name}.repository={repository}", f"images.{name}.tag={tag}"]
        # --set makes a text of 0.5, which the schema refuses: numbers with a point are set as JSON.
        flags = [part for value in sets for part in ("--set", value)] + ["--set-json", "progress.intervalSeconds=0.5"]
        flags += [part for file in files for part in ("--values", str(file))]
        return await self.helm(verb, "millrace", str(ROOT / "charts/millrace"), "--wait", "--timeout", "3m", *flags)

    async def uninstall(self, *arguments: str, fails: bool = False) -> str:
        return await self.helm("uninstall", "millrace", "--wait", "--timeout", "3m", *arguments, fails=fails)


@contextlib.asynccontextmanager
async def installed(ns: str, *, files: tuple[Path, ...] = ()) -> AsyncIterator[Release]:
    """A release, until the end of the block."""
    made = Release(ns)
    await made.apply("install", files=files)
    try:
        yield made
    finally:
        await asyncio.wait_for(_remove(made), 240)


async def _remove(release: Release) -> None:
    if "millrace" in await release.helm("list", "--short", "--all"):
        await release.uninstall("--no-hooks")
