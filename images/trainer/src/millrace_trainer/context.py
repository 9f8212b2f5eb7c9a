"""Who this process is: the pod contract's environment variables, read once and frozen."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace_trainer.problems import Problem


@dataclass(frozen=True)
class Context:
    """One rank of one attempt of one run. Folders are absolute; `checkpoint_every` 0 means only at the end."""

    job: str
    namespace: str
    uid: str
    attempt: int
    run_id: str
    spec_digest: str
    output: Path
    checkpoints: Path
    checkpoint_every: int
    checkpoint_keep: int
    inputs: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, str]
    rank: int
    local_rank: int
    world: int
    local_world: int

    @property
    def nodes(self) -> int:
        """Pods in the group."""
        return max(1, self.world // self.local_world)

    def input_path(self, name: str) -> Path | None:
        """Where an input lies, or None when the job has none of that name."""
        entry = self.inputs.get(name)
        return Path(str(entry["path"])) if entry else None


def read_context(environ: Mapping[str, str] | None = None) -> Context:
    """Read the environment; raises Problem(BadParameter) that names the variable."""
    env = os.environ if environ is None else environ
    output = Path(env.get("MILLRACE_OUTPUT_DIR", "output"))
    return Context(
        job=env.get("MILLRACE_JOB", "local"),
        namespace=env.get("MILLRACE_NAMESPACE", ""),
        uid=env.get("MILLRACE_UID", ""),
        attempt=_integer(env, "MILLRACE_ATTEMPT", 1, 1),
        run_id=env.get("MILLRACE_RUN_ID", ""),
        spec_digest=env.get("MILLRACE_SPEC_DIGEST", ""),
        output=output,
        checkpoints=Path(env.get("MILLRACE_CHECKPOINT_DIR", str(output / "checkpoints"))),
        checkpoint_every=_integer(env, "MILLRACE_CHECKPOINT_EVERY_STEPS", 0, 0),
        checkpoint_keep=_integer(env, "MILLRACE_CHECKPOINT_KEEP", 3, 1),
        inputs=_object(env, "MILLRACE_INPUTS"),
        parameters={str(key): str(value) for key, value in _object(env, "MILLRACE_PARAMETERS").items()},
        rank=_integer(env, "RANK", 0, 0),
        local_rank=_integer(env, "LOCAL_RANK", 0, 0),
        world=_integer(env, "WORLD_SIZE", 1, 1) if "RANK" in env else 1,
        local_world=_integer(env, "LOCAL_WORLD_SIZE", 1, 1),
    )


def _integer(env: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise Problem("BadParameter", f"{name} must be an integer of at least {least}, not {text!r}")
    return int(text)


def _object(env: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(env.get(name) or "{}")
    except ValueError as error:
        raise Problem("BadParameter", f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Problem("BadParameter", f"{name} must be a JSON object")
    return value
