"""(d) Training steps a second in a pod, against the same image outside a pod on the same machine while the cluster is up.

In the pod: a TrainingJob of the runtime nemo on mock data. Outside: the same command with the same environment, read from the
pod's own process, as the same user in the image's root as the node has it unpacked, mounted read-only; it pushes no progress, for
outside there is nobody to push to, so what pushing costs is in the ratio. Rates come from the wall times of the trainer's own
TensorBoard records, without the first quarter of the steps. Runs are interleaved, and each ratio is of two neighbours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import statistics
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from millrace.kube.client import Client
from millrace.kube.resources import CLAIMS, Resource
from world import TRAINING_JOBS, Object, World, images, namespace, operator, training_job, until

BAR = 0.97
_USER = 65532
_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
_DEADLINE_SECONDS = 900
_NODE = "node-1"


async def measure(world: World, steps: int, rounds: int) -> Object:
    """Steps a second, pod and outside in turn."""
    inside: list[float] = []
    outside: list[float] = []
    async with namespace(world) as ns, operator(ns) as running, _root() as root:
        await until(running.ready, "the operator is ready", timeout=60)
        folder = await _claim(world.client, ns)
        for number in range(rounds):
            command, environment = await _in_pod(world, ns, f"pod-{number}", steps)
            inside.append(rate(folder / f"pod-{number}"))
            world.progress(f"(d) round {number + 1}: {inside[-1]:.2f} steps/s in a pod")
            own = folder / f"outside-{number}"
            await _outside(root, own, command, environment)
            outside.append(rate(own))
            world.progress(f"(d) round {number + 1}: {outside[-1]:.2f} steps/s outside")
    ratios = [a / b for a, b in zip(inside, outside, strict=True)]
    ratio = statistics.median(ratios)
    return {"steps": steps, "pod": inside, "outside": outside, "ratios": ratios, "ratio": ratio, "bar": BAR, "met": ratio >= BAR}


async def _claim(client: Client, ns: str) -> Path:
    """The folder behind a claim on the default storage class."""
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(CLAIMS, {"metadata": {"name": "results", "namespace": ns}, "spec": spec})

    async def bound() -> str | None:
        return (await client.get(CLAIMS, ns, "results"))["spec"].get("volumeName")

    volume = await client.get(_VOLUMES, None, await until(bound, "the claim is bound", timeout=60))
    return Path(volume["spec"]["hostPath"]["path"])


# -- in a pod ------------------------------------------------------------------------------------------------------


async def _in_pod(world: World, ns: str, name: str, steps: int) -> tuple[list[str], dict[str, str]]:
    """Run a TrainingJob to its end; gives the command and environment of its process."""
    manifest = training_job(ns, name, parameters=_parameters(steps), checkpoint={"everySteps": 10 * steps})
    manifest["spec"]["kubernetes"] = {
        "runtime": "nemo",
        "resources": {"cpu": "1", "memory": "3Gi"},
        "fabric": {"efa": "None"},
        "placement": {"nodeSelector": {"kubernetes.io/hostname": _NODE}},
    }
    made = await world.client.create(TRAINING_JOBS, manifest)
    uid = made["metadata"]["uid"]

    async def started() -> tuple[list[str], dict[str, str]] | None:
        return next(_processes(uid), None)

    found: tuple[list[str], dict[str, str]] = await until(started, "the training process", timeout=180, every=0.5)

    async def ended() -> bool:
        status = (await world.client.get(TRAINING_JOBS, ns, name)).get("status") or {}
        said = next((c for c in status.get("conditions") or () if c["type"] == "Succeeded"), {})
        if said.get("status") == "False":
            raise RuntimeError(f"the run failed: {said['reason']}: {said['message']}")
        return said.get("status") == "True"

    await until(ended, f"TrainingJob {name} has succeeded", timeout=_DEADLINE_SECONDS, every=1)
    return found


def _parameters(steps: int) -> dict[str, str]:
    """One thread in both places, and nothing between the steps."""
    quiet = {"validateEverySteps": str(10 * steps), "mockTokens": "200000"}
    return {"data": "mock", "preset": "tiny", "threads": "1", "maxSteps": str(steps), **quiet}


def _processes(uid: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The torchrun processes of a run: arguments and environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            if any(a.endswith("/torchrun") for a in arguments):
                pairs = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                environment = dict(p.split("=", 1) for p in pairs if "=" in p)
                if environment.get("MILLRACE_UID") == uid:
                    yield arguments, environment


# -- outside -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _root() -> AsyncIterator[Path]:
    """The trainer image's root, as the node has it unpacked, mounted read-only."""
    socket = Path(os.environ["KUBECONFIG"]).parent / _NODE / "containerd.sock"
    target = Path(tempfile.mkdtemp(prefix="bench-root-"))
    ctr = ["ctr", "-a", str(socket), "-n", "k8s.io", "images"]
    await _run([*ctr, "mount", images()["trainer"], str(target)])
    try:
        yield target
    finally:
        await _run([*ctr, "unmount", "--rm", str(target)])
        shutil.rmtree(target, ignore_errors=True)


