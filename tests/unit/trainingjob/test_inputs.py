"""Inputs become files on claims, and what was pinned at the first start stays."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.api.v1alpha1.trainingjob import TrainingInput
from millrace_controllers.trainingjob.inputs import NotReady, resolve
from millrace_controllers.trainingjob.observed import ResolvedInput
from millrace_controllers.trainingjob.status import lineage
from support.builders import dataset, merged, ready_dataset

Object = dict[str, Any]


def wanted(**change: Any) -> list[TrainingInput]:
    return [TrainingInput.model_validate({"name": "train", "datasetRef": {"name": "corpus"}, **change})]


def found(obj: Object | None, pinned: Object | None = None, from_s3: bool = False, **change: Any) -> ResolvedInput:
    (made,) = resolve(wanted(**change), pinned, lambda name: obj if name == "corpus" else None, from_s3=from_s3)
    return made


READY = ready_dataset()
NOT_READY = merged(READY, {"status": {"conditions": [{"type": "Ready", "status": "False", "observedGeneration": 1}]}})
UNSPLIT = ready_dataset(splits=("data",))
IN_PLACE = ready_dataset(splits=(), publish=None)
URI = "s3://data/corpus/abc/train.txt"
IN_S3 = merged(READY, {"status": {"splits": [{"name": "train", "uri": URI, "rows": 1, "bytes": 2, "digest": "sha256:0"}]}})
IN_PLACE_IN_S3 = ready_dataset(splits=(), publish=None, source={"claim": None, "s3": {"uri": "s3://data/raw"}})

# Dataset, input, claim and path, reason
RESOLVED: list[tuple[Object, Object, str, str]] = [
    (READY, {}, "data/corpus/abc/train.txt", "the split of the input's own name"),
    (READY, {"split": "validation"}, "data/corpus/abc/validation.txt", "the split that is named"),
    (UNSPLIT, {}, "data/corpus/abc/data.txt", "a Dataset without splits is one file"),
    (IN_PLACE, {}, "raw/text", "what is not published is read where it is"),
]


@pytest.mark.parametrize(("obj", "change", "place", "reason"), RESOLVED, ids=[r[-1] for r in RESOLVED])
def test_a_dataset_becomes_a_file(obj: Object, change: Object, place: str, reason: str) -> None:
    made = found(obj, **change)
    assert f"{made.claim}/{made.path}" == place, reason
    assert (made.name, made.format, made.dataset, made.digest) == ("train", "text", "corpus", "sha256:content")


# layout, format of the files, reason
FORMATS: list[tuple[Object | None, str, str]] = [
    (None, "text", "that of the rows"),
    ({"bedrock": {"customization": "FineTuning"}}, "jsonl", "Bedrock reads lines of JSON"),
    ({"comprehend": {"classes": ["a", "b"]}}, "csv", "Comprehend reads csv"),
]


@pytest.mark.parametrize(("layout", "format_", "reason"), FORMATS, ids=[f[-1] for f in FORMATS])
def test_the_format_is_that_of_the_published_files(layout: Object | None, format_: str, reason: str) -> None:
    obj = merged(READY, {"spec": {"layout": layout}})
    first = found(obj)
    pinned = found(obj, lineage((first,), {}, None, None))
    assert (first.format, pinned.format) == (format_, format_), reason


def test_a_dataset_in_s3_becomes_a_uri() -> None:
    made = found(IN_S3, from_s3=True)
    assert (made.claim, made.path, made.dataset, made.digest) == ("", URI, "corpus", "sha256:content")
    assert found(None, lineage((made,), {}, None, None), from_s3=True).path == URI, "and stays so"


@pytest.mark.parametrize(
    ("obj", "from_s3", "message"),
    [
        (READY, True, "is on a claim, which this run cannot read: set its publish.s3"),
        (IN_PLACE_IN_S3, True, "set its publish.s3"),
        (IN_S3, False, "is on S3, which this run cannot read: set its publish.claim"),
    ],
    ids=["SageMaker reads no claims", "SageMaker would read what lies beside", "pods read no S3"],
)
def test_a_dataset_where_the_run_cannot_read_it_says_what_to_set(obj: Object, from_s3: bool, message: str) -> None:
    with pytest.raises(NotReady, match=message):
        found(obj, from_s3=from_s3)


def test_a_claim_is_taken_as_it_is() -> None:
    made = found(None, datasetRef=None, claim={"name": "raw", "path": "a/b"})
    assert made == ResolvedInput("train", "raw", "a/b")


# Dataset, input, message, reason
WAITS: list[tuple[Object | None, Object, str, str]] = [
    (None, {}, "Dataset 'corpus' does not exist", "it may come"),
    (dataset(), {}, "is not Ready", "it was just made"),
    (NOT_READY, {}, "is not Ready", "it is read"),
    (merged(READY, {"metadata": {"generation": 2}}), {}, "is not Ready", "it was Ready for a spec that was"),
    (READY, {"split": "test"}, "has no split 'test', but train, validation", "the splits that there are are told"),
    (READY, {"name": "other"}, "has no split 'other'", "the input's name is no split"),
    (IN_PLACE, {"split": "train"}, "has no splits", "the whole content is not the part that was asked for"),
]


@pytest.mark.parametrize(("obj", "change", "message", "reason"), WAITS, ids=[w[-1] for w in WAITS])
def test_an_input_that_is_not_ready_is_waited_for(obj: Object | None, change: Object, message: str, reason: str) -> None:
    with pytest.raises(NotReady, match=message):
        found(obj, **change)


# Dataset now, reason
LATER: list[tuple[Object | None, str]] = [
    (merged(READY, {"status": {"digest": "sha256:new", "splits": []}}), "the content changed"),
    (NOT_READY, "it is being read again"),
    (None, "it was deleted"),
]


@pytest.mark.parametrize(("obj", "reason"), LATER, ids=[row[-1] for row in LATER])
def test_a_dataset_that_changes_changes_nothing_of_a_started_run(obj: Object | None, reason: str) -> None:
    first = found(READY)
    pinned = lineage((first,), {}, None, None)
    again = found(obj, pinned)
    assert (again.claim, again.path, again.digest, again.dataset) == (first.claim, first.path, first.digest, "corpus"), reason


@pytest.mark.parametrize("path", ["", "a", "a/b/c.txt"])
def test_a_pinned_claim_is_the_same_place_again(path: str) -> None:
    first = found(None, datasetRef=None, claim={"name": "raw", "path": path})
    assert found(None, lineage((first,), {}, None, None), datasetRef=None, claim={"name": "raw", "path": path}) == first


def test_no_inputs_are_no_trouble() -> None:
    assert resolve(None, None, lambda _: None) == ()
