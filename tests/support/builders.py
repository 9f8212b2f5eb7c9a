"""Objects in the states that tests talk of; what a test does not name is as ordinary as can be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from millrace.api.v1alpha1.dataset import DatasetSpec
from millrace.api.v1alpha1.modelendpoint import ModelEndpointSpec
from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace.engine.clock import stamp
from millrace.engine.progress import Push
from millrace.kube import labels
from millrace_controllers.trainingjob.observed import Attempt, Exit, JobState, Observed, RankPod, Verification
from support.clock import BEGIN

Object = dict[str, Any]
UID = "11111111-2222-3333-4444-555555555555"
NAMESPACE = "team-a"


def merged(base: Object, change: Object) -> Object:
    """A deep merge; None removes."""
    made = dict(base)
    for key, value in change.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict) and isinstance(made.get(key), dict):
            made[key] = merged(made[key], value)
        else:
            made[key] = value
    return made


def _object(kind: str, name: str, spec: Object, status: Object | None, metadata: Object | None) -> Object:
    made: Object = {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "10",
            "finalizers": [labels.FINALIZER],
            **(metadata or {}),
        },
        "spec": spec,
    }
    return {**made, "status": status} if status is not None else made


def training_spec(**change: Any) -> Object:
    """Two nodes of our own runtime; keys are API names."""
    base: Object = {
        "output": {"claim": {"name": "results", "path": "gpt"}},
        "kubernetes": {"runtime": "nemo", "nodes": 2},
    }
    return merged(base, change)


def typed_training(**change: Any) -> TrainingJobSpec:
    """The same, parsed."""
    return TrainingJobSpec.model_validate(training_spec(**change))


FOREIGN = {"kubernetes": {"runtime": None, "image": "example.test/trainer:1", "command": ["python", "train.py"]}}
"""Change of a training spec: an image that is not ours."""


def training_job(status: Object | None = None, metadata: Object | None = None, name: str = "gpt", **change: Any) -> Object:
    """A TrainingJob as the API server gives it."""
    return _object("TrainingJob", name, training_spec(**change), status, metadata)


def dataset_spec(**change: Any) -> Object:
    """A text on a claim, published to another."""
    base: Object = {
        "source": {"claim": {"name": "raw", "path": "text"}},
        "format": "text",
        "publish": {"claim": {"name": "data", "path": "corpus"}},
    }
    return merged(base, change)


def typed_dataset(**change: Any) -> DatasetSpec:
    """The same, parsed."""
    return DatasetSpec.model_validate(dataset_spec(**change))


def dataset(status: Object | None = None, metadata: Object | None = None, name: str = "corpus", **change: Any) -> Object:
    """A Dataset as the API server gives it."""
    return _object("Dataset", name, dataset_spec(**change), status, metadata)


def ready_dataset(name: str = "corpus", splits: tuple[str, ...] = ("train", "validation"), **change: Any) -> Object:
    """A Dataset whose content is published."""
    parts = [
        {"name": s, "claim": "data", "path": f"corpus/abc/{s}.txt", "rows": 1, "bytes": 2, "digest": "sha256:0"} for s in splits
    ]
    ready = {"type": "Ready", "status": "True", "reason": "Published", "message": "", "observedGeneration": 1}
    status = {"observedGeneration": 1, "conditions": [ready], "digest": "sha256:content", "splits": parts}
    return dataset(status, name=name, **change)


def child(owner: Object, kind: str, name: str, role: str, attempt: int | None, **more: Any) -> Object:
    """Something that we made for an object."""
    made: Object = {
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "uid": f"uid-of-{name}",
            "resourceVersion": "20",
            "creationTimestamp": stamp(BEGIN),
            "labels": labels.child_labels(owner, role, attempt),
            "ownerReferences": [labels.owner_reference(owner)],
        },
    }
    return merged(made, more)


def condition(type_: str, status: str = "True", reason: str = "", message: str = "") -> Object:
    """A condition of a Job, pod or node."""
    return {"type": type_, "status": status, "reason": reason, "message": message}


def job(owner: Object, attempt: int = 1, *conditions: Object, role: str = "train", **more: Any) -> Object:
    """An attempt's Job, whose pods could be made from BEGIN on."""
    made = child(owner, "Job", labels.child_name(owner, attempt), role, attempt)
    made.update({"spec": {}, "status": {"startTime": stamp(BEGIN), "conditions": list(conditions)}})
    return merged(made, more)


