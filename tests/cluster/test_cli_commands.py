"""The command line against a real cluster, run as people run it: as a program."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.cli.problems import Exit
from millrace.engine.finalizers import has_finalizer
from millrace.kube.client import Client
from millrace.kube.resources import JOBS, PODS, SERVICES
from support.cluster import TRAINING_JOBS, WRITE_MODEL, Running, eventually, gone, reaches, training_job

pytestmark = pytest.mark.cluster
Object = dict[str, Any]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


async def millrace(*arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "millrace.cli.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert b"Traceback" not in err, err.decode()
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def running_pod(client: Client, ns: str) -> Object:
    async def check() -> Object | None:
        pods = [p async for p in client.list_objects(PODS, ns, labels="millrace.dev/role=train")]
        return next((p for p in pods if p["status"].get("phase") == "Running"), None)

    found: Object = await eventually(check, "a training pod runs")
    return found


async def test_wait_ends_with_0_when_it_is_reached_and_says_the_reason(client: Client, ns: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "good", f"sleep 1; {WRITE_MODEL}"))
    ended = await millrace("wait", "tj/good", "-n", ns, "--timeout", "90s")
    assert (ended.code, ended.out.split(":")[:2]) == (Exit.OK, ["trainingjob/good", " Succeeded=True"]), ended
    assert ended.err.startswith("trainingjob/good: "), "it says what it waits for; how far the run was by then is chance"


async def test_wait_ends_with_1_as_soon_as_it_has_failed_and_says_what_to_do(client: Client, ns: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "bad", "exec /no/such/program"))
    ended = await millrace("wait", "trainingjob/bad", "-n", ns, "--timeout", "90s")
    assert ended.code == Exit.FAILED, ended
    assert "trainingjob/bad: failed: BadCommand:" in ended.err
    assert "Correct command and args" in ended.err


async def test_wait_ends_with_2_when_the_time_is_up_and_with_3_when_there_is_nothing(client: Client, ns: str) -> None:
    """No operator runs, so nothing ever becomes of the object."""
    await client.create(TRAINING_JOBS, training_job(ns, "idle", "true"))
    late, missing = await asyncio.gather(
        millrace("wait", "tj/idle", "-n", ns, "--timeout", "2s"), millrace("wait", "tj/none", "-n", ns)
    )
    assert (late.code, missing.code) == (Exit.TIMED_OUT, Exit.NOT_FOUND)
    assert "does not exist" in missing.err


async def test_wait_for_deletion_ends_when_the_object_is_gone(client: Client, ns: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "short", "sleep 300"))
    await running_pod(client, ns)
    waiting = asyncio.create_task(millrace("wait", "tj/short", "-n", ns, "--for", "deleted", "--timeout", "90s"))
    await client.delete(TRAINING_JOBS, ns, "short")
    ended = await waiting
    assert (ended.code, ended.out) == (Exit.OK, "trainingjob/short: deleted\n"), ended


async def test_status_shows_what_runs_and_what_to_do_about_what_failed(client: Client, ns: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "long", "sleep 300"))
    await client.create(TRAINING_JOBS, training_job(ns, "empty", "true"))
    await reaches(client, TRAINING_JOBS, ns, "empty", "OutputEmpty")
    await reaches(client, TRAINING_JOBS, ns, "long", "Running")
    table = await millrace("status", "-n", ns)
    lines = {line.split()[1]: line.split() for line in table.out.splitlines()[1:3]}
    assert lines["long"][2:4] == ["Working", "Running"]
    assert lines["empty"][2:4] == ["Failed", "OutputEmpty"]
    assert "trainingjob/empty: OutputEmpty:" in table.out
    assert "next: Mend it and set a new spec.runID." in table.out
    told = json.loads((await millrace("status", "tj/long", "-n", ns, "-o", "json")).out)
    assert [(row["kind"], row["name"], row["attempt"]) for row in told] == [("trainingjob", "long", 1)]
    assert (await millrace("status", "nobody", "-n", ns)).code == Exit.NOT_FOUND


async def test_logs_are_those_of_the_rank_that_is_asked_for(client: Client, ns: str, running: Running) -> None:
    script = f"echo I am rank $MILLRACE_NODE_RANK; {WRITE_MODEL}; sleep 300"
    await client.create(TRAINING_JOBS, training_job(ns, "two", script, kubernetes={"nodes": 2}))
    await reaches(client, TRAINING_JOBS, ns, "two", "Running")
    first, second, none = await asyncio.gather(
        millrace("logs", "tj/two", "-n", ns),
        millrace("logs", "tj/two", "-n", ns, "--rank", "1"),
        millrace("logs", "tj/two", "-n", ns, "--rank", "2"),
    )
    assert (first.out, second.out) == ("I am rank 0\n", "I am rank 1\n")
    assert (none.code, "Ranks with pods: 0, 1." in none.err) == (Exit.NOT_FOUND, True)


async def test_following_a_log_ends_with_the_container(client: Client, ns: str, running: Running) -> None:
    script = f"for i in 1 2 3; do echo line $i; sleep 1; done; {WRITE_MODEL}"
    await client.create(TRAINING_JOBS, training_job(ns, "talk", script, ttlSecondsAfterFinished=300))
    await running_pod(client, ns)
    ended = await millrace("logs", "tj/talk", "-n", ns, "--follow")
    assert ended.out.splitlines() == ["line 1", "line 2", "line 3"], ended


async def test_plan_names_the_very_children_that_the_operator_then_makes(
    client: Client, ns: str, running: Running, tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    manifest = training_job(ns, "soon", "sleep 300")
    file.write_text(yaml.safe_dump(manifest))
    planned = await millrace("plan", "-f", str(file))
    assert planned.code == Exit.OK, planned
    assert await client.find(TRAINING_JOBS, ns, "soon") is None, "planning stores nothing"
    made = await client.create(TRAINING_JOBS, manifest)
    await reaches(client, TRAINING_JOBS, ns, "soon", "Running")
    names = [f"{r.kind}/{o['metadata']['name']}" for r in (JOBS, SERVICES) async for o in client.list_objects(r, ns)]
    shown = [line.split()[1].replace("‹uid›", made["metadata"]["uid"][:6]) for line in planned.out.splitlines()[1:]]
    assert sorted(shown) == sorted(names)
    again = await millrace("plan", "-f", str(file))
    assert "trainingjob/soon: is as it should be" in again.out
    assert "  create" not in again.out


async def test_plan_shows_changes_field_by_field_and_refusals_in_the_servers_own_words(
    client: Client, ns: str, tmp_path: Path
) -> None:
    manifest = training_job(ns, "there", "true")
    await client.create(TRAINING_JOBS, manifest)
    file = tmp_path / "job.yaml"
    changed = {**manifest, "spec": {**manifest["spec"], "suspend": True, "limits": {"maxRestarts": 9}}}
    file.write_text(yaml.safe_dump(changed))
    told = await millrace("plan", "-f", str(file))
    assert "  + spec.limits: {'maxRestarts': 9}" in told.out
    assert "  ~ spec.suspend: False -> True" in told.out
    file.write_text(yaml.safe_dump({**manifest, "spec": {**manifest["spec"], "outptu": {}}}))
    refused = await millrace("plan", "-f", str(file))
    assert (refused.code, 'unknown field "spec.outptu"' in refused.out) == (Exit.FAILED, True), refused


async def test_what_is_released_goes_on_running_after_its_object_is_deleted(client: Client, ns: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "free", "sleep 300"))
    pod = await running_pod(client, ns)
    ended = await millrace("release", "tj/free", "-n", ns, "--yes")
    assert ended.code == Exit.OK, ended
    assert not has_finalizer(await client.get(TRAINING_JOBS, ns, "free"))
    await client.delete(TRAINING_JOBS, ns, "free")
    await gone(client, TRAINING_JOBS, ns, "free")
    (job,) = [j async for j in client.list_objects(JOBS, ns)]
    assert not job["metadata"].get("ownerReferences")
    still = await client.get(PODS, ns, pod["metadata"]["name"])
    assert (still["metadata"]["uid"], still["status"]["phase"]) == (pod["metadata"]["uid"], "Running")


async def test_releasing_asks_first_and_no_is_an_answer(client: Client, ns: str, running: Running) -> None:
    await client.create(TRAINING_JOBS, training_job(ns, "kept", "sleep 300"))
    await running_pod(client, ns)
    ended = await millrace("release", "--all", "-n", ns)
    assert "trainingjob/kept" in ended.out
    assert has_finalizer(await client.get(TRAINING_JOBS, ns, "kept"))
