"""Which engine serves a folder, by what lies in it."""

import asyncio
import importlib
from pathlib import Path

from millrace_serve.engine import Engine
from millrace_serve.problems import StartProblem
from millrace_serve.settings import Parameters

WEIGHTS = "model.safetensors"


def gguf(folder: Path) -> Path | None:
    """The GGUF file to serve, or None where the folder holds config.json and safetensors; StartProblem otherwise."""
    if not folder.is_dir():
        raise StartProblem("ModelUnreadable", f"{folder} is not a folder: check MILLRACE_MODEL_DIR and the volume")
    names = {path.name for path in folder.iterdir()}
    found = sorted(name for name in names if name.endswith(".gguf"))
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise StartProblem("ModelUnreadable", f"{folder} holds {len(found)} GGUF files ({', '.join(found)}): leave one")
    _check_exported(folder, names)
    return None


def _check_exported(folder: Path, names: set[str]) -> None:
    missing = [name for name in ("config.json", WEIGHTS) if name not in names]
    if missing:
        raise StartProblem("ModelUnreadable", f"{folder} holds neither a GGUF file nor {' and '.join(missing)}")
    if "tokenizer.json" not in names:
        message = f"{folder} has no tokenizer.json: a model that was trained on mock data cannot be asked anything"
        raise StartProblem("ModelUnreadable", message)


async def load_engine(folder: Path, parameters: Parameters) -> Engine:
    """A loaded engine; StartProblem where the folder cannot be served.

    Imports what the folder needs and nothing else, beside the event loop: torch takes seconds, and probes want answers.
    """
    model = gguf(folder)
    name = "torch_engine" if model is None else "llama_engine"
    module = await asyncio.to_thread(importlib.import_module, f"millrace_serve.{name}")
    engine: Engine = await module.load(model or folder, parameters)
    return engine
