"""Example 17 at test size: real text, a real GPT, two pods; and what can befall it."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from millrace.kube.client import Client
from millrace.kube.resources import PODS
from support import cluster, examples
from support.cluster import DATASETS, TRAINING_JOBS, condition, eventually, gone, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
Object = dict[str, Any]
OVERLAY = "examples/17-nemo-training-eks/overlays/local"
JOB, CLAIM, RESULTS = "gpt3-126m", "fsx-shared", "results/gpt3-126m"
LONG = 240.0


async def example(steps: int, *, every: int, **parameters: str) -> list[Object]:
    """The local overlay, shortened."""
    made = await examples.manifests(OVERLAY)
    spec = examples.of_kind(made, "TrainingJob")["spec"]
    spec["parameters"] |= {"maxSteps": str(steps), **parameters}
    spec["checkpoint"]["everySteps"] = every
    return made


async def mock_example(steps: int, *, every: int, **parameters: str) -> list[Object]:
    """The same without a data stage, on one node: the least that trains."""
    made = await example(steps, every=every, data="mock", **parameters)
    spec = examples.of_kind(made, "TrainingJob")["spec"]
    del spec["inputs"]
    spec["kubernetes"]["nodes"] = 1
    return [m for m in made if m["kind"] != "Dataset"]


async def checkpointed(client: Client, ns: str, *, at_least: int = 1) -> Object:
    """The TrainingJob once its status tells of a checkpoint."""

    async def check() -> Object | None:
        found = await client.get(TRAINING_JOBS, ns, JOB)
        return found if ((found.get("status") or {}).get("checkpoint") or {}).get("step", 0) >= at_least else None

    async def show() -> Any:
        return (await client.get(TRAINING_JOBS, ns, JOB)).get("status")

    found: Object = await eventually(check, "a checkpoint is committed", timeout=LONG, show=show)
    return found


async def kill_a_rank(client: Client, ns: str) -> None:
    """SIGKILL the training process of the last rank."""
    pods = [p async for p in client.list_objects(PODS, ns, labels="millrace.dev/role=train")]
    script = (
        "import os,signal\n"
        "for p in filter(str.isdigit, os.listdir('/proc')):\n"
        "    if int(p) not in (1, os.getpid()) and b'millrace_trainer' in open(f'/proc/{p}/cmdline','rb').read():\n"
        "        os.kill(int(p), signal.SIGKILL)"
    )
    await examples.run("kubectl", "exec", "-n", ns, pods[-1]["metadata"]["name"], "-c", "train", "--", "python", "-c", script)


@pytest.mark.proves("17.5", "17.6", "17.9", "17.10", "17.15")
async def test_two_nodes_train_a_rank_is_killed_and_the_run_resumes_and_succeeds(client: Client, ns: str) -> None:
    wanted = await example(60, every=15, validateEverySteps="20")
    async with cluster.operator(cluster.settings(ns)):
        await examples.apply(client, ns, wanted, only=("PersistentVolumeClaim", "TrainingJob"))
        waiting = await reaches(client, TRAINING_JOBS, ns, JOB, "InputNotReady")
        assert "Dataset 'corpus' does not exist" in condition(waiting)["message"]
        await examples.apply(client, ns, wanted, only=("Dataset",))
        dataset = await reaches(client, DATASETS, ns, "corpus", "Published")
        before = await checkpointed(client, ns)
        await kill_a_rank(client, ns)
        done = await reaches(client, TRAINING_JOBS, ns, JOB, "Succeeded", timeout=LONG)

    status = done["status"]
    assert status["restarts"]["count"] == 1
    assert status["restarts"]["recoverySeconds"] > 0
    assert status["attempt"] == 2
    assert status["checkpoint"]["step"] == 60 > before["status"]["checkpoint"]["step"]
    assert status["progress"] | {"phase": "done"} == {"step": 60, "maxSteps": 60, "percent": 100, "phase": "done"}
    assert status["lineage"]["inputs"][0]["digest"] == dataset["status"]["digest"]
    metrics = {m["name"]: float(m["value"]) for m in status["metrics"]}
    assert metrics["validationPerplexity"] < metrics["unigramPerplexity"]

    record = json.loads(await examples.read_file(client, ns, CLAIM, f"{RESULTS}/run.json"))
    assert record["model"]["digest"] == status["model"]["digest"]
    listing = await examples.read_claim(client, ns, CLAIM, _LIST)
    files = listing.splitlines()
    assert any("events.out.tfevents" in f for f in files)
    assert any(f.endswith("model.safetensors") for f in files)
    kept = {f.split("/checkpoints/")[1].split("/")[0] for f in files if "/checkpoints/step-" in f}
    assert 1 <= len(kept) <= 3
    resumed = [k for k in kept if k.endswith("-a2")]
    assert resumed, "the second attempt committed checkpoints of its own"
    assert (await examples.read_file(client, ns, CLAIM, f"{RESULTS}/loss.png")).startswith(b"\x89PNG")


_LIST = "import pathlib; [print(p) for p in sorted(pathlib.Path('/claim').rglob('*')) if p.is_file()]"


@pytest.mark.proves("17.8", "17.10")
async def test_suspend_takes_a_checkpoint_and_resume_goes_on_from_it(client: Client, ns: str) -> None:
    wanted = await mock_example(100_000, every=20)
    async with cluster.operator(cluster.settings(ns)):
        await examples.apply(client, ns, wanted)
        first = await checkpointed(client, ns)
        await client.patch(TRAINING_JOBS, ns, JOB, {"spec": {"suspend": True}})
        await reaches(client, TRAINING_JOBS, ns, JOB, "Suspended")

        async def freed() -> bool:
            return not [p async for p in client.list_objects(PODS, ns, labels="millrace.dev/role=train")]

        await eventually(freed, "the pods are gone", timeout=90)
        pointer = json.loads(await examples.read_file(client, ns, CLAIM, f"{RESULTS}/checkpoints/latest.json"))
        assert pointer["step"] >= first["status"]["checkpoint"]["step"]
        await client.patch(TRAINING_JOBS, ns, JOB, {"spec": {"suspend": False}})
        resumed = await checkpointed(client, ns, at_least=pointer["step"] + 1)
        assert resumed["status"]["attempt"] == 2
        assert resumed["status"]["restarts"]["count"] == 0

        await client.delete(TRAINING_JOBS, ns, JOB)
        await gone(client, TRAINING_JOBS, ns, JOB)
        last = json.loads(await examples.read_file(client, ns, CLAIM, f"{RESULTS}/checkpoints/latest.json"))
        assert last["attempt"] == 2
        assert last["step"] >= resumed["status"]["checkpoint"]["step"]


BAD = [
    pytest.param({"learningRate": "1e30", "warmupSteps": "0"}, "NaNLoss", "learning", id="a loss that is no number"),
    pytest.param({"learningRat": "1e-3"}, "BadParameter", "learningRat", id="a parameter that does not exist"),
]


@pytest.mark.proves("17.13")
@pytest.mark.parametrize(("parameters", "reason", "says"), BAD)
async def test_a_run_that_cannot_go_well_says_why(client: Client, ns: str, parameters: Object, reason: str, says: str) -> None:
    async with cluster.operator(cluster.settings(ns)):
        await examples.apply(client, ns, await mock_example(200, every=50, **parameters))
        failed = await reaches(client, TRAINING_JOBS, ns, JOB, reason, timeout=LONG)
    assert says in condition(failed)["message"]
    assert condition(failed, "Stalled")["status"] == "True"
    assert failed["status"]["attempt"] == 1


@pytest.mark.alone
@pytest.mark.proves("17.11")
async def test_a_run_outlives_one_of_its_nodes(client: Client) -> None:
    """The node's kubelet and containers are killed; the next attempt runs on what is left."""
    script = f'test "$MILLRACE_ATTEMPT" = 1 && sleep 600; {cluster.WRITE_MODEL}'
    async with cluster.namespace(client, prefix="e2e") as ns, cluster.operator(cluster.settings(None)):
        await cluster.claim(client, ns)
        manifest = cluster.training_job(ns, "t", script, kubernetes={"nodes": 2})
        await client.create(TRAINING_JOBS, manifest)
        await reaches(client, TRAINING_JOBS, ns, "t", "Running")
        pods = [p async for p in client.list_objects(PODS, ns, labels="millrace.dev/role=train")]
        lost = sorted(p["spec"]["nodeName"] for p in pods)[-1]
        await examples.run(sys.executable, "-m", "millrace.cli.local", "node", "stop", lost)
        try:
            done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded", timeout=LONG)
        finally:
            await examples.run(sys.executable, "-m", "millrace.cli.local", "node", "start", lost)
        assert done["status"]["restarts"]["count"] == 0
        assert done["status"]["restarts"]["lastCause"] in {"NodeFault", "Disrupted"}
        assert lost in done["status"]["nodesAvoided"]
