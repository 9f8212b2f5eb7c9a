"""The manifests of an attempt, as the states of the world that they lead to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.engine.settings import Images, Settings
from millrace.kube import labels
from millrace_controllers.trainingjob.backends.kubernetes import layout, pod
from millrace_controllers.trainingjob.observed import ResolvedInput
from support.builders import FOREIGN, UID, merged, training_job, typed_training

Object = dict[str, Any]
SETTINGS = Settings(images=Images("operator:1", "trainer:1", "dataset:1"), progress_url="http://progress.test:8090/v1/progress")
INPUTS = (ResolvedInput("train", "data", "corpus/abc/train.txt", "text", "corpus", "sha256:1"),)
METRICS = {"metrics": [{"name": "loss", "regex": "loss=([0-9.]+)"}]}
ONE_NODE = {"kubernetes": {"nodes": 1}}


def job(attempt: int = 1, settings: Settings = SETTINGS, inputs: tuple[ResolvedInput, ...] = INPUTS, **change: Any) -> Object:
    return pod.job(training_job(**change), typed_training(**change), attempt, inputs, settings)


def template(**change: Any) -> Object:
    return dict(job(**change)["spec"]["template"]["spec"])


def train(**change: Any) -> Object:
    return dict(template(**change)["containers"][0])


def variables(container: Object) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in container["env"]}


# -- the group -----------------------------------------------------------------------------------------------------------


def test_a_group_is_all_or_nothing_and_no_pod_of_it_is_ever_replaced() -> None:
    spec = job()["spec"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (2, 2, 0)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["podFailurePolicy"] == {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "suspend" not in spec, "that field is the queue's"
    assert "ttlSecondsAfterFinished" not in spec, "the Job is not taken away before its end is written down"
    assert "activeDeadlineSeconds" not in spec


def test_an_attempt_is_ours_by_name_owner_and_labels() -> None:
    metadata = job(attempt=7)["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("gpt-111111-7", "team-a")
    assert metadata["ownerReferences"][0]["uid"] == UID
    assert metadata["ownerReferences"][0]["controller"] is True
    assert metadata["labels"][labels.ATTEMPT] == "7"
    assert job()["spec"]["template"]["metadata"]["labels"][labels.OWNER_UID] == UID


def test_the_service_finds_the_ranks_of_its_attempt_and_no_others() -> None:
    service, made = pod.service(training_job(), 3), job(attempt=3)
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    of_pods = made["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= of_pods.items()
    assert not service["spec"]["selector"].items() <= job(attempt=4)["spec"]["template"]["metadata"]["labels"].items()
    assert made["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"], "that is what gives ranks names"


def test_a_queue_is_named_on_the_job_and_nothing_of_it_in_the_pods() -> None:
    made = job(kubernetes={"queueName": "gpus"})
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in made["spec"]["template"]["metadata"]["labels"]
    assert not any("kueue" in name for name in job()["metadata"]["labels"])


def test_the_same_spec_makes_the_same_manifest() -> None:
    assert json.dumps(job()) == json.dumps(job())


# -- what the program gets -----------------------------------------------------------------------------------------------

CONTRACT = {
    "MILLRACE_JOB": "gpt",
    "MILLRACE_NAMESPACE": "team-a",
    "MILLRACE_UID": UID,
    "MILLRACE_ATTEMPT": "3",
    "MILLRACE_RUN_ID": "r1",
    "MILLRACE_NODES": "2",
    "MILLRACE_PROCS_PER_NODE": "4",
    "WORLD_SIZE": "8",
    "MASTER_ADDR": "gpt-111111-3-0.gpt-111111-3.team-a.svc",
    "MASTER_PORT": "29500",
    "MILLRACE_OUTPUT_DIR": "/millrace/claims/results/gpt",
    "MILLRACE_CHECKPOINT_DIR": "/millrace/claims/results/gpt/checkpoints",
    "MILLRACE_CHECKPOINT_EVERY_STEPS": "50",
    "MILLRACE_CHECKPOINT_KEEP": "3",
    "MILLRACE_PROGRESS_URL": SETTINGS.progress_url,
    "MILLRACE_TOKEN_FILE": "/var/run/secrets/millrace/token",
    "MILLRACE_GRACE_SECONDS": "120",
}
FULL = {
    "runID": "r1",
    "checkpoint": {"everySteps": 50},
    "parameters": {"lr": "0.1"},
    "kubernetes": {"procsPerNode": 4},
}


@pytest.mark.parametrize("change", [FULL, merged(FULL, FOREIGN)], ids=["our runtime", "an image of somebody else's"])
def test_the_environment_is_that_of_the_contract(change: Object) -> None:
    made = job(attempt=3, **change)
    told = variables(made["spec"]["template"]["spec"]["containers"][0])
    assert CONTRACT.items() <= told.items()
    assert told["MILLRACE_SPEC_DIGEST"] == layout.spec_digest(typed_training(**change))
    assert json.loads(told["MILLRACE_PARAMETERS"]) == {"lr": "0.1"}
    assert json.loads(told["MILLRACE_INPUTS"]) == {
        "train": {"path": "/millrace/claims/data/corpus/abc/train.txt", "format": "text", "digest": "sha256:1"}
    }


def test_the_rank_of_a_node_comes_from_its_index_and_from_nowhere_else() -> None:
    env = [{"name": "MILLRACE_NODE_RANK", "value": "7"}, {"name": "MILLRACE_UID", "value": "mine"}, {"name": "OWN", "value": "x"}]
    made = train(kubernetes={"env": env})
    ranks = [e for e in made["env"] if e["name"] == "MILLRACE_NODE_RANK"]
    assert len(ranks) == 1
    assert "job-completion-index" in ranks[0]["valueFrom"]["fieldRef"]["fieldPath"]
    assert variables(made)["MILLRACE_UID"] == UID, "nobody speaks for another object"
    assert variables(made)["OWN"] == "x"


def test_no_variable_is_named_twice_and_a_default_gives_way() -> None:
    names = [e["name"] for e in train(kubernetes={"env": [{"name": "HOME", "value": "/home/me"}]})["env"]]
    assert len(names) == len(set(names))
    assert variables(train(kubernetes={"env": [{"name": "HOME", "value": "/home/me"}]}))["HOME"] == "/home/me"


def test_nobody_is_told_to_push_where_there_is_no_door() -> None:
    assert "MILLRACE_PROGRESS_URL" not in variables(train(settings=Settings()))


def test_a_single_node_speaks_to_itself() -> None:
    made = train(**ONE_NODE)
    assert variables(made)["MASTER_ADDR"] == "127.0.0.1"
    assert "--master-addr=127.0.0.1" in made["command"]


# spec, command, args, reason
SCRIPT = ["-m", "my.script", "--x"]
COMMANDS: list[tuple[Object, list[str], list[str] | None, str]] = [
    ({}, ["-m", "millrace_trainer.gpt"], None, "nemo is our own trainer"),
    ({"kubernetes": {"runtime": "torchrun", "args": SCRIPT}}, SCRIPT, None, "torchrun starts the user's script"),
]


@pytest.mark.parametrize(("change", "tail", "args", "reason"), COMMANDS, ids=[c[-1] for c in COMMANDS])
def test_our_runtimes_start_by_torchrun_without_restarts(
    change: Object, tail: list[str], args: list[str] | None, reason: str
) -> None:
    made = train(**change)
    assert made["command"][0] == "torchrun"
    assert {"--nnodes=2", "--nproc-per-node=1", "--node-rank=$(MILLRACE_NODE_RANK)", "--max-restarts=0"} <= set(made["command"])
    assert made["command"][-len(tail) :] == tail, reason
    assert made.get("args") == args


# change, command, args, reason
FOREIGN_COMMANDS: list[tuple[Object, list[str] | None, list[str] | None, str]] = [
    (FOREIGN, ["python", "train.py"], None, "as it is"),
    (merged(FOREIGN, {"kubernetes": {"args": ["--x"]}}), ["python", "train.py"], ["--x"], "with arguments"),
    (merged(FOREIGN, {"kubernetes": {"command": None}}), None, None, "the image's own"),
    (merged(FOREIGN, {"kubernetes": {"command": None, "args": ["--x"]}}), None, ["--x"], "the image's own, with arguments"),
    (
        merged(FOREIGN, {**METRICS, "kubernetes": {"args": ["--x"]}}),
        ["sh", "/millrace/wrap/wrap.sh", "/millrace/wrap", "python", "train.py", "--x"],
        None,
        "in the wrapper, which takes the arguments too",
    ),
]


@pytest.mark.parametrize(("change", "command", "args", "reason"), FOREIGN_COMMANDS, ids=[c[-1] for c in FOREIGN_COMMANDS])
def test_an_image_of_somebody_elses_starts_as_it_is_told(
    change: Object, command: list[str] | None, args: list[str] | None, reason: str
) -> None:
    made = train(**change)
    assert (made.get("command"), made.get("args")) == (command, args), reason


# -- helpers -------------------------------------------------------------------------------------------------------------

WITH_METRICS = merged(FOREIGN, METRICS)


def helpers(**change: Any) -> list[str]:
    return [c["name"] for c in template(**change)["initContainers"]]


def test_the_sidecar_is_there_only_where_metrics_are_read() -> None:
    assert helpers() == helpers(**FOREIGN) == ["preflight"]
    assert helpers(**WITH_METRICS) == ["preflight", "tail"]


def test_the_sidecar_is_of_the_native_kind_and_speaks_with_its_pods_rank() -> None:
    tail = template(**WITH_METRICS)["initContainers"][1]
    assert tail["restartPolicy"] == "Always"
    told = {e["name"]: e for e in tail["env"]}
    assert {"MILLRACE_UID", "MILLRACE_ATTEMPT", "MILLRACE_PROGRESS_URL", "MILLRACE_TOKEN_FILE"} <= told.keys()
    assert {"MILLRACE_PROCS_PER_NODE", "MILLRACE_NODE_RANK"} <= told.keys()
    assert "valueFrom" in told["MILLRACE_NODE_RANK"]
    assert json.loads(told["MILLRACE_TASK"]["value"]) == {
        "log": "/millrace/wrap/log",
        "metrics": [{"name": "loss", "regex": "loss=([0-9.]+)"}],
    }


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_preflight_knows_all_that_can_be_missing(wrapped: bool) -> None:
    first = template(**(WITH_METRICS if wrapped else FOREIGN))["initContainers"][0]
    task = json.loads(variables(first)["MILLRACE_TASK"])
    assert task["inputs"] == {"train": "/millrace/claims/data/corpus/abc/train.txt"}
    assert (task["outputDir"], task["checkpointDir"]) == (CONTRACT["MILLRACE_OUTPUT_DIR"], CONTRACT["MILLRACE_CHECKPOINT_DIR"])
    assert task["wrapperDir"] == ("/millrace/wrap" if wrapped else None)
    assert set(task["run"]) == {"name", "namespace", "runID", "specDigest"}


ALL_KINDS = [{}, FOREIGN, WITH_METRICS, ONE_NODE, {"checkpoint": {"claim": {"name": "fast"}}}]


@pytest.mark.parametrize("change", ALL_KINDS)
def test_every_pod_meets_the_level_restricted_of_pod_security(change: Object) -> None:
    for spec in (template(**change), verifier(**change)["spec"]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        allowed = {"persistentVolumeClaim", "projected", "emptyDir", "configMap", "secret"}
        assert all(set(v) - {"name"} <= allowed for v in spec["volumes"])


@pytest.mark.parametrize("change", ALL_KINDS)
def test_every_mount_has_its_volume_and_every_path_is_mounted_once(change: Object) -> None:
    for spec in (template(**change), verifier(**change)["spec"]):
        volumes = [v["name"] for v in spec["volumes"]]
        assert len(volumes) == len(set(volumes))
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            paths = [m["mountPath"] for m in container["volumeMounts"]]
            assert len(paths) == len(set(paths))
            assert {m["name"] for m in container["volumeMounts"]} <= set(volumes)


def test_inputs_are_read_only_and_results_are_not() -> None:
    mounts = {m["mountPath"]: m.get("readOnly", False) for m in train()["volumeMounts"]}
    assert mounts["/millrace/claims/data"] is True
    assert mounts["/millrace/claims/results"] is False


def test_only_our_own_image_has_a_root_that_cannot_be_written() -> None:
    assert train()["securityContext"]["readOnlyRootFilesystem"] is True
    assert train(**FOREIGN)["securityContext"]["readOnlyRootFilesystem"] is False


def test_what_a_user_sets_on_the_pod_is_set() -> None:
    change = {
        "serviceAccountName": "trainer",
        "kubernetes": {
            "image": "own:2",
            "imagePullPolicy": "Always",
            "imagePullSecrets": ["s"],
            "terminationGracePeriodSeconds": 33,
        },
    }
    spec = template(**change)
    assert spec["serviceAccountName"] == "trainer"
    assert spec["imagePullSecrets"] == [{"name": "s"}]
    assert spec["terminationGracePeriodSeconds"] == 33
    assert (spec["containers"][0]["image"], spec["containers"][0]["imagePullPolicy"]) == ("own:2", "Always")
    assert variables(spec["containers"][0])["MILLRACE_GRACE_SECONDS"] == "33"
    assert train()["image"] == "trainer:1"
    assert spec["initContainers"][0]["image"] == "operator:1"


def test_what_is_not_set_is_not_there() -> None:
    assert {"nodeSelector", "imagePullSecrets"}.isdisjoint(template())


# -- the reader ----------------------------------------------------------------------------------------------------------


def verifier(**change: Any) -> Object:
    return pod.verifier(training_job(**change), typed_training(**change), 3, SETTINGS)


@pytest.mark.parametrize(("change", "own"), [({}, True), (FOREIGN, False)], ids=["our runtime", "foreign"])
def test_the_reader_may_write_only_where_it_must_leave_the_record(change: Object, own: bool) -> None:
    made = verifier(**change)
    task = json.loads(variables(made["spec"]["containers"][0])["MILLRACE_TASK"])
    assert (task["ownRuntime"], task["uid"], task["attempt"]) == (own, UID, 3)
    claims = [v["persistentVolumeClaim"] for v in made["spec"]["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": "results", "readOnly": own}]
    assert made["spec"]["restartPolicy"] == "Never"
    assert made["metadata"]["name"] == "gpt-111111-3-verify"
    assert made["metadata"]["labels"][labels.ROLE] == "verify"


def test_the_reader_and_the_preflight_name_a_run_alike() -> None:
    reader = json.loads(variables(verifier()["spec"]["containers"][0])["MILLRACE_TASK"])
    preflight = json.loads(variables(template()["initContainers"][0])["MILLRACE_TASK"])
    told = variables(train())
    assert reader["run"] == preflight["run"]
    assert reader["run"]["specDigest"] == told["MILLRACE_SPEC_DIGEST"]
    assert reader["outputDir"] == preflight["outputDir"] == told["MILLRACE_OUTPUT_DIR"]


# -- claims --------------------------------------------------------------------------------------------------------------


def test_claims_are_made_where_a_storage_class_is_named_and_outlive_the_object() -> None:
    volumes = [{"claim": "results", "storageClassName": "fsx", "sizeGiB": 100}, {"claim": "there"}]
    change = {"kubernetes": {"volumes": volumes}}
    (made,) = pod.made_claims(training_job(**change), typed_training(**change))
    assert made["metadata"]["name"] == "results"
    assert "ownerReferences" not in made["metadata"], "the garbage collector would take the data with the object"
    assert made["metadata"]["labels"][labels.NAME] == "gpt"
    assert made["spec"]["accessModes"] == ["ReadWriteMany"]
    assert made["spec"]["resources"]["requests"]["storage"] == "100Gi"
    assert pod.made_claims(training_job(), typed_training()) == []
    names = [v["persistentVolumeClaim"]["claimName"] for v in template(**change)["volumes"] if "persistentVolumeClaim" in v]
    assert sorted(names) == ["data", "results", "there"]
