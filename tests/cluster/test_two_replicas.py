"""Two replicas, one Lease: one works, the other only watches the Lease, and takes over when the first is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from millrace.engine.runtime import LEASE
from millrace.kube.client import Client
from millrace.kube.resources import LEASES
from support.cluster import TRAINING_JOBS, WRITE_MODEL, eventually, reaches, training_job
from support.processes import Process, environment, started
from support.recorder import attempt_of, recording

pytestmark = pytest.mark.cluster
LEASE_SECONDS = 3
MARGIN_SECONDS = 3.0
"""Beyond the Lease's duration: two tries to take it, and a busy machine."""


@contextlib.asynccontextmanager
async def replica(ns: str, name: str, folder: Path) -> AsyncIterator[Process]:
    """A replica; what it says is heard all the time."""
    elects = {"MILLRACE_LEADER_ELECTION": "true", "MILLRACE_LEASE_SECONDS": str(LEASE_SECONDS), "MILLRACE_IDENTITY": name}
    async with started("one", environment(ns, **elects), folder / f"{name}.log") as process:
        hearing = asyncio.create_task(process.hear_all())
        try:
            yield process
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


async def led_by(client: Client, ns: str, name: str, *, timeout: float = 30.0) -> float:
    """Wait until the Lease names a replica; gives the seconds that took."""
    begun = time.monotonic()

    async def check() -> bool:
        lease = await client.find(LEASES, ns, LEASE)
        return lease is not None and lease["spec"].get("holderIdentity") == name

    await eventually(check, f"{name} leads", timeout=timeout, every=0.05)
    return time.monotonic() - begun


async def stands_by(process: Process) -> None:
    """Wait until a replica has looked at the Lease a few times."""

    async def check() -> bool:
        return sum("call" in line for line in process.told) >= 3

    await eventually(check, "the standby looks at the Lease")


def resources(process: Process) -> set[str]:
    """What a replica has called."""
    return {line["call"][1] for line in process.told if "call" in line}


async def test_the_standby_takes_over_from_a_killed_leader_and_the_run_completes(client: Client, ns: str, tmp_path: Path) -> None:
    async with recording(ns) as seen, replica(ns, "first", tmp_path) as first:
        await led_by(client, ns, "first")
        async with replica(ns, "second", tmp_path) as second:
            manifest = training_job(ns, "t", f"sleep 6; {WRITE_MODEL}", kubernetes={"nodes": 2})
            made = await client.create(TRAINING_JOBS, manifest)
            await reaches(client, TRAINING_JOBS, ns, "t", "Running")
            await stands_by(second)
            assert resources(second) == {"leases"}
            os.kill(first.inner.pid, signal.SIGKILL)
            took = await led_by(client, ns, "second")
            done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert took < LEASE_SECONDS + MARGIN_SECONDS
    assert done["status"]["attempt"] == 1
    uid = made["metadata"]["uid"]
    assert [attempt_of(o) for kind in ("Job", "Service") for o in seen.of(uid, kind)] == [1, 1]
    assert len(seen.of(uid, "Pod", "train")) == 2
    assert len(seen.of(uid, "Pod", "verify")) == 1
    assert seen.doubled() == []


async def test_a_leader_that_is_stopped_in_order_gives_the_lease_back_at_once(client: Client, ns: str, tmp_path: Path) -> None:
    async with replica(ns, "first", tmp_path) as first:
        await led_by(client, ns, "first")
        async with replica(ns, "second", tmp_path) as second:
            await client.create(TRAINING_JOBS, training_job(ns, "t", WRITE_MODEL))
            await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
            await stands_by(second)
            assert resources(second) == {"leases"}
            os.kill(first.inner.pid, signal.SIGTERM)
            assert await led_by(client, ns, "second") < 2
            assert await asyncio.wait_for(first.inner.wait(), 20) == 0
            await client.create(TRAINING_JOBS, training_job(ns, "next", WRITE_MODEL))
            await reaches(client, TRAINING_JOBS, ns, "next", "Succeeded")
