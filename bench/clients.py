"""(clients) Writes a second, and CPU a write, by API client: the measurement behind docs/adr/0001.

The clients that we do not use go into an environment that is thrown away; each turn is a process of its own, turns interleave.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

from world import Object, World, namespace

NAMES = ("raw-aiohttp", "millrace", "kubernetes-aio", "lightkube")
_PACKAGES = ("kubernetes", "lightkube", "aiohttp", "pydantic", "pyyaml", "cryptography")
_RACE = Path(__file__).with_name("client_race.py")
_OPERATOR = Path(__file__).parents[1] / "operator"


async def measure(world: World, count: int, rounds: int) -> Object:
    """Seconds of every turn, by client."""
    async with namespace(world) as ns:
        return await _all(world, ns, count, rounds)


async def _all(world: World, ns: str, count: int, rounds: int) -> Object:
    with tempfile.TemporaryDirectory(prefix="bench-clients-") as folder:
        python = await _environment(Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in NAMES}
        used: dict[str, list[float]] = {name: [] for name in NAMES}
        for number in range(rounds):
            for name in NAMES:
                taken, cpu = await _turn(python, name, ns, f"{name}-{number}", count)
                seconds[name].append(taken)
                used[name].append(cpu)
                world.progress(f"(clients) {name}: {count / taken:.0f} writes/s, {1000 * cpu / count:.2f} ms of CPU each")
        versions = await _run(python, "-c", _VERSIONS)
    rates = {name: count / statistics.median(taken) for name, taken in seconds.items()}
    return {"count": count, "seconds": seconds, "cpuSeconds": used, "writesPerSecond": rates, "versions": versions.split()}


async def _turn(python: Path, name: str, ns: str, turn: str, count: int) -> tuple[float, float]:
    seconds, cpu = (await _run(python, str(_RACE), name, ns, turn, str(count), PYTHONPATH=str(_OPERATOR))).split()
    return float(seconds), float(cpu)


async def _environment(folder: Path) -> Path:
    python = folder / "bin" / "python"
    await _run(Path(sys.executable), "-m", "venv", str(folder))
    await _run(Path(sys.executable), "-m", "uv", "pip", "install", "-q", "--python", str(python), *_PACKAGES)
    return python


async def _run(program: Path, *arguments: str, **environment: str) -> str:
    """A program's standard output. Raises RuntimeError with its last words."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, *arguments, env={**os.environ, **environment}, stdout=pipe, stderr=pipe
    )
    try:
        told, complaint = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{program.name} {' '.join(arguments)[:100]}: {complaint.decode()[-1000:]}")
    return told.decode()


_VERSIONS = "from importlib.metadata import version as v\nfor p in 'kubernetes lightkube aiohttp'.split(): print(f'{p}=={v(p)}')"


def rows(found: Object) -> list[tuple[str, str, str, bool | None]]:
    """Table rows: what, figure, bar, met."""
    made = []
    for name in NAMES:
        rates = sorted(found["count"] / s for s in found["seconds"][name])
        cpu = 1000 * statistics.median(found["cpuSeconds"][name]) / found["count"]
        figure = f"{rates[0]:.0f} / {statistics.median(rates):.0f} / {rates[-1]:.0f} writes/s, {cpu:.2f} ms"
        made.append((f"(clients) {name}: {found['count']} small Jobs, client's CPU a write", figure, "", None))
    return made