def pod(
    owner: Object, index: int = 0, attempt: int = 1, *, phase: str = "Pending", node: str | None = None, **more: Any
) -> Object:
    """A rank's pod; `node` is where it was bound."""
    name = f"{labels.child_name(owner, attempt)}-{index}-xyzab"
    made = child(owner, "Pod", name, "train", attempt)
    made["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
    made.update({"spec": {"nodeName": node} if node else {}, "status": {"phase": phase}})
    return merged(made, more)


def container(name: str = "train", **state: Any) -> Object:
    """A container's status: running={}, waiting={...} or terminated={...}."""
    return {"name": name, "state": state, "imageID": "example.test/trainer@sha256:image"}


def running_pod(owner: Object, index: int = 0, attempt: int = 1, node: str = "node-1", **more: Any) -> Object:
    """A rank that trains."""
    status = {"containerStatuses": [container(running={"startedAt": stamp(BEGIN)})]}
    return merged(pod(owner, index, attempt, phase="Running", node=node, status=status), more)


def ended_pod(
    owner: Object, index: int = 0, attempt: int = 1, code: int = 1, message: str = "", reason: str = "Error", **more: Any
) -> Object:
    """A rank that has ended."""
    ended = {"exitCode": code, "reason": reason if code else "Completed", "message": message}
    status = {"containerStatuses": [container(terminated=ended)]}
    phase = "Failed" if code else "Succeeded"
    return merged(pod(owner, index, attempt, phase=phase, node="node-1", status=status), more)


def node(name: str = "node-1", *conditions: Object) -> Object:
    """A node, Ready unless conditions say otherwise."""
    said = list(conditions) or [condition("Ready")]
    return {"kind": "Node", "metadata": {"name": name, "uid": f"uid-of-{name}"}, "status": {"conditions": said}}


def said(reason: str, message: str = "it went wrong", **more: Any) -> str:
    """A termination message in the words of the contract."""
    return json.dumps({"schema": 1, "reason": reason, "message": message, **more})


def push(rank: int = 0, **change: Any) -> Push:
    """A report of a rank in mid-training, received now (0 on the operator's monotonic clock)."""
    base = Push(
        uid=UID,
        attempt=1,
        rank=rank,
        phase="training",
        step=120,
        max_steps=400,
        metrics={"loss": 3.25},
        tokens_per_second=5120.0,
        step_seconds=0.5,
        checkpoint=None,
        message=None,
        received=0.0,
        step_changed=0.0,
    )
    return replace(base, **change)


def ago(seconds: float, now: datetime = BEGIN) -> str:
    """A stamp that many seconds before now."""
    return stamp(now - timedelta(seconds=seconds))


# -- what plan.py and status.py see --------------------------------------------------------------------------------------


def rank(index: int = 0, **change: Any) -> RankPod:
    """A rank that trains on a node of its own."""
    base: Object = {"index": index, "name": f"gpt-111111-1-{index}-xyzab", "node": f"node-{index}", "scheduled": True}
    return RankPod(**{**base, "running": True, **change})


def waiting_rank(index: int = 0, **change: Any) -> RankPod:
    """A rank that has no node yet."""
    return rank(index, **{"node": None, "scheduled": False, "running": False, **change})


def ended_rank(index: int = 0, code: int = 1, reason: str = "Error", message: str = "", **change: Any) -> RankPod:
    """A rank whose program has ended."""
    report = json.loads(message) if message.startswith("{") else None
    ended = Exit(code, reason if code else "Completed", message, report, change.pop("at", None))
    return rank(index, **{"running": False, "exit": ended, **change})


def stopped_rank(index: int = 0, reason: str = "InputMissing", text: str = "it is not there", **change: Any) -> RankPod:
    """A rank whose preflight has failed with a report."""
    ended = Exit(1, "Error", said(reason, text), json.loads(said(reason, text)))
    return rank(index, **{"running": False, "preflight": ended, **change})


def attempt(*ranks: RankPod, number: int = 1, nodes: int = 2, job: JobState = JobState.ACTIVE, **change: Any) -> Attempt:
    """An attempt of two nodes; without ranks both train."""
    ranks = ranks or (rank(0), rank(1))
    return Attempt(number, nodes, job, **{"job_name": f"gpt-111111-{number}", "pods": ranks, **change})


def no_attempt(number: int = 1) -> Attempt:
    """No Job is there."""
    return Attempt(number, 2)


def observed(current: Attempt | None = None, **change: Any) -> Observed:
    """A run as it was seen; by default it trains."""
    pushes = {p.rank: p for p in change.pop("pushes", ())}
    return Observed(current or attempt(), pushes=pushes, **change)


def verified(**change: Any) -> Verification:
    """The reader pod's word: all is well."""
    model = {"uri": "claim://results/gpt/model", "digest": "sha256:m", "files": 3, "bytes": 1234}
    saved = {"step": 400, "path": "s", "uri": "claim://results/gpt/checkpoints/s", "committedAt": ago(10), "attempt": 1}
    report = {"schema": 1, "ok": True, "model": model, "checkpoint": saved, "metrics": {"loss": 1.5}, "steps": 400}
    return Verification(UID, {**report, "recordUID": UID, **change})


def not_verified(reason: str = "ModelCorrupt") -> Verification:
    """The reader pod's word: something is wrong."""
    return Verification(UID, {"schema": 1, "ok": False, "reason": reason, "message": "one byte differs"})


# -- endpoints -------------------------------------------------------------------------------------------------------

MODEL_DIGEST = "sha256:" + "a" * 64


def endpoint_spec(**change: Any) -> Object:
    """Two pods of our own server for a model on a claim; keys are API names."""
    base: Object = {"model": {"uri": "claim://results/gpt/model", "digest": MODEL_DIGEST}, "kubernetes": {"replicas": 2}}
    return merged(base, change)


def typed_endpoint(**change: Any) -> ModelEndpointSpec:
    """The same, parsed."""
    return ModelEndpointSpec.model_validate(endpoint_spec(**change))


def endpoint(status: Object | None = None, metadata: Object | None = None, name: str = "chat", **change: Any) -> Object:
    """A ModelEndpoint as the API server gives it."""
    return _object("ModelEndpoint", name, endpoint_spec(**change), status, metadata)
