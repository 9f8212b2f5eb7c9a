"""Where things lie: one rule for every pod, and digests that name a run for as long as it lives."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from millrace.api.v1alpha1.trainingjob import KubernetesTraining, TrainingJobSpec
from millrace_controllers.trainingjob.backends.kubernetes import layout
from millrace_controllers.trainingjob.observed import ResolvedInput
from support.builders import training_job, training_spec, typed_training

Object = dict[str, Any]


def volumes(*given: Object) -> Object:
    return {"kubernetes": {"volumes": list(given)}}


def claim(name: str, path: str = "") -> Object:
    return {"claim": {"name": name, "path": path}}


# spec, output directory, output uri, checkpoint directory, reason
PLACES: list[tuple[Object, str, str, str, str]] = [
    ({}, "/millrace/claims/results/gpt", "claim://results/gpt", "/millrace/claims/results/gpt/checkpoints", "the rule"),
    (
        {"output": {"claim": {"path": ""}}}, "/millrace/claims/results", "claim://results",
        "/millrace/claims/results/checkpoints", "the root of a claim",
    ),
    (
        {"checkpoint": claim("fast", "a/b")}, "/millrace/claims/results/gpt", "claim://results/gpt", "/millrace/claims/fast/a/b",
        "checkpoints on a claim of their own",
    ),
    (
        volumes({"claim": "results", "mountPath": "/fsx"}), "/fsx/gpt", "claim://results/gpt", "/fsx/gpt/checkpoints",
        "a volume may name another path; the uri does not tell of it",
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", PLACES, ids=[p[-1] for p in PLACES])
def test_where_results_and_checkpoints_go(row: Any) -> None:
    spec, directory, uri, checkpoints, reason = row
    typed = typed_training(**spec)
    assert layout.output(typed).directory == directory, reason
    assert layout.output(typed).uri == uri
    assert layout.checkpoints(typed).directory == checkpoints


def test_a_uri_of_something_in_a_folder() -> None:
    place = layout.output(typed_training())
    assert place.child("model") == "claim://results/gpt/model"
    assert place.child(".") == place.child("") == "claim://results/gpt"


def test_every_claim_is_mounted_once_and_inputs_are_read_only_unless_results_go_there() -> None:
    spec = typed_training(**volumes({"claim": "scratch"}), checkpoint=claim("fast"))
    inputs = (ResolvedInput("train", "data", "x"), ResolvedInput("more", "data", "y"), ResolvedInput("old", "results", "z"))
    made = {m.claim: (m.path, m.read_only) for m in layout.mounts(spec, inputs)}
    assert made == {
        "scratch": ("/millrace/claims/scratch", False),
        "results": ("/millrace/claims/results", False),
        "fast": ("/millrace/claims/fast", False),
        "data": ("/millrace/claims/data", True),
    }
    assert layout.input_path(spec, inputs[0]) == "/millrace/claims/data/x"


# -- digests -------------------------------------------------------------------------------------------------------------

# change, reason
SAME: list[tuple[Object, str]] = [
    ({"suspend": True}, "to stop and go on is the same run"),
    ({"limits": {"maxRestarts": 9}}, "limits may be raised"),
    ({"ttlSecondsAfterFinished": 5}, "what becomes of pods later is no part of it"),
    ({"deletionPolicy": "Retain", "dataPolicy": "Delete", "serviceAccountName": "other"}, "nor are policies"),
    ({"runID": "second"}, "the run's name stands beside it in the record"),
    ({"kubernetes": {"imagePullPolicy": "IfNotPresent", "gangTimeoutSeconds": 600}}, "a default that is written out"),
]


@pytest.mark.parametrize(("change", "reason"), SAME, ids=[s[-1] for s in SAME])
def test_the_digest_of_a_run_ignores(change: Object, reason: str) -> None:
    assert layout.spec_digest(typed_training(**change)) == layout.spec_digest(typed_training()), reason


# change, reason
DIFFERENT: list[tuple[Object, str]] = [
    ({"parameters": {"lr": "1"}}, "parameters"),
    ({"inputs": [{"name": "train", "datasetRef": {"name": "c"}}]}, "inputs"),
    ({"output": {"claim": {"path": "other"}}}, "the output"),
    ({"checkpoint": {"everySteps": 5}}, "how often it saves"),
    ({"kubernetes": {"image": "x:2"}}, "the image"),
    ({"kubernetes": {"nodes": 3}}, "the number of nodes"),
]


@pytest.mark.parametrize(("change", "reason"), DIFFERENT, ids=[d[-1] for d in DIFFERENT])
def test_the_digest_of_a_run_changes_with(change: Object, reason: str) -> None:
    assert layout.spec_digest(typed_training(**change)) != layout.spec_digest(typed_training()), reason


def test_the_order_of_parameters_is_nothing() -> None:
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert layout.spec_digest(typed_training(parameters=one)) == layout.spec_digest(typed_training(parameters=other))
    assert layout.parameters_digest(typed_training(parameters=one)) == layout.parameters_digest(typed_training(parameters=other))
    assert layout.parameters_digest(typed_training()) != layout.parameters_digest(typed_training(parameters=one))


def test_a_later_version_with_a_new_field_makes_no_other_run_of_one_under_way() -> None:
    class LaterKubernetes(KubernetesTraining):
        later: str = Field(default="anything", description="x")

    class LaterSpec(TrainingJobSpec):
        kubernetes: LaterKubernetes | None = None

    assert layout.spec_digest(LaterSpec.model_validate(training_spec())) == layout.spec_digest(typed_training())


def test_a_run_is_named_by_four_things_of_which_the_uid_is_none() -> None:
    job = training_job()
    named = layout.run(job, typed_training())
    assert named == {
        "name": "gpt",
        "namespace": "team-a",
        "runID": "",
        "specDigest": layout.spec_digest(typed_training()),
    }
