"""A TrainingJob's life on real nodes, with images that know nothing of Millrace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millrace.kube.client import Client
from millrace.kube.resources import CLAIMS, EVENTS, JOBS, NAMESPACES, PODS, SERVICES, Resource
from support import cluster
from support.cluster import TRAINING_JOBS, WRITE_MODEL, Running, condition, eventually, gone, reaches, training_job

pytestmark = pytest.mark.cluster
Object = dict[str, Any]


async def start(client: Client, manifest: Object) -> Object:
    return await client.create(TRAINING_JOBS, manifest)


async def listed(client: Client, resource: Resource, ns: str, labels: str = "millrace.dev/managed=true") -> list[Object]:
    return [o async for o in client.list_objects(resource, ns, labels=labels)]


async def one_pod(client: Client, ns: str, *, running: bool = True) -> Object:
    async def check() -> Object | None:
        found = await listed(client, PODS, ns, "millrace.dev/role=train")
        alive = [p for p in found if not p["metadata"].get("deletionTimestamp")]
        ready = [p for p in alive if not running or p["status"].get("phase") == "Running"]
        return ready[0] if ready else None

    found: Object = await eventually(check, "a training pod runs")
    return found


async def test_a_run_succeeds_only_after_its_output_was_read_back(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", f"echo step 3 loss 0.5; {WRITE_MODEL}", kubernetes={"nodes": 2}))
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["model"]["files"] == 2
    assert done["status"]["model"]["uri"] == "claim://results/t"
    assert [c["type"] for c in done["status"]["conditions"]] == ["Succeeded"]
    assert done["status"]["lineage"]["imageDigest"].startswith("sha256:")


async def test_exit_code_zero_without_output_is_not_success(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", "true"))
    failed = await reaches(client, TRAINING_JOBS, ns, "t", "OutputEmpty")
    assert condition(failed)["status"] == "False"
    assert condition(failed, "Stalled")["status"] == "True"


async def test_metrics_of_a_foreign_image_reach_the_status(client: Client, ns: str, running: Running) -> None:
    metrics = [{"name": "loss", "regex": "loss=([0-9.]+)"}, {"name": "step", "regex": "step=([0-9]+)"}]
    script = f"for i in 1 2 3 4; do echo step=$i loss=0.$i; sleep 0.5; done; {WRITE_MODEL}"
    await start(client, training_job(ns, "t", script, metrics=metrics))
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["progress"]["step"] == 4
    assert done["status"]["metrics"] == [{"name": "loss", "step": 4, "value": "0.4"}]


async def test_an_object_that_is_made_again_does_not_run_again(client: Client, ns: str, running: Running) -> None:
    manifest = training_job(ns, "t", WRITE_MODEL)
    await start(client, manifest)
    first = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    await client.delete(TRAINING_JOBS, ns, "t")
    await gone(client, TRAINING_JOBS, ns, "t")
    await start(client, manifest)
    again = await reaches(client, TRAINING_JOBS, ns, "t", "AlreadyDone")
    assert again["status"]["model"]["digest"] == first["status"]["model"]["digest"]
    assert condition(again)["status"] == "True"


async def test_another_run_id_is_another_run_and_attempts_are_never_numbered_twice(
    client: Client, ns: str, running: Running
) -> None:
    await start(client, training_job(ns, "t", WRITE_MODEL))
    await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    await client.patch(TRAINING_JOBS, ns, "t", {"spec": {"runID": "second"}})

    async def second() -> Object | None:
        found = await client.get(TRAINING_JOBS, ns, "t")
        return found if found["status"]["runID"] == "second" and condition(found)["status"] == "True" else None

    found = await eventually(second, "the second run succeeded")
    assert found["status"]["attempt"] == 2
    assert condition(found)["reason"] == "Succeeded"


@pytest.mark.proves("17.11")
async def test_a_failed_rank_restarts_the_whole_group(client: Client, ns: str, running: Running) -> None:
    script = f'if [ "$MILLRACE_ATTEMPT" = 1 ] && [ "$MILLRACE_NODE_RANK" = 1 ]; then echo out of luck; exit 3; fi; sleep 2; {WRITE_MODEL}'
    await start(client, training_job(ns, "t", script, kubernetes={"nodes": 2}))
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["attempt"] == 2
    assert done["status"]["restarts"]["count"] == 1
    assert done["status"]["restarts"]["lastCause"] == "RankFailed"
    happened = [e async for e in client.list_objects(EVENTS, ns, fields="reason=RankFailed")]
    assert any("exit code 3" in e["message"] and "out of luck" in e["message"] for e in happened)


async def test_restarts_have_a_budget(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", "echo no; exit 3", limits={"maxRestarts": 1}))
    failed = await reaches(client, TRAINING_JOBS, ns, "t", "RestartsExhausted")
    assert failed["status"]["restarts"]["count"] == 1
    assert failed["status"]["attempt"] == 2
    assert "exit code 3" in condition(failed)["message"]


async def test_a_deleted_pod_is_a_disruption_and_costs_no_restart(client: Client, ns: str, running: Running) -> None:
    script = f'if [ "$MILLRACE_ATTEMPT" = 1 ]; then sleep 300; fi; {WRITE_MODEL}'
    await start(client, training_job(ns, "t", script, limits={"maxRestarts": 0}))
    pod = await one_pod(client, ns)
    await client.delete(PODS, ns, pod["metadata"]["name"])
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["restarts"]["count"] == 0
    assert done["status"]["restarts"]["uncounted"] == 1


async def test_a_job_that_somebody_deletes_is_started_again(client: Client, ns: str, running: Running) -> None:
    script = f'if [ "$MILLRACE_ATTEMPT" = 1 ]; then sleep 300; fi; {WRITE_MODEL}'
    await start(client, training_job(ns, "t", script))
    await one_pod(client, ns)
    for job in await listed(client, JOBS, ns):
        await client.delete(JOBS, ns, job["metadata"]["name"])
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["attempt"] == 2


async def test_suspend_frees_the_pods_and_resume_goes_on(client: Client, ns: str, running: Running) -> None:
    script = f'if [ "$MILLRACE_ATTEMPT" = 1 ]; then sleep 300; fi; {WRITE_MODEL}'
    await start(client, training_job(ns, "t", script))
    await one_pod(client, ns)
    await client.patch(TRAINING_JOBS, ns, "t", {"spec": {"suspend": True}})

    async def freed() -> bool:
        return not await listed(client, PODS, ns) and not await listed(client, JOBS, ns)

    await reaches(client, TRAINING_JOBS, ns, "t", "Suspended")
    await eventually(freed, "no pod is left")
    await client.patch(TRAINING_JOBS, ns, "t", {"spec": {"suspend": False}})
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["restarts"].get("count") == 0


async def test_the_deadline_ends_the_run(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", "sleep 300", limits={"maxRuntimeSeconds": 2}))
    await reaches(client, TRAINING_JOBS, ns, "t", "DeadlineExceeded")

    async def freed() -> bool:
        return not await listed(client, JOBS, ns)

    await eventually(freed, "nothing runs after the deadline")


BAD_RUNS = [
    pytest.param({"image": "localhost/nobody/has:this"}, {}, "ImageNotPulled", "localhost/nobody/has:this", id="an image that is not there"),
    pytest.param({"image": "NOT A NAME".replace(" ", "//")}, {}, "InvalidImage", "InvalidImageName", id="an image that is no name"),
    pytest.param({"command": ["/no/such/program"], "args": []}, {}, "BadCommand", "/no/such/program", id="a command that is not there"),
    pytest.param({"args": ["no-such-program"]}, {}, "BadCommand", "not found", id="a program that the shell does not find"),
    pytest.param({"instanceType": "p9.huge", "resources": None}, {}, "InvalidSpec", "p9.huge", id="an instance type that does not exist"),
    pytest.param({}, {"inputs": [{"name": "train", "datasetRef": {"name": "nobody"}}]}, "InputNotReady", "'nobody' does not exist", id="a Dataset that is missing"),
    pytest.param({}, {"inputs": [{"name": "train", "claim": {"name": "results", "path": "none"}}]}, "InputMissing", "input 'train' is not there", id="a file that is missing"),
]  # fmt: skip


@pytest.mark.proves("17.13")
@pytest.mark.parametrize(("kubernetes", "spec", "reason", "says"), BAD_RUNS)
async def test_what_cannot_work_ends_in_a_reason_to_act_on(
    client: Client, ns: str, running: Running, kubernetes: Object, spec: Object, reason: str, says: str
) -> None:
    manifest = training_job(ns, "t", WRITE_MODEL, kubernetes=kubernetes, **spec)
    if manifest["spec"]["kubernetes"].get("resources") is None:
        del manifest["spec"]["kubernetes"]["resources"]
    await start(client, manifest)
    found = await reaches(client, TRAINING_JOBS, ns, "t", reason)
    assert says in condition(found)["message"]


async def test_resources_that_no_node_has_give_back_what_was_held(client: Client, ns: str, running: Running) -> None:
    impossible = {"resources": {"cpu": "500"}, "gangTimeoutSeconds": 5}
    await start(client, training_job(ns, "t", WRITE_MODEL, kubernetes=impossible))
    found = await reaches(client, TRAINING_JOBS, ns, "t", "GangUnschedulable")
    assert found["status"]["restarts"]["uncounted"] >= 1
    assert found["status"]["restarts"]["count"] == 0
    assert found["status"]["retryAfter"]

    async def freed() -> bool:
        return not await listed(client, JOBS, ns)

    await eventually(freed, "the group was taken down", timeout=20)


@pytest.mark.proves("17.3")
async def test_an_idle_share_of_the_gpus_is_told(client: Client, ns: str, running: Running) -> None:
    asked = {"instanceType": "p4de.24xlarge", "nodes": 2, "procsPerNode": 1, "fabric": {"efa": "DevicePlugin"}}
    manifest = training_job(ns, "t", WRITE_MODEL, kubernetes=asked)
    del manifest["spec"]["kubernetes"]["resources"]
    await start(client, manifest)

    async def told() -> Object | None:
        found = [e async for e in client.list_objects(EVENTS, ns, fields="reason=PossiblyNotMeant")]
        return found[0] if found else None

    event = await eventually(told, "an Event tells of the idle share")
    assert "14 of 16" in event["message"]
    (job,) = await listed(client, JOBS, ns)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert container["resources"]["limits"]["vpc.amazonaws.com/efa"] == "4"
    assert {"name": "MILLRACE_PROCS_PER_NODE", "value": "1"} in container["env"]


async def test_an_output_that_cannot_be_written_is_named_before_anything_runs(client: Client, ns: str, running: Running) -> None:
    blocked = "mkdir $MILLRACE_OUTPUT_DIR/../other && chmod 500 $MILLRACE_OUTPUT_DIR/../other"
    await start(client, training_job(ns, "first", f"{blocked}; {WRITE_MODEL}"))
    await reaches(client, TRAINING_JOBS, ns, "first", "Succeeded")
    manifest = training_job(ns, "t", WRITE_MODEL)
    manifest["spec"]["output"]["claim"]["path"] = "other"
    await start(client, manifest)
    found = await reaches(client, TRAINING_JOBS, ns, "t", "OutputNotWritable")
    assert "cannot be written by user 65532" in condition(found)["message"]


async def test_pods_that_the_cluster_refuses_become_a_condition(client: Client) -> None:
    strict = {"pod-security.kubernetes.io/enforce": "restricted"}
    async with cluster.namespace(client, labels=strict) as ns:
        await cluster.claim(client, ns)
        quota = Resource("", "v1", "resourcequotas", "ResourceQuota")
        await client.create(quota, {"metadata": {"name": "none", "namespace": ns}, "spec": {"hard": {"pods": "0"}}})
        async with cluster.operator(cluster.settings(ns)):
            await start(client, training_job(ns, "t", WRITE_MODEL))
            found = await reaches(client, TRAINING_JOBS, ns, "t", "PodsRefused")
            assert "exceeded quota" in condition(found)["message"]
            assert condition(found, "Stalled")["status"] == "True"
            await client.delete(quota, ns, "none")
            await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded", timeout=180)


async def test_what_is_ours_passes_pod_security_restricted(client: Client) -> None:
    strict = {"pod-security.kubernetes.io/enforce": "restricted"}
    async with cluster.namespace(client, labels=strict) as ns:
        await cluster.claim(client, ns)
        async with cluster.operator(cluster.settings(ns)):
            metrics = [{"name": "loss", "regex": "loss=([0-9.]+)"}]
            await start(client, training_job(ns, "t", WRITE_MODEL, metrics=metrics))
            await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")


async def test_a_service_of_that_name_that_is_not_ours_is_left_alone(client: Client, ns: str) -> None:
    manifest = training_job(ns, "t", WRITE_MODEL)
    made = await start(client, manifest)
    name = f"t-{made['metadata']['uid'].replace('-', '')[:6]}-1"
    theirs = {"metadata": {"name": name, "namespace": ns}, "spec": {"clusterIP": "None", "selector": {"app": "theirs"}}}
    await client.create(SERVICES, theirs)
    async with cluster.operator(cluster.settings(ns)):
        found = await reaches(client, TRAINING_JOBS, ns, "t", "NameConflict")
        assert name in condition(found)["message"]
        kept = await client.get(SERVICES, ns, name)
        assert kept["spec"]["selector"] == {"app": "theirs"}


async def test_deleting_a_running_job_takes_everything_with_it_but_the_data(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", "sleep 300"))
    await one_pod(client, ns)
    await client.delete(TRAINING_JOBS, ns, "t")
    await gone(client, TRAINING_JOBS, ns, "t")
    for resource in (JOBS, PODS, SERVICES):
        assert [c for c in await listed(client, resource, ns) if not c["metadata"].get("deletionTimestamp")] == []
    assert await client.find(CLAIMS, ns, "results") is not None


async def test_retain_lets_the_run_go_on_without_its_object(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", "sleep 60", deletionPolicy="Retain"))
    pod = await one_pod(client, ns)
    await client.delete(TRAINING_JOBS, ns, "t")
    await gone(client, TRAINING_JOBS, ns, "t")
    await asyncio.sleep(3)  # the garbage collector would have taken it by now
    kept = await client.get(PODS, ns, pod["metadata"]["name"])
    assert kept["status"]["phase"] == "Running"
    assert not kept["metadata"].get("deletionTimestamp")


async def test_data_policy_delete_removes_the_outputs_folder(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", WRITE_MODEL, dataPolicy="Delete"))
    await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    await client.delete(TRAINING_JOBS, ns, "t")
    await gone(client, TRAINING_JOBS, ns, "t")
    look = 'test ! -e "$MILLRACE_OUTPUT_DIR/../t" || { echo still there; exit 3; }; ' + WRITE_MODEL
    await start(client, training_job(ns, "look", look, limits={"maxRestarts": 0}))
    await reaches(client, TRAINING_JOBS, ns, "look", "Succeeded")


@pytest.mark.proves("17.5")
async def test_a_claim_is_made_and_kept(client: Client, ns: str, running: Running) -> None:
    volumes = [{"claim": "made", "storageClassName": "millrace-shared", "sizeGiB": 1, "mountPath": "/fsx-shared"}]
    manifest = training_job(
        ns, "t", 'test "$MILLRACE_OUTPUT_DIR" = /fsx-shared/t && ' + WRITE_MODEL, kubernetes={"volumes": volumes}
    )
    manifest["spec"]["output"]["claim"]["name"] = "made"
    await start(client, manifest)
    done = await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert done["status"]["model"]["uri"] == "claim://made/t"
    await client.delete(TRAINING_JOBS, ns, "t")
    await gone(client, TRAINING_JOBS, ns, "t")
    assert await client.find(CLAIMS, ns, "made") is not None


@pytest.mark.proves("17.15")
async def test_ended_pods_stay_for_their_logs_until_their_time_is_over(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", WRITE_MODEL))
    await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    assert len(await listed(client, PODS, ns, "millrace.dev/role=train")) == 1
    await client.patch(TRAINING_JOBS, ns, "t", {"spec": {"ttlSecondsAfterFinished": 1}})

    async def freed() -> bool:
        return not await listed(client, PODS, ns)

    await eventually(freed, "the ended pods are deleted")
    assert condition(await client.get(TRAINING_JOBS, ns, "t"))["reason"] == "Succeeded"


async def test_pause_stops_every_write_even_of_a_deletion(client: Client, ns: str, running: Running) -> None:
    manifest = training_job(ns, "t", WRITE_MODEL)
    manifest["metadata"]["annotations"] = {"millrace.dev/paused": "true"}
    await start(client, manifest)
    await start(client, training_job(ns, "witness", WRITE_MODEL))
    await reaches(client, TRAINING_JOBS, ns, "witness", "Succeeded")
    found = await client.get(TRAINING_JOBS, ns, "t")
    assert found["status"] == {"observedGeneration": -1}
    assert "finalizers" not in found["metadata"]
    await client.patch(TRAINING_JOBS, ns, "t", {"metadata": {"annotations": {"millrace.dev/paused": None}}})
    await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")


async def test_a_forced_pass_is_echoed(client: Client, ns: str, running: Running) -> None:
    await start(client, training_job(ns, "t", WRITE_MODEL))
    await reaches(client, TRAINING_JOBS, ns, "t", "Succeeded")
    await client.patch(TRAINING_JOBS, ns, "t", {"metadata": {"annotations": {"millrace.dev/reconcile-at": "now-1"}}})

    async def echoed() -> bool:
        return (await client.get(TRAINING_JOBS, ns, "t"))["status"].get("lastReconcileAt") == "now-1"

    await eventually(echoed, "the annotation's value is in status")


async def test_a_namespace_can_be_deleted_in_the_middle_of_a_run(client: Client) -> None:
    async with cluster.namespace(client) as ns:
        await cluster.claim(client, ns)
        async with cluster.operator(cluster.settings(ns)):
            await start(client, training_job(ns, "t", "sleep 300"))
            await one_pod(client, ns)
            await client.delete(NAMESPACES, None, ns)
            await gone(client, NAMESPACES, "", ns, timeout=120)
