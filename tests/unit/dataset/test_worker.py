"""The worker's Job: its order in the words of the contract, and its last words read back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace_controllers.dataset.backends import kubernetes
from millrace_controllers.dataset.plan import Compared
from support.builders import UID, ago, child, condition, container, dataset, merged, typed_dataset

Object = dict[str, Any]


def job(**change: Any) -> Object:
    url = "http://progress.test/v1/progress"
    return kubernetes.job_manifest(dataset(**change), typed_dataset(**change), "aaaabbbbcccc", "dataset:1", url)


def pod_spec(**change: Any) -> Object:
    return dict(job(**change)["spec"]["template"]["spec"])


def variables(**change: Any) -> dict[str, str]:
    return {e["name"]: e["value"] for e in pod_spec(**change)["containers"][0]["env"]}


def task(**change: Any) -> Object:
    return dict(json.loads(variables(**change)["MILLRACE_DATASET"]))


NO_CLAIM: Object = {"source": {"claim": None}}

# change, source in the task, reason
SOURCES: list[tuple[Object, Object, str]] = [
    ({}, {"path": "/millrace/claims/raw/text"}, "a folder on a claim"),
    (
        merged(NO_CLAIM, {"source": {"inline": {"configMapRef": {"name": "words"}}}}),
        {"inline": {"path": "/millrace/inline"}}, "a ConfigMap",
    ),
    (
        merged(NO_CLAIM, {"source": {"https": {"url": "https://x.test/a", "sha256": "0" * 64}}}),
        {"https": {"url": "https://x.test/a", "sha256": "0" * 64}}, "a file behind a URL",
    ),
    (
        merged(NO_CLAIM, {"source": {"s3": {"uri": "s3://data/raw"}}}),
        {"s3": {"uri": "s3://data/raw"}}, "objects in S3",
    ),
    (
        merged(NO_CLAIM, {"source": {"generated": {"name": "csv-rows", "parameters": {"rows": "5"}}}}),
        {"generated": {"name": "csv-rows", "parameters": {"rows": "5"}}}, "a generator",
    ),
]  # fmt: skip


def spec_of(change: Object) -> Object:
    """Without the claim that the builder names."""
    base = {"source": {"claim": {"name": "raw", "path": "text"}}}
    return {**change, "source": {"claim": None, **merged(base, change)["source"]}} if "source" in change else change


@pytest.mark.parametrize(("change", "source", "reason"), SOURCES, ids=[s[-1] for s in SOURCES])
def test_the_order_is_that_of_the_contract(change: Object, source: Object, reason: str) -> None:
    told = task(**spec_of(change))
    assert told["source"] == source, reason
    assert {k: told[k] for k in ("name", "namespace", "uid", "format", "columns", "split", "publish")} == {
        "name": "corpus",
        "namespace": "team-a",
        "uid": UID,
        "format": "text",
        "columns": None,
        "split": None,
        "publish": {"path": "/millrace/claims/data/corpus"},
    }


def test_columns_and_parts_are_in_the_order() -> None:
    change = {
        "format": "csv",
        "columns": [{"name": "a", "type": "integer"}],
        "split": {"train": "0.9", "validation": "0.1", "seed": 7, "stratifyBy": "a"},
    }
    told = task(**change)
    assert told["columns"] == [{"name": "a", "type": "integer"}]
    assert told["split"] == {"train": "0.9", "validation": "0.1", "test": "0", "seed": 7, "stratifyBy": "a"}


def test_the_transform_is_in_the_order_with_its_defaults() -> None:
    asked = {"drop": ["id"], "rename": {"a": "b"}, "sample": {"rows": 10}}
    assert task(format="csv", transform=asked)["transform"] == {
        "drop": ["id"],
        "rename": {"a": "b"},
        "truncate": None,
        "sample": {"rows": 10, "seed": 0, "fewer": "Fail"},
    }
    assert task(format="csv")["transform"] is None


# layout, in the order, reason
LAYOUTS: list[tuple[Object, Object, str]] = [
    (
        {"bedrock": {"customization": "FineTuning"}},
        {"bedrock": {"customization": "FineTuning", "maxTokens": None}, "comprehend": None}, "lines of Bedrock",
    ),
    (
        {"comprehend": {"classes": ["a", "b"], "labels": {"A": "a"}, "language": "en"}},
        {
            "bedrock": None,
            "comprehend": {
                "label": "label", "text": "text", "classes": ["a", "b"], "labels": {"A": "a"}, "mode": "SingleLabel",
                "delimiter": "|", "language": "en", "languageColumn": None, "minimum": 10, "recommended": 200,
            },
        }, "csv of Comprehend",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "order", "reason"), LAYOUTS, ids=[case[-1] for case in LAYOUTS])
def test_the_layout_is_in_the_order_with_its_defaults(layout: Object, order: Object, reason: str) -> None:
    assert task(format="csv", layout=layout)["layout"] == order, reason
    assert task(format="csv")["layout"] is None


def test_a_source_in_place_is_only_read() -> None:
    assert task(publish=None)["publish"] is None
    claims = [v["persistentVolumeClaim"] for v in pod_spec(publish=None)["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": "raw", "readOnly": True}]


def test_a_claim_that_is_read_and_written_is_mounted_once_and_writable() -> None:
    change = {"publish": {"claim": {"name": "raw", "path": "out"}}}
    claims = [v["persistentVolumeClaim"] for v in pod_spec(**change)["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": "raw", "readOnly": False}]


@pytest.mark.parametrize("key", ["", "words.txt"])
def test_one_key_of_a_configmap_or_all(key: str) -> None:
    change = spec_of({"source": {"inline": {"configMapRef": {"name": "words", "key": key}}}})
    (volume,) = [v for v in pod_spec(**change)["volumes"] if v["name"] == "inline"]
    assert ("items" in volume["configMap"]) is bool(key)
    mounts = {m["name"]: m for m in pod_spec(**change)["containers"][0]["volumeMounts"]}
    assert mounts["inline"]["readOnly"] is True


def test_the_worker_is_restricted_and_can_report() -> None:
    spec = pod_spec(resources={"cpu": "2", "memory": "4Gi"}, imagePullSecrets=["s"], serviceAccountName="reader")
    (worker,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert worker["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert worker["securityContext"]["readOnlyRootFilesystem"] is True
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("reader", False)
    assert spec["imagePullSecrets"] == [{"name": "s"}]
    assert worker["resources"]["requests"] == {"cpu": "2", "memory": "4Gi"}
    assert {m["name"] for m in worker["volumeMounts"]} == {v["name"] for v in spec["volumes"]}
    assert variables(resources={"memory": "4Gi"})["MILLRACE_MEMORY"] == "4Gi", "what the database may use follows from it"
    told = variables()
    assert (told["MILLRACE_ATTEMPT"], told["MILLRACE_UID"]) == ("0", UID)
    assert told["MILLRACE_PROGRESS_URL"].startswith("http")
    assert job()["metadata"]["labels"]["millrace.dev/attempt"] == told["MILLRACE_ATTEMPT"], "or its pushes are refused"


def test_a_job_is_named_after_its_fingerprint() -> None:
    assert job()["metadata"]["name"] == "corpus-111111-aaaabbbb"


def test_quality_is_in_the_order_as_it_was_asked_for() -> None:
    gate = {"check": "MissingValues", "column": "a", "above": "0.2"}
    assert task(format="csv", quality={"target": "a", "failOn": [gate]})["quality"] == {
        "report": True,
        "target": "a",
        "failOn": [gate],
    }
    assert task(format="csv")["quality"] is None


def test_the_datasets_to_compare_with_are_mounted_to_be_read_and_named_by_their_files() -> None:
    there = {"path": "/millrace/claims/tables/t/abc/data.csv", "digest": "sha256:0a"}
    afar = {"uri": "s3://data/old/abc/data.csv", "digest": "sha256:0b"}
    compared = (Compared("train", "sha256:t", (there,), ("tables",)), Compared("old", "sha256:o", (afar,)))
    change = {"format": "csv", "quality": {"compareWith": [{"name": "train"}, {"name": "old"}]}}
    made = kubernetes.job_manifest(dataset(**change), typed_dataset(**change), "abc", "dataset:1", "", compared=compared)
    spec = made["spec"]["template"]["spec"]
    (order,) = [e["value"] for e in spec["containers"][0]["env"] if e["name"] == "MILLRACE_DATASET"]
    assert json.loads(order)["quality"]["compareWith"] == [
        {"name": "train", "digest": "sha256:t", "files": [there]},
        {"name": "old", "digest": "sha256:o", "files": [afar]},
    ]
    claims = [v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert {"claimName": "tables", "readOnly": True} in claims


def test_a_claim_that_is_published_to_is_writable_whoever_else_lies_on_it() -> None:
    change = {"format": "csv", "quality": {"compareWith": [{"name": "train"}]}}
    compared = (Compared("train", "sha256:t", ({"path": "/x", "digest": ""},), ("data",)),)
    made = kubernetes.job_manifest(dataset(**change), typed_dataset(**change), "abc", "dataset:1", "", compared=compared)
    claims = {v["persistentVolumeClaim"]["claimName"]: v["persistentVolumeClaim"]["readOnly"]
              for v in made["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in v}  # fmt: skip
    assert claims == {"raw": True, "data": False}


# -- its reader ----------------------------------------------------------------------------------------------------------

WROTE: Object = {
    "ok": True,
    "splits": {"train": {"path": "corpus/abc/train.csv", "rows": 1, "bytes": 9, "digest": "sha256:0a"}},
    "report": {"path": "corpus/reports/abc-1", "files": {"report.html": {"digest": "sha256:0b", "bytes": 7}}},
}


def reader(worker_uid: str = "12345678-0000") -> Object:
    worker = {"metadata": {"name": "corpus-111111-aaaabbbb", "uid": worker_uid}}
    return kubernetes.reader_manifest(dataset(), typed_dataset(), worker, WROTE, "operator:1")


def test_a_reader_that_did_not_write_them_reads_every_file_back() -> None:
    spec = reader()["spec"]["template"]["spec"]
    (container_,) = spec["containers"]
    assert container_["command"][-1] == "readback"
    files = json.loads({e["name"]: e["value"] for e in container_["env"]}["MILLRACE_TASK"])["files"]
    assert files == [
        {"path": "/millrace/claims/data/corpus/abc/train.csv", "sha256": "0a", "bytes": 9},
        {"path": "/millrace/claims/data/corpus/reports/abc-1/report.html", "sha256": "0b", "bytes": 7},
    ]
    claims = [v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": "data", "readOnly": True}]


def test_a_reader_is_named_after_the_worker_whose_files_it_reads() -> None:
    """What an earlier worker's reader saw must never be taken for a word on a later one's files."""
    assert reader()["metadata"]["name"] == "corpus-111111-12345678-verify"
    assert reader("87654321-0000")["metadata"]["name"] != reader()["metadata"]["name"]


# -- its last words ------------------------------------------------------------------------------------------------------

OWNER = dataset()
GOOD, BAD = json.dumps({"ok": True, "rows": 1}), json.dumps({"ok": False, "reason": "RaggedRow", "message": "row 7"})


def made(*conditions: Object) -> Object:
    return child(OWNER, "Job", "j", "worker", 0, status={"conditions": list(conditions)})


def pod(message: str | None, born: float = 0, **more: Any) -> Object:
    statuses = [] if message is None else [container("worker", terminated={"exitCode": 0, "message": message})]
    own = {"metadata": {"creationTimestamp": ago(-born)}, "status": {"containerStatuses": statuses}}
    return merged(child(OWNER, "Pod", f"p{born}", "worker", 0, **own), more)


OVER, LOST = condition("Complete"), condition("Failed", message="deadline")

# Job, pods, report, reason
REPORTS: list[tuple[Object, list[Object], Object | None, str]] = [
    (made(), [pod(GOOD)], None, "a Job that is not over has not spoken its last word"),
    (made(OVER), [pod(GOOD)], {"ok": True, "rows": 1}, "all is well"),
    (made(OVER), [pod(BAD, 0), pod(GOOD, 5)], {"ok": True, "rows": 1}, "the last try counts"),
    (made(OVER), [pod(None)], {"ok": False, "message": "the worker ended, but its report is gone"}, "nothing was said"),
    (made(OVER), [], {"ok": False, "message": "the worker ended, but its report is gone"}, "its pod is gone"),
    (made(LOST), [pod(BAD)], json.loads(BAD), "it says what is wrong"),
    (made(LOST), [pod(BAD, 0), pod("Killed", 5)], json.loads(BAD), "an earlier try said what is wrong"),
    (made(LOST), [pod("Traceback")], {"ok": False, "message": "the worker failed without a report: deadline"}, "no report"),
    (made(LOST), [pod("[1]")], {"ok": False, "message": "the worker failed without a report: deadline"}, "JSON of no report"),
]


@pytest.mark.parametrize(("given", "pods", "report", "reason"), REPORTS, ids=[r[-1] for r in REPORTS])
def test_the_last_words_of_a_worker(given: Object, pods: list[Object], report: Object | None, reason: str) -> None:
    assert kubernetes._report(given, pods) == report, reason


def test_what_keeps_a_worker_from_running_is_told() -> None:
    unscheduled = pod(None, status={"conditions": [condition("PodScheduled", "False", message="0/2 nodes")]})
    no_image = pod(None, status={"containerStatuses": [container("worker", waiting={"reason": "ErrImagePull"})]})
    assert kubernetes._trouble([unscheduled]) == "the worker is not scheduled: 0/2 nodes"
    assert "ErrImagePull" in str(kubernetes._trouble([no_image]))
    assert kubernetes._trouble([pod(GOOD)]) is None
