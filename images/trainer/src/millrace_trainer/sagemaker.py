"""`train`: this image as a training container of SageMaker's. The same run, with /opt/ml in place of claims.

Channels `train` and `validation` (or `evaluation`) hold text, or conversations as JSON lines, which become text; hyperparameters
are the run's parameters. The model goes to /opt/ml/model, everything else to /opt/ml/output/data, checkpoints to
/opt/ml/checkpoints, which SageMaker keeps where the job asks for it; what ends the run stands in /opt/ml/output/failure.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from millrace_trainer.problems import Problem

CHANNELS = {"train": "train", "validation": "validation", "evaluation": "validation"}
PORT = 29500
MAX_FAILURE = 1024
_TEXT = {".txt", ".text", ""}
_CONVERSATIONS = {".jsonl", ".json"}


def main() -> int:
    """Exit code of the run."""
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    with tempfile.TemporaryDirectory(prefix="millrace-sagemaker-") as scratch:
        try:
            settings = environment(base, Path(scratch), os.environ)
        except Problem as problem:
            return _failed(base, f"{problem.reason}: {problem.message}")
        except (OSError, ValueError) as error:
            return _failed(base, f"InputUnreadable: {type(error).__name__}: {error}")
        code = _run(command(settings), {**os.environ, **settings})
        if code == 0:
            _hand_over(base)
            return 0
        return _failed(
            base, _last_words(Path(settings["MILLRACE_TERMINATION_LOG"])) or f"the run ended with exit code {code}", code
        )


def environment(base: Path, scratch: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The pod contract's variables (docs/trainer-contract.md) for what SageMaker laid out. Raises Problem."""
    group = _read(base / "input/config/resourceconfig.json")
    hosts = sorted(group.get("hosts") or ["algo-1"])
    name = environ.get("TRAINING_JOB_NAME", "local")
    return {
        "MILLRACE_JOB": name,
        "MILLRACE_UID": name,
        "MILLRACE_ATTEMPT": _attempt(name),
        "MILLRACE_RUN_ID": "sagemaker",
        "MILLRACE_NODES": str(len(hosts)),
        "MILLRACE_NODE_RANK": str(hosts.index(group.get("current_host", hosts[0]))),
        "MILLRACE_PROCS_PER_NODE": environ.get("SM_NUM_GPUS") or str(_gpus() or 1),
        "MASTER_ADDR": hosts[0] if len(hosts) > 1 else "127.0.0.1",
        "MASTER_PORT": str(PORT),
        "MILLRACE_OUTPUT_DIR": str(base / "output/data"),
        "MILLRACE_CHECKPOINT_DIR": str(base / "checkpoints"),
        "MILLRACE_INPUTS": json.dumps(dict(_inputs(base / "input/data", scratch))),
        "MILLRACE_PARAMETERS": json.dumps(_parameters(base)),
        "MILLRACE_TERMINATION_LOG": str(scratch / "termination-log"),
    }


def _gpus(devices: Path = Path("/dev")) -> int:
    """SageMaker tells no container how many it has; its own toolkit counts them, too."""
    return len(list(devices.glob("nvidia[0-9]*")))


def command(settings: Mapping[str, str]) -> list[str]:
    """torchrun over all hosts."""
    rendezvous = [f"--master-addr={settings['MASTER_ADDR']}", f"--master-port={settings['MASTER_PORT']}"]
    shape = [f"--nnodes={settings['MILLRACE_NODES']}", f"--node-rank={settings['MILLRACE_NODE_RANK']}"]
    processes = f"--nproc-per-node={settings['MILLRACE_PROCS_PER_NODE']}"
    return ["torchrun", *shape, processes, *rendezvous, "-m", "millrace_trainer.gpt"]


def _attempt(name: str) -> str:
    """Millrace's jobs end in their number: a run goes on from an earlier attempt's checkpoints, never from a later one's."""
    number = name.rpartition("-")[2]
    return number if number.isdecimal() and int(number) > 0 else "1"


def _parameters(base: Path) -> dict[str, str]:
    """Hyperparameters; SageMaker's own begin with its name."""
    given = _read(base / "input/config/hyperparameters.json")
    return {name: str(value) for name, value in given.items() if not name.startswith("sagemaker_")}


def _inputs(data: Path, scratch: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for channel, name in CHANNELS.items():
        files = sorted(path for path in (data / channel).rglob("*") if path.is_file() and not path.name.startswith("."))
        if files:
            yield name, {"path": str(_as_text(files, scratch / f"{name}.txt")), "format": "text"}


def _as_text(files: list[Path], target: Path) -> Path:
    """One file of text: a single one is read where it is."""
    if len(files) == 1 and files[0].suffix in _TEXT:
        return files[0]
    with target.open("w", encoding="utf-8") as out:
        for path in files:
            out.writelines(_lines(path))
    return target


def _lines(path: Path) -> Iterator[str]:
    if path.suffix in _CONVERSATIONS:
        with path.open(encoding="utf-8", newline="\n") as lines:  # no other character ends a line of JSON
            for number, line in enumerate(lines, 1):
                yield conversation(line, f"{path.name}, line {number}")
    elif path.suffix in _TEXT:
        yield path.read_text(encoding="utf-8")
    else:
        raise Problem("InputUnreadable", f"{path.name} is neither text (.txt) nor conversations (.jsonl)")


def conversation(line: str, place: str) -> str:
    """`Role: content` a line, and an empty line: what `serve` is asked with in the end, up to the role that is to answer."""
    try:
        messages = json.loads(line)["messages"]
        turns = [f"{turn['role']}: {' '.join(str(turn['content']).split())}" for turn in messages]
    except (ValueError, KeyError, TypeError) as error:
        raise Problem(
            "InputUnreadable", f"{place} is no conversation ({type(error).__name__}: {error}): check the Dataset"
        ) from error
    return "\n".join(turns) + "\n\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _run(words: list[str], environ: Mapping[str, str]) -> int:
    """With SIGTERM handed on: SageMaker stops a job by it, and a checkpoint is saved."""
    process = subprocess.Popen(words, env=dict(environ))

    def stop(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return code if code >= 0 else 128 - code


def _hand_over(base: Path) -> None:
    """The model where SageMaker takes it from; only the first process of a group has one."""
    made, target = base / "output/data/model", base / "model"
    if made.is_dir():
        shutil.copytree(made, target, dirs_exist_ok=True)
        shutil.rmtree(made)


def _last_words(path: Path) -> str:
    try:
        told = _read(path)
    except ValueError:
        return ""
    if not told:
        return ""
    return f"{told.get('reason')}: {told.get('message')}"


def _failed(base: Path, why: str, code: int = 1) -> int:
    (base / "output").mkdir(parents=True, exist_ok=True)
    (base / "output/failure").write_text(why[:MAX_FAILURE], encoding="utf-8")
    sys.stderr.write(f"{why}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
