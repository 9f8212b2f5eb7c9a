"""Which model an endpoint serves: only one that was read back, and never an older one than it already has."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_controllers.modelendpoint.models import ModelNotReady, revision, target
from support.builders import MODEL_DIGEST, merged, typed_endpoint

Object = dict[str, Any]
BY_JOB = {"model": {"uri": None, "digest": None, "trainingJobRef": {"name": "gpt"}}}
OLD = {"uri": "claim://results/old", "digest": "sha256:" + "0" * 64, "trainingJob": "gpt", "runID": "1"}
NEW = {"uri": "claim://results/gpt/model", "digest": MODEL_DIGEST}


def ended(status: str = "True", reason: str = "Succeeded", **fields: Any) -> Object:
    said = {"type": "Succeeded", "status": status, "reason": reason, "message": ""}
    return {"metadata": {"name": "gpt"}, "status": {"conditions": [said], **fields}}


# the TrainingJob, the endpoint's own status, uri that is served, note, reason
SERVED: list[tuple[Object | None, Object, str, str | None, str]] = [
    (ended(model=NEW, runID="2"), {}, NEW["uri"], None, "a run that was read back is served"),
    (ended(model=NEW, runID="2"), {"model": OLD}, NEW["uri"], None, "a newer run that was read back takes over"),
    (ended("Unknown", "Running"), {"model": OLD}, OLD["uri"], "Running", "while it runs again the old model stays"),
    (ended("False", "RankFailed"), {"model": OLD}, OLD["uri"], "RankFailed", "a run that failed moves nothing"),
    (None, {"model": OLD}, OLD["uri"], "does not exist", "the model outlives the job that made it"),
    (ended("True", "Succeeded"), {"model": OLD}, OLD["uri"], "Succeeded", "success without a model is no model"),
]


@pytest.mark.parametrize(("job", "status", "uri", "note", "reason"), SERVED, ids=[s[-1] for s in SERVED])
def test_the_model_that_is_served(job: Object | None, status: Object, uri: str, note: str | None, reason: str) -> None:
    found = target(typed_endpoint(**BY_JOB), status, lambda _: job)
    assert found.uri == uri, reason
    assert (note is None and found.note is None) or (note or "") in (found.note or ""), reason


# the TrainingJob, the endpoint's own status, words of the message, reason
MISSING: list[tuple[Object | None, Object, str, str]] = [
    (None, {}, "does not exist", "there is no such job"),
    (ended("Unknown", "Running"), {}, "Running", "its first run is under way"),
    ({"metadata": {"name": "gpt"}}, {}, "nobody has looked", "it was created just now"),
    (None, {"model": merged(OLD, {"trainingJob": "another"})}, "does not exist", "what another job made is no stand-in"),
]


@pytest.mark.parametrize(("job", "status", "words", "reason"), MISSING, ids=[m[-1] for m in MISSING])
def test_without_a_model_it_says_what_it_waits_for(job: Object | None, status: Object, words: str, reason: str) -> None:
    with pytest.raises(ModelNotReady, match=words):
        target(typed_endpoint(**BY_JOB), status, lambda _: job)


# change of the spec, digest, whether another revision follows, reason
REVISIONS: list[tuple[Object, str, bool, str]] = [
    ({}, MODEL_DIGEST, False, "nothing changed"),
    ({"kubernetes": {"replicas": 5}}, MODEL_DIGEST, False, "more pods are the same pods"),
    ({"suspend": True}, MODEL_DIGEST, False, "suspension keeps what there is"),
    ({"deletionPolicy": "Retain"}, MODEL_DIGEST, False, "a policy is not in the pods"),
    ({"kubernetes": {"port": 8080}}, MODEL_DIGEST, False, "a default that is written out is the same spec"),
    ({}, "sha256:" + "b" * 64, True, "another model"),
    ({"kubernetes": {"port": 9000}}, MODEL_DIGEST, True, "another port"),
    ({"probe": {"request": {"path": "/v1/models", "method": "GET"}}}, MODEL_DIGEST, True, "another golden request"),
    ({"serviceAccountName": "reader"}, MODEL_DIGEST, True, "another service account"),
]


@pytest.mark.parametrize(("change", "digest", "differs", "reason"), REVISIONS, ids=[r[-1] for r in REVISIONS])
def test_pods_are_replaced_only_where_what_they_are_made_from_changed(
    change: Object, digest: str, differs: bool, reason: str
) -> None:
    before = revision(typed_endpoint(), "claim://results/gpt/model", MODEL_DIGEST)
    assert (revision(typed_endpoint(**change), "claim://results/gpt/model", digest) != before) is differs, reason
