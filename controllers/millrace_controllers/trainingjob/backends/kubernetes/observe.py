"""Turns Jobs, pods, nodes and Events into what plan.py understands. Pure but for the one look at Events."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from millrace.engine.clock import moment
from millrace.kube import pods
from millrace.kube.client import Client
from millrace.kube.resources import EVENTS
from millrace_controllers.trainingjob.backends.kubernetes.pod import PREFLIGHT, TRAIN
from millrace_controllers.trainingjob.observed import Attempt, Exit, JobState, RankPod

Object = dict[str, Any]

NODE_CONDITIONS = (
    "AcceleratedHardwareReady", "KernelReady", "NetworkingReady", "StorageReady", "ContainerRuntimeReady",
)  # fmt: skip
"""Conditions of the EKS node monitoring agent; False is a fault. Source: aws/eks-node-monitoring-agent v1.7.0."""

_CLOCKS_APART = timedelta(seconds=1)  # pods get their time from the API server, a Job's start is its controller's; whole seconds
_INVALID_IMAGE = frozenset({"InvalidImageName", "ErrImageNeverPull"})


def job_state(job: Object | None) -> JobState:
    """Where a Job is. We act on FailureTarget: Failed waits for pods that hang on a dead node."""
    if job is None:
        return JobState.MISSING
    if job["metadata"].get("deletionTimestamp"):
        return JobState.DELETING
    if pods.is_condition(job, "Complete"):
        return JobState.COMPLETE
    if pods.is_condition(job, "Failed") or pods.is_condition(job, "FailureTarget"):
        return JobState.FAILED
    return JobState.SUSPENDED if job["spec"].get("suspend") else JobState.ACTIVE


def attempt(number: int, nodes: int, job: Object | None, own: Iterable[Object], now: datetime) -> Attempt:
    """One attempt; `own` are its pods. Those that a queue took back before it gave the attempt its place again are over."""
    ranks = sorted((p for p in own if not _taken_back(p, job)), key=_index)
    return Attempt(
        number=number,
        nodes=nodes,
        job=job_state(job),
        job_name=job["metadata"]["name"] if job else None,
        pods=tuple(rank_pod(p) for p in ranks),
        age_seconds=_age(job, now),
        stuck=_stuck(ranks),
        invalid_image=_invalid_image(ranks),
        unschedulable=_unschedulable(ranks),
        failure=_failure(job),
        image_digest=_image_digest(ranks),
    )


def _index(pod: Object) -> int:
    return int((pod["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-completion-index") or 0)


def _age(job: Object | None, now: datetime) -> float:
    started = ((job or {}).get("status") or {}).get("startTime")
    return (now - moment(started)).total_seconds() if started else 0.0


def _taken_back(pod: Object, job: Object | None) -> bool:
    """Whether a pod that is being deleted is older than its Job's start.

    A Job that was given its place again has no start time until its controller has seen that. When the deletion began tells
    nothing: once a pod's grace is over, its kubelet deletes it anew, now.
    """
    if job is None or not pod["metadata"].get("deletionTimestamp"):
        return False
    started = (job.get("status") or {}).get("startTime")
    return not started or moment(started) - moment(pod["metadata"]["creationTimestamp"]) > _CLOCKS_APART


def _deleted_at(pod: Object) -> datetime | None:
    """When a deletion began: the timestamp says when its grace is over."""
    metadata = pod["metadata"]
    if not metadata.get("deletionTimestamp"):
        return None
    return moment(metadata["deletionTimestamp"]) - timedelta(seconds=int(metadata.get("deletionGracePeriodSeconds") or 0))


def rank_pod(pod: Object) -> RankPod:
    """One pod of an attempt."""
    status = pod.get("status") or {}
    scheduled = bool((pod.get("spec") or {}).get("nodeName"))
    return RankPod(
        index=_index(pod),
        name=pod["metadata"]["name"],
        node=(pod.get("spec") or {}).get("nodeName"),
        scheduled=scheduled,
        running=status.get("phase") == "Running" and _train_runs(status),
        deleting=bool(pod["metadata"].get("deletionTimestamp")),
        deleted_at=_deleted_at(pod),
        disrupted=_disruption(pod),
        exit=_exit(pods.termination(pod, TRAIN)),
        preflight=_exit(pods.termination(pod, PREFLIGHT)),
    )


def _train_runs(status: Object) -> bool:
    found = [c for c in status.get("containerStatuses") or () if c["name"] == TRAIN]
    return any((c.get("state") or {}).get("running") for c in found)


def _disruption(pod: Object) -> str | None:
    found = pods.condition(pod, "DisruptionTarget")
    if found is not None and found["status"] == "True":
        return str(found.get("message") or found.get("reason"))
    if (pod.get("status") or {}).get("reason") in {"Evicted", "Preempting", "NodeLost", "Shutdown"}:
        return str(pod["status"].get("message") or pod["status"]["reason"])
    return None


def _exit(ended: Object | None) -> Exit | None:
    if ended is None:
        return None
    message = str(ended.get("message") or "")
    at = moment(ended["finishedAt"]) if ended.get("finishedAt") else None
    return Exit(int(ended.get("exitCode") or 0), str(ended.get("reason") or ""), message, _report(message), at)


def _report(message: str) -> Object | None:
    """A termination message that is a report: a JSON object with a reason."""
    try:
        loaded = json.loads(message)
    except ValueError:
        return None
    return loaded if isinstance(loaded, dict) and isinstance(loaded.get("reason"), str) else None


def _stuck(ranks: Iterable[Object]) -> str | None:
    for pod in ranks:
        if found := pods.waiting(pod):
            return f"pod {pod['metadata']['name']}: {found['reason']}: {found.get('message') or 'no message'}"
    return None


def _invalid_image(ranks: Iterable[Object]) -> str | None:
    for pod in ranks:
        found = pods.waiting(pod)
        if found and found["reason"] in _INVALID_IMAGE:
            return f"{found['reason']}: {found.get('message') or 'no message'}"
    return None


def _unschedulable(ranks: Iterable[Object]) -> str | None:
    for pod in ranks:
        found = pods.condition(pod, "PodScheduled")
        if found is not None and found["status"] == "False":
            return str(found.get("message") or found.get("reason") or "not scheduled")
    return None


def _failure(job: Object | None) -> str | None:
    for type_ in ("Failed", "FailureTarget"):
        if job is not None and (found := pods.condition(job, type_)):
            return f"{found.get('reason')}: {found.get('message')}"
    return None


def _image_digest(ranks: Iterable[Object]) -> str | None:
    for pod in ranks:
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            if status["name"] == TRAIN and status.get("imageID"):
                return str(status["imageID"]).rsplit("@", 1)[-1]
    return None


def node_trouble(node: Object | None) -> str | None:
    """Why a node is not healthy; None where it is."""
    if node is None:
        return "the node is gone"
    ready = pods.condition(node, "Ready")
    if ready is not None and ready["status"] != "True":
        return f"not Ready ({ready.get('reason')})"
    for type_ in NODE_CONDITIONS:
        found = pods.condition(node, type_)
        if found is not None and found["status"] == "False":
            return f"{type_} is False ({found.get('reason')})"
    return None


async def refusal(client: Client, job: Object) -> str | None:
    """Why the cluster refuses to make the Job's pods; Kubernetes leaves no more than an Event. Raises ApiError."""
    metadata = job["metadata"]
    fields = f"involvedObject.uid={metadata['uid']},reason=FailedCreate"
    found = [e async for e in client.list_objects(EVENTS, metadata["namespace"], fields=fields)]
    if not found:
        return None
    newest = max(found, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return str(newest.get("message"))
