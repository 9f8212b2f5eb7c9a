"""A job's folders and environment, and ranks to run in them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SRC = Path(__file__).parents[1] / "src"
LAST = 40
TINY = {
    "layers": "2",
    "hiddenSize": "32",
    "heads": "2",
    "sequenceLength": "32",
    "vocabSize": "300",
    "microBatchSize": "2",
    "globalBatchSize": "8",
    "maxSteps": str(LAST),
    "warmupSteps": "3",
    "validateEverySteps": "20",
    "validationTokens": "2000",
    "threads": "1",
    "accelerator": "cpu",
}
WORDS = ("mill", "race", "water", "wheel", "turns", "the", "stone", "and", "grain", "falls", "slowly", "down")


def text(lines: int) -> str:
    """Some sentences with structure, the same on every call."""
    count = len(WORDS)
    return "".join(
        " ".join(WORDS[(line * line + place * (line % 5 + 1)) % count] for place in range(9)) + ".\n" for line in range(lines)
    )


@dataclass
class Job:
    """One TrainingJob's folders; `env` is what the operator would set for an attempt."""

    root: Path
    parameters: dict[str, str] = field(default_factory=lambda: dict(TINY))
    every: int = 8
    keep: int = 2

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def termination(self) -> dict[str, Any]:
        return dict(json.loads((self.root / "termination").read_text()))

    @property
    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.output / "run.json").read_text()))

    @property
    def pointer(self) -> dict[str, Any]:
        return dict(json.loads((self.checkpoints / "latest.json").read_text()))

    def env(self, attempt: int = 1, **more: str) -> dict[str, str]:
        inputs = {"train": {"path": str(self.root / "train.txt"), "format": "text", "digest": "sha256:00"}}
        return {
            "MILLRACE_JOB": "job",
            "MILLRACE_NAMESPACE": "team",
            "MILLRACE_UID": "u-1",
            "MILLRACE_ATTEMPT": str(attempt),
            "MILLRACE_RUN_ID": "run-1",
            "MILLRACE_SPEC_DIGEST": "sha256:11",
            "MILLRACE_OUTPUT_DIR": str(self.output),
            "MILLRACE_CHECKPOINT_DIR": str(self.checkpoints),
            "MILLRACE_CHECKPOINT_EVERY_STEPS": str(self.every),
            "MILLRACE_CHECKPOINT_KEEP": str(self.keep),
            "MILLRACE_INPUTS": json.dumps(inputs),
            "MILLRACE_PARAMETERS": json.dumps(self.parameters),
            "MILLRACE_TERMINATION_LOG": str(self.root / "termination"),
            "PYTHONPATH": str(SRC),
            "TMPDIR": str(self.root / "tmp"),
            "CUDA_VISIBLE_DEVICES": "",
            **more,
        }


def make_job(root: Path) -> Job:
    """A job with a small text to train on."""
    (root / "tmp").mkdir(parents=True)
    (root / "train.txt").write_text(text(400))
    return Job(root)


class Launcher:
    """The process of launcher.py; `start` begins ranks, `codes` waits for their end."""

    def __init__(self) -> None:
        environ = {**os.environ, "PYTHONPATH": str(SRC)}
        command = [sys.executable, str(Path(__file__).with_name("launcher.py"))]
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer("ready")

    def _answer(self, key: str) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())[key]

    def start(self, job: Job, world: int, attempt: int = 1, **env: str) -> list[int]:
        """Process ids by rank."""
        assert self._process.stdin is not None
        request = {"env": job.env(attempt, **env), "world": world, "log": str(job.root / "log")}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return list(self._answer("pids"))

    def codes(self) -> list[int]:
        """Exit codes by rank, once all have ended."""
        return list(self._answer("codes"))

    def run(self, job: Job, world: int, attempt: int = 1, **env: str) -> list[int]:
        """Start and wait."""
        self.start(job, world, attempt, **env)
        return self.codes()

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Poll until true; the test fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
