"""SageMaker's container contract as files: what lies under /opt/ml before a container starts, and what is taken from there after.

Only files and plain data: the same code prepares a private folder for a process and a volume in a pod.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from millrace_local_aws.dataplane.runner import EndpointTask, TrainingTask

HOST = "algo-1"
LONGEST_FAILURE = 1024


def resource_config(task: TrainingTask) -> dict[str, Any]:
    """What a container learns about where it runs."""
    hosts = [f"algo-{number}" for number in range(1, task.instances + 1)]
    group = {"instance_group_name": "homogeneousCluster", "instance_type": task.instance_type, "hosts": hosts}
    return {
        "current_host": HOST,
        "current_instance_type": task.instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": hosts,
        "instance_groups": [group],
        "network_interface_name": "eth0",
    }


def lay_out(root: Path, task: TrainingTask) -> None:
    """The folders and the three configuration files."""
    for name in ("input/config", "input/data", "model", "output/data", "checkpoints", "code"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for channel in task.channels:
        (root / "input/data" / channel.name).mkdir(exist_ok=True)
    documents = {
        "hyperparameters": dict(task.hyperparameters),
        "resourceconfig": resource_config(task),
        "inputdataconfig": {channel.name: dict(channel.description) for channel in task.channels},
    }
    for name, document in documents.items():
        (root / "input/config" / f"{name}.json").write_text(json.dumps(document))


def training_environment(root: Path, task: TrainingTask) -> dict[str, str]:
    """What SageMaker sets, and what its toolkit does: paths are told, because they are not below /opt/ml everywhere."""
    own = {
        "TRAINING_JOB_NAME": task.job,
        "TRAINING_JOB_ARN": f"arn:aws:sagemaker:{task.region}:{task.account}:training-job/{task.job}",
        "AWS_REGION": task.region,
        "SAGEMAKER_BASE_DIR": str(root),
        "SM_MODEL_DIR": str(root / "model"),
        "SM_OUTPUT_DIR": str(root / "output"),
        "SM_OUTPUT_DATA_DIR": str(root / "output/data"),
        "SM_INPUT_DIR": str(root / "input"),
        "SM_INPUT_CONFIG_DIR": str(root / "input/config"),
        "SM_CHECKPOINT_DIR": str(root / "checkpoints"),
        "SM_CHANNELS": json.dumps([channel.name for channel in task.channels]),
        "SM_HPS": json.dumps(dict(task.hyperparameters)),
        "SM_CURRENT_HOST": HOST,
        "SM_HOSTS": json.dumps(resource_config(task)["hosts"]),
    }
    own |= {
        f"SM_CHANNEL_{channel.name.upper().replace('-', '_')}": str(root / "input/data" / channel.name)
        for channel in task.channels
    }
    return own | dict(task.environment)


def serving_environment(root: Path, task: EndpointTask, port: int) -> dict[str, str]:
    """Of a container that serves; the port is 8080 in a container of its own."""
    own = {"SAGEMAKER_BASE_DIR": str(root), "SM_MODEL_DIR": str(root / "model"), "SAGEMAKER_BIND_TO_PORT": str(port)}
    return own | {"AWS_REGION": task.region} | dict(task.environment)


def failure(root: Path) -> str | None:
    """What the container wrote about its failure."""
    path = root / "output/failure"
    return path.read_text(errors="replace")[:LONGEST_FAILURE] if path.is_file() else None


def pack(folder: Path, archive: Path) -> bool:
    """A tar.gz of all below a folder; False where there is nothing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if files:
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            for path in files:
                tar.add(path, path.relative_to(folder).as_posix())
    return bool(files)


def unpack(archive: Path, folder: Path) -> None:
    """Files and folders alone; ValueError for one that would lie outside. Not every Python 3.11 has filters for this."""
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            target = (root / member.name).resolve()
            if not target.is_relative_to(root):
                raise ValueError(f"{member.name} lies outside of the archive's folder")
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    shutil.copyfileobj(tar.extractfile(member), out)  # type: ignore[arg-type]
                target.chmod(member.mode & 0o777 | 0o600)


def changed(folder: Path, seen: dict[str, tuple[int, int]]) -> Iterator[tuple[str, Path]]:
    """Files that are new or different since last time, by their names below the folder; remembers them."""
    for path in sorted(folder.rglob("*")):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        name, mark = path.relative_to(folder).as_posix(), (facts.st_size, facts.st_mtime_ns)
        if path.is_file() and seen.get(name) != mark:
            seen[name] = mark
            yield name, path


def fetch(pieces: list[tuple[Path, int, int]], target: Path) -> None:
    """An object's bytes into a file, whatever number of files they lie in; memory holds a chunk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for source, at, size in pieces:
            with source.open("rb") as file:
                file.seek(at)
                _pour(file, out, size)


def _pour(source: Any, out: Any, size: int) -> None:
    while size > 0 and (chunk := source.read(min(size, 1 << 20))):
        out.write(chunk)
        size -= len(chunk)


def snapshot(path: Path, target: Path) -> bool:
    """A copy of a file that may be going away; False where it has."""
    try:
        shutil.copyfile(path, target)
    except FileNotFoundError:
        return False
    return True


def below(prefix: str, key: str) -> str:
    """A key's name in its channel: behind the prefix where that is a folder, else behind the prefix's own folder."""
    folder = prefix.rstrip("/") + "/"
    return key[len(folder) :] if key.startswith(folder) else key[prefix.rfind("/") + 1 :]


def plain(task: TrainingTask | EndpointTask) -> dict[str, Any]:
    """A task as JSON has it."""
    return asdict(task)


def tidy_environment() -> dict[str, str]:
    """What a process needs of ours, and no credentials."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
