"""What DescribeTrainingJob says, in the words of plan.py. Pure."""

from __future__ import annotations

import math
from typing import Any

from millrace_controllers.trainingjob.observed import Attempt, CloudJob, JobState

Object = dict[str, Any]
STATES = {
    "InProgress": JobState.ACTIVE,
    "Stopping": JobState.ACTIVE,
    "Completed": JobState.COMPLETE,
    "Failed": JobState.FAILED,
    "Stopped": JobState.FAILED,
}
"""A job that is being stopped has not ended: how it ends says why."""
_RUNNING = frozenset({"InProgress", "Stopping"})


def attempt(number: int, nodes: int, described: Object | None) -> Attempt:
    """The attempt of a training job; None is one that does not exist."""
    if described is None:
        return Attempt(number, nodes)
    state = STATES.get(described["TrainingJobStatus"], JobState.ACTIVE)
    return Attempt(number, nodes, state, described["TrainingJobArn"], cloud=cloud_job(described))


def cloud_job(described: Object) -> CloudJob:
    """Its own words."""
    told = described.get("FinalMetricDataList") or ()
    metrics = {str(m["MetricName"]): float(m["Value"]) for m in told if math.isfinite(float(m.get("Value", "nan")))}
    return CloudJob(
        arn=described["TrainingJobArn"],
        phase=str(described.get("SecondaryStatus") or ""),
        message=last_message(described),
        failure=str(described.get("FailureReason") or ""),
        started=described.get("TrainingStartTime") is not None,
        metrics=metrics,
        instance_type=str((described.get("ResourceConfig") or {}).get("InstanceType") or ""),
        model_uri=str((described.get("ModelArtifacts") or {}).get("S3ModelArtifacts") or ""),
    )


def last_message(described: Object) -> str:
    """What the newest of its transitions says."""
    steps = described.get("SecondaryStatusTransitions") or ()
    return str(steps[-1].get("StatusMessage") or "") if steps else ""


def runs(described: Object | None) -> bool:
    """Whether it still costs."""
    return described is not None and described["TrainingJobStatus"] in _RUNNING


def seen(described: Object) -> str | None:
    """What compares with an entry of the shared list of jobs that run; None for one that is in it no more."""
    return entry(described) if runs(described) else None


def entry(summary: Object) -> str:
    """A job's state as a listing tells it."""
    changed = summary.get("LastModifiedTime")
    return f"{summary['TrainingJobStatus']} {changed.isoformat() if changed is not None else ''}"
