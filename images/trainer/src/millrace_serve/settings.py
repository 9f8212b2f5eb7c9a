"""What the pod's environment says: model, port, times and limits. Pure but for `from_environ`, which reads os.environ."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from millrace_serve.problems import StartProblem

DEVICES = ("auto", "cpu", "cuda")
MAY_BE_ZERO = frozenset({"maxConcurrency", "maxQueue", "maxTokens", "contextLength", "threads"})
CONTROL_GROUPS = Path("/sys/fs/cgroup")
SAGEMAKER = "serve"
MODEL_OF_SAGEMAKER = Path("/opt/ml/model")


@dataclass(frozen=True)
class Parameters:
    """Field names are parameter names; docs/serve-contract.md has their meaning. Zero means: decide by yourself."""

    maxBatch: int = 8
    maxConcurrency: int = 0
    maxQueue: int = 64
    maxTokens: int = 0
    contextLength: int = 0
    threads: int = 0
    requestTimeoutSeconds: int = 600
    device: str = "auto"

    @property
    def concurrency(self) -> int:
        """Requests answered at once; the others wait."""
        return self.maxConcurrency or self.maxBatch


@dataclass(frozen=True)
class Settings:
    """Everything the start needs. Times in seconds."""

    model_dir: Path
    model_name: str
    model_digest: str = ""
    port: int = 8080
    drain_seconds: float = 5.0
    grace_seconds: float = 30.0
    parameters: Parameters = field(default_factory=Parameters)


def from_environ(arguments: Sequence[str] = ()) -> Settings:
    """This process's settings; raises StartProblem(BadParameter) that names the variable, or for arguments that mean nothing."""
    if not arguments:
        return read_settings(os.environ)
    if list(arguments) != [SAGEMAKER]:
        raise StartProblem(
            "BadParameter", f"the only argument is {SAGEMAKER!r}, which SageMaker gives, not {' '.join(arguments)!r}"
        )
    return read_settings(on_sagemaker(os.environ))


def on_sagemaker(environ: Mapping[str, str], folder: Path = MODEL_OF_SAGEMAKER) -> dict[str, str]:
    """SageMaker's container contract in our variables. Where it brought no model, the one in the image is served."""
    told = {"MILLRACE_MODEL_NAME": "model", "MILLRACE_PORT": environ.get("SAGEMAKER_BIND_TO_PORT", ""), **environ}
    brought = folder.is_dir() and any(folder.iterdir())
    return {**told, "MILLRACE_MODEL_DIR": str(folder)} if brought or not environ.get("MILLRACE_MODEL_DIR") else told


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings of an environment; raises StartProblem(BadParameter) that names the variable."""
    return Settings(
        model_dir=Path(_needed(environ, "MILLRACE_MODEL_DIR")),
        model_name=_needed(environ, "MILLRACE_MODEL_NAME"),
        model_digest=environ.get("MILLRACE_MODEL_DIGEST", ""),
        port=int(_number(environ, "MILLRACE_PORT", 8080, most=65535)),
        drain_seconds=_number(environ, "MILLRACE_DRAIN_SECONDS", 5.0),
        grace_seconds=_number(environ, "MILLRACE_GRACE_SECONDS", 30.0),
        parameters=read_parameters(environ.get("MILLRACE_SERVE_PARAMETERS", "")),
    )


def _needed(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise StartProblem("BadParameter", f"{name} is not set")
    return environ[name]


def _number(environ: Mapping[str, str], name: str, default: float, most: float = 86_400) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise StartProblem("BadParameter", f"{name} must be a number from 0 to {most:g}, not {text!r}")
    return value


def read_parameters(text: str) -> Parameters:
    """MILLRACE_SERVE_PARAMETERS, a JSON object of strings; raises StartProblem(BadParameter) naming what is allowed."""
    known = {item.name: item.type for item in fields(Parameters)}
    values: dict[str, Any] = {}
    for name, value in _object(text).items():
        if name not in known:
            raise StartProblem("BadParameter", f"unknown parameter {name!r}; allowed: {', '.join(known)}")
        values[name] = _device(value) if known[name] is str else _whole(name, value)
    return Parameters(**values)


def _object(text: str) -> dict[str, str]:
    try:
        content = json.loads(text or "{}")
    except ValueError as error:
        raise StartProblem("BadParameter", f"MILLRACE_SERVE_PARAMETERS is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise StartProblem("BadParameter", "MILLRACE_SERVE_PARAMETERS must be a JSON object whose values are strings")
    return content


def _device(text: str) -> str:
    if text not in DEVICES:
        raise StartProblem("BadParameter", f"parameter device must be one of {', '.join(DEVICES)}, not {text!r}")
    return text


def _whole(name: str, text: str) -> int:
    least = 0 if name in MAY_BE_ZERO else 1
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= 1_000_000:
        raise StartProblem("BadParameter", f"parameter {name} must be a whole number from {least} to 1000000, not {text!r}")
    return int(text)


def cpus(groups: Path = CONTROL_GROUPS) -> int:
    """Whole CPUs this container may use: its control group's quota, else the processors it may run on."""
    available = len(os.sched_getaffinity(0))
    try:
        limit, period = _quota(groups)
    except (OSError, ValueError):
        return available
    return max(1, min(available, limit // period)) if limit > 0 else available


def _quota(groups: Path) -> tuple[int, int]:
    """Of control groups in version 2, or 1 where they are. Raises OSError or ValueError where there is none."""
    if (groups / "cpu.max").exists():
        limit, period = (groups / "cpu.max").read_text(encoding="ascii").split()
    else:
        limit, period = ((groups / f"cpu/cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
    return int(limit), int(period)
