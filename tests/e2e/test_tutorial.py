"""The tutorial's own commands, one block after another in one shell; while the model is replaced, the endpoint is under load."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from millrace.kube.client import Client
from millrace.kube.resources import NAMESPACES
from support import examples
from support.cluster import MODEL_ENDPOINTS, gone
from support.serving import load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial.md"
_SECTION = re.compile(r"^## (.+?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_END = "the-block-has-ended"
BODY = {"model": "chat", "prompt": "And it came to pass", "max_tokens": 4, "temperature": 0}


def sections() -> dict[str, str]:
    """The commands under each heading."""
    return {title: "\n".join(_BLOCK.findall(text)) for title, text in _SECTION.findall(PAGE.read_text())}


def beside_others(commands: str) -> str:
    """With the cluster that is there, and an operator that leaves other tests' objects alone."""
    assert commands.count("make cluster-up\n") == commands.count("--wait") == 1
    return commands.replace("make cluster-up\n", "").replace("--wait", "--set watchNamespaces={tutorial} --wait")


@dataclass
class Shell:
    """One bash in which the reader types."""

    process: asyncio.subprocess.Process

    async def type(self, commands: str, timeout: float) -> str:
        """What the commands print. Fails where one of them does, with what was printed until then."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{commands}\necho {_END}\n".encode())
        said: list[str] = []
        async with asyncio.timeout(timeout):
            while (line := (await self.process.stdout.readline()).decode()) != f"{_END}\n":
                assert line, f"a command failed:\n{''.join(said)}"
                said.append(line)
        return "".join(said)


@pytest.fixture
async def shell(client: Client) -> AsyncIterator[Shell]:
    """A shell that stops at the first failure; the cluster is left without the tutorial's operator and namespace."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-s",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Shell(process)
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            await asyncio.wait_for(process.wait(), 30)
        await _tidy(client)


async def _tidy(client: Client) -> None:
    """What a tutorial that was cut off leaves; after a whole one there is nothing."""
    release = "helm uninstall millrace -n millrace-system --no-hooks --ignore-not-found --wait"
    forget = "kubectl config unset contexts.millrace-default.namespace; kubectl config set-context --current --namespace default"
    await examples.run(
        "bash", "-c", f"{sys.executable} -m millrace.cli.main release --all --yes -n tutorial || true; {release}; {forget}"
    )
    await client.delete(NAMESPACES, None, "tutorial")
    await gone(client, NAMESPACES, "", "tutorial")


async def test_the_tutorials_commands_lead_from_nothing_to_an_answer(client: Client, shell: Shell) -> None:
    told = sections()
    assert list(told) == ["A cluster and the operator", "Data", "Training", "An answer", "Again, and better", "Away with it"]
    await shell.type(beside_others(told["A cluster and the operator"]), 240)
    assert "Published" in await shell.type(told["Data"], 240)
    made = await shell.type(told["Training"], 700)
    assert '"digest":"sha256:' in made
    answer = await shell.type(told["An answer"], 400)
    words = answer.partition("Ready=True")[2].partition("\n")[2].partition("NAME")[0]
    assert re.search(r"[a-z]{3,}", words), answer
    await replaced_under_load(client, shell, told["Again, and better"])
    await shell.type(told["Away with it"], 400)


async def replaced_under_load(client: Client, shell: Shell, commands: str) -> None:
    """Two models follow one another, and nobody who asks notices."""
    before = (await client.get(MODEL_ENDPOINTS, "tutorial", "chat"))["status"]
    url = "http://chat.tutorial.svc:8080/v1/completions"
    async with load(client, "tutorial", url, method="POST", body=json.dumps(BODY), connections=2, pause=0.2) as asking:
        await asking.after(20)
        await shell.type(commands, 900)
        told = await asking.after(20)
    after = (await client.get(MODEL_ENDPOINTS, "tutorial", "chat"))["status"]
    assert after["model"]["digest"] != before["model"]["digest"]
    assert [t["digest"] for t in after["traffic"]] == [after["model"]["digest"]]
    assert told["failed"] == 0, told["failures"]
    assert told["requests"] > 200, "there was load all the while"