async def _outside(root: Path, output: Path, command: list[str], environment: dict[str, str]) -> None:
    """The same command in a mount namespace of its own; what it mounts goes with it."""
    output.mkdir()
    os.chown(output, _USER, _USER)
    told = {**environment, "MILLRACE_OUTPUT_DIR": "/mnt", "MILLRACE_CHECKPOINT_DIR": "/mnt/checkpoints"}
    told.pop("MILLRACE_PROGRESS_URL", None)
    mounts = [
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "--rbind", "/dev", f"{root}/dev"],
        ["mount", "-t", "tmpfs", "tmpfs", f"{root}/dev/shm"],
        ["mount", "-t", "tmpfs", "tmpfs", f"{root}/tmp"],
        ["mount", "--bind", str(output), f"{root}/mnt"],
    ]
    pairs = [f"{key}={value}" for key, value in told.items()]
    start = ["exec", "chroot", f"--userspec={_USER}:{_USER}", str(root), "/usr/bin/env", "-i", *pairs, *command]
    script = " && ".join(shlex.join(line) for line in [*mounts, start])
    await _run(["unshare", "--mount", "sh", "-c", script])


async def _run(command: list[str]) -> None:
    """Run to the end. Raises RuntimeError with its last words."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _DEADLINE_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said.decode(errors='replace')[-1500:]}")


# -- rates ---------------------------------------------------------------------------------------------------------


def rate(output: Path) -> float:
    """Steps a second of a run, from the wall times of its TensorBoard records, without the first quarter and the last step."""
    times: dict[int, float] = {}
    for path in output.rglob("events.out.tfevents.*"):
        for step, at in _events(path.read_bytes()):
            times.setdefault(step, at)
    last = max(times) - 1
    first = last // 4
    return (last - first) / (times[last] - times[first])


def _events(data: bytes) -> Iterator[tuple[int, float]]:
    """(step, wall time) of each TFRecord of tensorflow.Event: a length, its checksum, the event, its checksum."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = data[at + 12 : at + 12 + length]
        at += 16 + length
        if event[:1] == b"\x09" and event[9:10] == b"\x10":  # field 1, a double: wall_time; field 2, a varint: step
            yield _varint(event, 10), struct.unpack_from("<d", event, 1)[0]


def _varint(data: bytes, at: int) -> int:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        if not data[at] & 0x80:
            return value
        at, shift = at + 1, shift + 7


def rows(found: Object) -> list[tuple[str, str, str, bool | None]]:
    """Table rows: what, figure, bar, met."""
    return [
        ("(d) steps/s in a pod", _spread(found["pod"]), "", None),
        ("(d) steps/s outside", _spread(found["outside"]), "", None),
        ("(d) pod / outside, neighbours", _spread(found["ratios"], 3), f">= {BAR:g}", found["met"]),
    ]


def _spread(values: list[Any], digits: int = 2) -> str:
    ordered = sorted(values)
    return " / ".join(f"{v:.{digits}f}" for v in (ordered[0], statistics.median(ordered), ordered[-1]))
