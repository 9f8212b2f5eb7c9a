"""What a Dataset needs next, and what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from millrace.api.schema import structural
from millrace.api.v1alpha1.dataset import DatasetSpec, DatasetStatus
from millrace.engine.conditions import desired_status, merge_patch
from millrace.engine.errors import Retry
from millrace.engine.outcome import Outcome
from millrace_controllers.dataset import status as say
from millrace_controllers.dataset.plan import Observed, SourceNotFound, Step, fingerprint, next_step
from support.builders import dataset, dataset_spec, typed_dataset
from support.schemas import problems

Object = dict[str, Any]
PRINT = "aaaabbbbcccc"
JOB = {"metadata": {"name": "corpus-111111-aaaabbbb"}}
REPORT: Object = {
    "schema": 1,
    "ok": True,
    "digest": "sha256:content",
    "version": "0123456789ab",
    "rows": 100,
    "bytes": 2000,
    "columns": [{"name": "text", "type": "string"}],
    "columnCount": 1,
    "splits": {
        "train": {"path": "corpus/0123456789ab/train.txt", "rows": 90, "bytes": 1800, "digest": "sha256:t"},
        "validation": {"path": "corpus/0123456789ab/validation.txt", "rows": 10, "bytes": 200, "digest": "sha256:v"},
    },
}
READER = {"metadata": {"name": "corpus-111111-uidofjob-verify"}}
UNSOUND = {"ok": False, "reason": "NotReadBack", "message": "train.txt is not the file that the worker wrote"}
FAILED = {"schema": 1, "ok": False, "reason": "RaggedRow", "message": "rows.csv row 7 has 3 fields, the header has 4"}
DONE = {"sourceFingerprint": PRINT}

# status, observed, step, reason
STEPS: list[tuple[Object, Observed, Step, str]] = [
    ({}, Observed(PRINT), Step.START, "a fresh object is read at once"),
    ({}, Observed(PRINT, JOB), Step.WAIT, "the worker is on it"),
    ({}, Observed(PRINT, JOB, REPORT), Step.READ_BACK, "the worker has published, which nobody else has seen yet"),
    ({}, Observed(PRINT, JOB, REPORT, reader=READER), Step.WAIT, "the reader is on it"),
    ({}, Observed(PRINT, JOB, REPORT, reader=READER, verdict={"ok": True}), Step.PUBLISH, "it reads what was written"),
    ({}, Observed(PRINT, JOB, REPORT, reader=READER, verdict=UNSOUND), Step.FAIL, "it reads something else"),
    ({}, Observed(PRINT, JOB, {**REPORT, "splits": {}}), Step.PUBLISH, "a source in its place has nothing to read back"),
    (DONE, Observed(PRINT, JOB, REPORT), Step.NOTHING, "and its Job is still there"),
    (DONE, Observed(PRINT, JOB, FAILED), Step.NOTHING, "the pod, and its report, went before the Job"),
    ({}, Observed(PRINT, JOB, FAILED), Step.FAIL, "the worker says what is wrong"),
    ({}, Observed(PRINT, JOB, FAILED, again=True), Step.TRY_AGAIN, "others may have mended it by now"),
    ({}, Observed(PRINT, JOB, REPORT, verdict={"ok": True}), Step.PUBLISH, "S3 has what was put there, without a reader"),
    (DONE, Observed(PRINT), Step.NOTHING, "nothing changed"),
    ({"sourceFingerprint": "of another content"}, Observed(PRINT), Step.START, "the source or the spec changed"),
]


@pytest.mark.parametrize(("status", "seen", "step", "reason"), STEPS, ids=[s[-1] for s in STEPS])
def test_what_comes_next(status: Object, seen: Observed, step: Step, reason: str) -> None:
    assert next_step(status, seen) is step, reason


# -- fingerprints --------------------------------------------------------------------------------------------------------

# change, same, reason
PRINTS: list[tuple[Object, bool, str]] = [
    ({"suspend": True}, True, "to stop is no other content"),
    ({"resources": {"cpu": "4"}}, True, "nor is a larger worker"),
    ({"dataPolicy": "Delete", "serviceAccountName": "other"}, True, "nor are policies"),
    ({"split": None}, True, "what is not set is not set"),
    ({"source": {"claim": {"path": "other"}}}, False, "another folder"),
    ({"format": "jsonl"}, False, "another format"),
    ({"split": {"train": "0.9", "validation": "0.1"}}, False, "parts"),
    ({"publish": {"claim": {"path": "other"}}}, False, "another place"),
    ({"quality": {}}, False, "a report"),
    ({"format": "jsonl", "conversations": {}}, False, "rows that must be conversations"),
    ({"format": "csv", "transform": {"drop": ["id"]}}, False, "other columns"),
    ({"format": "csv", "layout": {"bedrock": {"customization": "FineTuning"}}}, False, "other files"),
]


@pytest.mark.parametrize(("change", "same", "reason"), PRINTS, ids=[p[-1] for p in PRINTS])
def test_a_fingerprint_names_what_the_content_is_made_from(change: Object, same: bool, reason: str) -> None:
    before, after = fingerprint(typed_dataset(), ""), fingerprint(typed_dataset(**change), "")
    assert (before == after) is same, reason
    assert len(after) == 12


def test_a_source_that_changed_has_another_fingerprint() -> None:
    assert fingerprint(typed_dataset(), "1") != fingerprint(typed_dataset(), "2")


def test_a_later_version_with_a_new_field_reads_nothing_again() -> None:
    class Later(DatasetSpec):
        later: str = Field(default="anything", description="x")

    assert fingerprint(Later.model_validate(dataset_spec()), "") == fingerprint(typed_dataset(), "")


# -- status --------------------------------------------------------------------------------------------------------------


def after(old: Object, made: Outcome) -> Object:
    new = desired_status(old, made, 1, "2026-01-01T12:00:00Z")
    assert problems(structural(DatasetStatus), new) == []
    return new


def published(old: Object | None = None, **change: Any) -> Outcome:
    return say.published(old or {}, PRINT, {**REPORT, **change}, "data")


def conditions(made: Outcome) -> Object:
    return {v.type: (v.status, v.reason) for v in made.conditions}


def test_what_was_published_is_told() -> None:
    made = after({"progressPercent": 40, "externalID": "j"}, published({}))
    told = ("digest", "version", "rows", "bytes", "columnCount", "sourceFingerprint")
    assert {name: made[name] for name in told} == {
        "digest": "sha256:content",
        "version": "0123456789ab",
        "rows": 100,
        "bytes": 2000,
        "columnCount": 1,
        "sourceFingerprint": PRINT,
    }
    assert [(s["name"], s["claim"], s["path"]) for s in made["splits"]] == [
        ("train", "data", "corpus/0123456789ab/train.txt"),
        ("validation", "data", "corpus/0123456789ab/validation.txt"),
    ]
    assert {"progressPercent", "externalID"}.isdisjoint(made)
    assert conditions(published()) == {"Ready": ("True", "Published")}


def test_what_is_read_in_place_has_no_parts() -> None:
    made = after({}, say.published({}, PRINT, {**REPORT, "splits": {}, "version": None}, None))
    assert {"splits", "version"}.isdisjoint(made)


# digest before, event, reason
EVENTS = [
    (None, ["Published"], "content that is new"),
    ("sha256:content", [], "the same content once more"),
    ("sha256:old", ["DigestChanged"], "other content"),
]


@pytest.mark.parametrize(("before", "events", "reason"), EVENTS, ids=[e[-1] for e in EVENTS])
def test_a_change_of_content_is_an_event(before: str | None, events: list[str], reason: str) -> None:
    assert [e.reason for e in published({"digest": before} if before else {}).events] == events, reason


def test_a_dataset_that_did_not_change_says_the_same_again() -> None:
    made = after({}, published())
    assert merge_patch(made, after(made, say.unchanged(made))) == {}


# examples, minimum, warned, reason
EXAMPLES = [(99, 100, True, "one too few"), (100, 100, False, "enough")]


@pytest.mark.proves("15.3")
@pytest.mark.parametrize(("examples", "minimum", "warned", "reason"), EXAMPLES, ids=[e[-1] for e in EXAMPLES])
def test_too_few_examples_are_a_warning_that_stays(examples: int, minimum: int, warned: bool, reason: str) -> None:
    counted = {"droppedTurns": 0, "rewrittenExamples": 0, "longestTokens": 7}
    first = published(conversations={"examples": examples, "minimum": minimum, **counted})
    again = say.unchanged(after({}, first))
    for made in (first, again):
        assert conditions(made)["Ready"] == ("True", "Published"), "a warning stops nothing"
        assert conditions(made).get("ExamplesWarning") == (("True", "TooFewExamples") if warned else None), reason
    assert after({}, first)["conversations"]["examples"] == examples


def laid_out(below: int) -> Object:
    fewest = [{"label": label, "documents": count} for label, count in (("a", 11), ("b", 12), ("c", 13), ("d", 14), ("e", 15))]
    return {"name": "ComprehendCSV", "records": 99, "classes": 9, "recommended": 200, "belowRecommended": below, "fewest": fewest}


# labels below what is recommended, end of the message or None, reason
FEW: list[tuple[int, str | None, str]] = [
    (0, None, "there are enough of each"),
    (2, "recommended: 'a' has 11, 'b' has 12", "those with too few are named"),
    (7, "'e' has 15 and 2 more", "as many as the report names"),
]


@pytest.mark.parametrize(("below", "message", "reason"), FEW, ids=[case[-1] for case in FEW])
def test_few_documents_of_a_label_are_a_warning_that_stays(below: int, message: str | None, reason: str) -> None:
    first = published(layout=laid_out(below))
    for made in (first, say.unchanged(after({}, first))):
        assert conditions(made)["Ready"] == ("True", "Published"), "a warning stops nothing"
        warned = [v for v in made.conditions if v.type == "ExamplesWarning"]
        assert [v.reason for v in warned] == ([] if message is None else ["FewDocuments"]), reason
        assert all(v.message.endswith(message or "") for v in warned), reason
    assert after({}, first)["layout"]["fewest"][0] == {"label": "a", "documents": 11}


def test_reading_is_progress_and_a_worker_that_waits_says_why() -> None:
    works = say.reading(Observed(PRINT, JOB, percent=40))
    assert conditions(works) == {"Ready": ("False", "Reading"), "Reconciling": ("True", "Reading")}
    made = after({}, works)
    assert (made["progressPercent"], made["externalID"]) == (40, "corpus-111111-aaaabbbb")
    waits = say.reading(Observed(PRINT, JOB, trouble="the worker is not scheduled: 0/2"))
    assert conditions(waits)["Ready"] == ("False", "WorkerWaits")
    assert waits.conditions[0].message == "the worker is not scheduled: 0/2"


# -- quality ---------------------------------------------------------------------------------------------------------------

QUALITY: Object = {
    "mode": "Full",
    "measuredRows": 100,
    "duplicateRows": 3,
    "missingShare": "0.0300",
    "findings": {"high": 1, "medium": 0, "low": 2},
    "worst": [
        {"check": "MissingValues", "severity": "High", "column": "comments", "value": "0.9000"},
        {"check": "DuplicateRows", "severity": "Low", "value": "0.0300"},
    ],
    "problemType": "Binary",
    "bestFeature": {"column": "work_interfere", "power": "0.6000"},
}
WHERE = {"path": "corpus/reports/0123456789ab-11111111", "files": {}}
GATED: Object = {
    "ok": False,
    "reason": "TooManyMissingValues",
    "message": "column 'comments': 90 % of its values are missing, the limit is 20 %",
    "quality": QUALITY,
    "report": WHERE,
}


@pytest.mark.proves("06.2")
def test_a_finding_of_high_severity_is_a_condition_and_stops_nothing() -> None:
    made = published(quality=QUALITY, report=WHERE)
    assert conditions(made) == {"Ready": ("True", "Published"), "QualityWarning": ("True", "HighSeverityFindings")}
    assert made.conditions[1].message == "High severity: MissingValues of 'comments' 0.9000"
    told = after({}, made)
    assert told["quality"] == QUALITY
    assert told["report"] == {
        "claim": "data",
        "html": "corpus/reports/0123456789ab-11111111/report.html",
        "json": "corpus/reports/0123456789ab-11111111/report.json",
    }
    assert merge_patch(told, after(told, say.unchanged(told))) == {}, "and it stays"


def test_a_report_without_high_findings_is_no_warning() -> None:
    calm = {**QUALITY, "findings": {"high": 0, "medium": 1, "low": 0}}
    assert conditions(published(quality=calm, report=WHERE)) == {"Ready": ("True", "Published")}


def test_a_shut_gate_keeps_what_was_published_before_and_shows_the_report() -> None:
    before = after({}, published())
    made = say.failed(before, GATED, "data")
    assert conditions(made)["Ready"] == ("False", "TooManyMissingValues")
    assert made.conditions[0].message == GATED["message"]
    told = after(before, made)
    assert told["report"]["html"].endswith("report.html")
    assert (told["digest"], told["splits"]) == (before["digest"], before["splits"]), "running jobs read on"


def test_every_folder_ever_published_is_remembered_once() -> None:
    first = after({}, published(quality=QUALITY, report=WHERE))
    again = after(first, published(first, quality=QUALITY, report=WHERE))
    parts = {"data": {**REPORT["splits"]["train"], "path": "corpus/ffffffffffff/data.txt"}}
    second = after(again, published(again, splits=parts, digest="sha256:other"))
    assert [f["path"] for f in second["published"]] == ["corpus/0123456789ab", WHERE["path"], "corpus/ffffffffffff"]
    assert {f["claim"] for f in second["published"]} == {"data"}


def test_a_status_remembers_a_hundred_folders() -> None:
    old = {"published": [{"claim": "data", "path": f"corpus/{n}"} for n in range(100)]}
    told = after(old, published(old))
    assert len(told["published"]) == 100
    assert told["published"][-1]["path"] == "corpus/0123456789ab"


def test_reading_back_is_told_apart_from_reading() -> None:
    assert conditions(say.reading(Observed(PRINT, JOB, REPORT, reader=READER)))["Ready"] == ("False", "ReadingBack")


@pytest.mark.parametrize("reason", sorted(say.CONTENT_REASONS.keys() - say.AGAIN))
def test_content_that_is_wrong_is_a_humans_business(reason: str) -> None:
    made = say.failed({}, {**FAILED, "reason": reason}, "data")
    assert conditions(made) == {"Ready": ("False", reason), "Stalled": ("True", reason)}
    assert made.conditions[0].message == FAILED["message"]
    assert [(e.reason, e.type) for e in made.events] == [(reason, "Warning")]
    assert "sourceFingerprint" not in after(DONE, made), "a mended content is read again"


@pytest.mark.parametrize("report", [{}, {"ok": False}, {"ok": False, "reason": "NoSuchReason"}])
def test_a_worker_that_says_nothing_known_has_failed(report: Object) -> None:
    made = say.failed({}, report, "data")
    assert conditions(made)["Stalled"] == ("True", "WorkerFailed")
    assert made.conditions[0].message


def test_a_suspended_dataset_waits_for_its_worker_to_stop() -> None:
    assert say.suspended(gone=False).requeue_after == 5
    assert say.suspended(gone=True).requeue_after is None
    assert conditions(say.suspended(gone=True)) == {"Ready": ("False", "Suspended")}


def test_only_a_missing_source_is_told_in_words_of_its_own() -> None:
    told = say.explain(dataset(), SourceNotFound("ConfigMap 'x' does not exist"))
    assert told is not None
    assert told[0].reason == "SourceNotFound"
    assert say.explain(dataset(), Retry("x")) is None


def test_every_reason_is_documented_once() -> None:
    assert len({r.name for r in say.REASONS}) == len(say.REASONS)
    assert all(r.meaning.endswith(".") and r.next_step for r in say.REASONS)
