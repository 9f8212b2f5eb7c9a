"""Finds what went wrong with an attempt. Pure; the first fault of an ordered chain counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.api.v1alpha1.trainingjob import Faults, KubernetesTraining, TrainingJobSpec
from millrace.engine.clock import seconds_since
from millrace_controllers.trainingjob.observed import Attempt, JobState, Observed, RankPod
from millrace_controllers.trainingjob.state import State

Object = dict[str, Any]

FATAL_REPORTS = frozenset(
    {
        "NaNLoss", "InputMissing", "InputUnreadable", "OutputNotWritable", "CheckpointUnreadable", "BadParameter",
        "DeviceCount", "OutOfMemory",
    }
)  # fmt: skip
"""What a program or the preflight can report that another attempt would only repeat."""

_START_ERRORS = frozenset({"StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError"})
_SILENT_NODE_SECONDS = 30.0


@dataclass(frozen=True)
class Fault:
    """What went wrong. A fatal one ends the run; a counted one uses up a restart."""

    cause: str
    message: str
    state: State = State.RESTARTING
    counted: bool = True
    fatal: bool = False
    nodes: tuple[str, ...] = ()
    report: Object | None = None


def find(spec: TrainingJobSpec, status: Object, observed: Observed, now: datetime) -> Fault | None:
    """The first fault of the current attempt, or None. Pods that a queue takes back end as they must: that is no fault."""
    if observed.current.job is JobState.SUSPENDED:
        return None
    kubernetes = spec.kubernetes or KubernetesTraining()
    wanted = kubernetes.faults or Faults()
    chain: tuple[Callable[[], Fault | None], ...] = (
        lambda: _in_the_cloud(observed.current),
        lambda: _reported(observed.current),
        lambda: _bad_image(observed.current),
        lambda: _bad_command(observed.current),
        lambda: _bad_node(observed, wanted),
        lambda: _disrupted(observed.current),
        lambda: _nan(observed, wanted),
        lambda: _crashed(observed.current),
        lambda: _failed_job(observed.current),
        lambda: _hung(status, observed, wanted, now),
        lambda: _silent(kubernetes, status, observed, wanted, now),
        lambda: _unscheduled(kubernetes, status, observed.current),
    )
    return next((fault for check in chain if (fault := check()) is not None), None)


NO_CAPACITY = ("CapacityError", "MaxWaitTimeExceeded")
"""Causes that another attempt may cure after a pause, when AWS has instances again."""


def _fatal(cause: str, state: State) -> Callable[[str], Fault]:
    return lambda message: Fault(cause, message, state, fatal=True)


def _again(cause: str, *, counted: bool, state: State = State.RESTARTING) -> Callable[[str], Fault]:
    return lambda message: Fault(cause, message, state, counted=counted)


WAITS_FOR_CAPACITY = frozenset({"Interrupted", "Restarting", "Pending"})
"""Secondary states in which a training job on spare capacity has no instances."""
PAID_AGAIN = frozenset({"InternalServerError", "StoppedBySomebodyElse"})
"""Causes that are not counted, though each attempt after them starts instances: those come at growing distances."""
CLOUD_FAULTS: dict[str, Callable[[str], Fault]] = {
    "CapacityError": _again("CapacityError", counted=False, state=State.NO_CAPACITY),
    "MaxWaitTimeExceeded": _again("MaxWaitTimeExceeded", counted=False, state=State.NO_CAPACITY),
    "InternalServerError": _again("InternalServerError", counted=False),
    "AlgorithmError": _again("AlgorithmError", counted=True),
    "ClientError": _fatal("ClientError", State.JOB_REFUSED),
    "MaxRuntimeExceeded": _fatal("MaxRuntimeExceeded", State.DEADLINE_EXCEEDED),
    "Stopped": _again("StoppedBySomebodyElse", counted=False),
}
"""By what a failure reason of SageMaker begins with, or by the secondary status of a job that was stopped."""


def _in_the_cloud(attempt: Attempt) -> Fault | None:
    """A training job that ended without a model; what it says stands in the message as it is."""
    job = attempt.cloud
    if job is None or attempt.job is not JobState.FAILED:
        return None
    begins = next((word for word in CLOUD_FAULTS if job.failure.startswith(word)), job.phase)
    said = job.failure or job.message or f"the training job ended as {job.phase}"
    return CLOUD_FAULTS.get(begins, _again("JobFailed", counted=True))(said)


def _reported(attempt: Attempt) -> Fault | None:
    """The program or the preflight says what is wrong."""
    for pod in attempt.pods:
        for ended in (pod.preflight, pod.exit):
            report = ended.report if ended is not None and ended.code != 0 else None
            if report and report.get("reason") in FATAL_REPORTS:
                return Fault(str(report["reason"]), str(report.get("message")), State.REPORTED, fatal=True, report=report)
            if report and report.get("reason") == "Superseded":
                return Fault("Superseded", str(report.get("message")), counted=False)
    return None


def _bad_image(attempt: Attempt) -> Fault | None:
    if attempt.invalid_image is None:
        return None
    return Fault("InvalidImage", attempt.invalid_image, State.INVALID_IMAGE, fatal=True)


def _bad_command(attempt: Attempt) -> Fault | None:
    """A program that cannot be started at all, or that the shell did not find."""
    for pod in attempt.pods:
        if pod.exit is not None and (pod.exit.reason in _START_ERRORS or pod.exit.code in {126, 127}):
            message = f"pod {pod.name}: the command cannot be started: {pod.exit.message or pod.exit.reason}"
            return Fault("BadCommand", message, State.BAD_COMMAND, fatal=True)
    return None


def _bad_node(observed: Observed, wanted: Faults) -> Fault | None:
    """A node that is ill; one that only its kubelet has left goes on as long as its ranks report."""
    if "NodeCondition" not in wanted.detect:
        return None
    for pod in observed.current.pods:
        ended_well = pod.exit is not None and pod.exit.code == 0
        why = None if ended_well else observed.bad_nodes.get(pod.node or "")
        if why and not _still_reports(pod, observed):
            return Fault("NodeFault", f"node {pod.node} of rank {pod.index}: {why}", counted=False, nodes=(str(pod.node),))
    return None


def _still_reports(pod: RankPod, observed: Observed) -> bool:
    push = observed.newest_push(pod)
    return push is not None and observed.monotonic - push.received < _SILENT_NODE_SECONDS


def _disrupted(attempt: Attempt) -> Fault | None:
    """A pod that was evicted, preempted or deleted by somebody, finished or not."""
    for pod in attempt.pods:
        if pod.disrupted is not None:
            return Fault("Disrupted", f"pod {pod.name} was disrupted: {pod.disrupted}", counted=False)
    for pod in attempt.pods:
        if pod.deleting and not _follows_a_crash(pod, attempt):
            return Fault("PodDeleted", f"pod {pod.name} was deleted", counted=False)
    return None


def _follows_a_crash(deleted: RankPod, attempt: Attempt) -> bool:
    """Once a rank has crashed the Job controller deletes the others. A rank that fails after a deletion is its consequence."""
    crashes = [p.crash.at for p in attempt.pods if p.crash is not None and not p.deleting]
    return any(at is not None and deleted.deleted_at is not None and at <= deleted.deleted_at for at in crashes)


def _nan(observed: Observed, wanted: Faults) -> Fault | None:
    if "NaN" not in wanted.detect:
        return None
    for push in observed.pushes.values():
        for name, value in push.metrics.items():
            if name == "loss" and not math.isfinite(value):
                message = f"the loss is {value} at step {push.step}: lower the learning rate or look at the data"
                return Fault("NaNLoss", message, State.NAN_LOSS, fatal=True)
    return None


def _crashed(attempt: Attempt) -> Fault | None:
    for pod in attempt.pods:
        ended = pod.exit
        if ended is not None and ended.code != 0:
            said = _said(ended.report, ended.message)
            return Fault(
                "OOMKilled" if ended.reason == "OOMKilled" else "RankFailed",
                f"rank {pod.index} ({pod.name}) ended with exit code {ended.code} ({ended.reason}){said}",
            )
        if pod.preflight is not None and pod.preflight.code != 0:
            return Fault("PreflightFailed", f"the preflight of {pod.name} failed{_said(None, pod.preflight.message)}")
    return None


def _said(report: Object | None, message: str) -> str:
    text = str(report.get("message") or "") if report else message
    last = " | ".join(line for line in text.strip().splitlines()[-3:] if line.strip())
    return f": {last}" if last else ""


def _failed_job(attempt: Attempt) -> Fault | None:
    if attempt.job is not JobState.FAILED:
        return None
    return Fault("JobFailed", f"the attempt's Job failed: {attempt.failure or 'without a message'}")


def _hung(status: Object, observed: Observed, wanted: Faults, now: datetime) -> Fault | None:
    """Steps were reported and have stopped, though the ranks still report."""
    if "Hang" not in wanted.detect or not status.get("attemptStartTime"):
        return None
    newest = max(observed.pushes.values(), key=lambda p: p.step_changed, default=None)
    if newest is None or newest.step == 0 or newest.phase not in {"training", "starting"}:
        return None
    # After a queue took the pods back and gave them again, what was pushed before says nothing.
    still = min(observed.monotonic - newest.step_changed, seconds_since(status["attemptStartTime"], now) or 0.0)
    if still < wanted.hang_seconds:
        return None
    return Fault("Hang", f"no step after step {newest.step} for more than {wanted.hang_seconds} s")


def _silent(kubernetes: KubernetesTraining, status: Object, observed: Observed, wanted: Faults, now: datetime) -> Fault | None:
    """A rank of our runtimes that has not been heard of since it ran, or since this operator leads."""
    ran = seconds_since(status.get("attemptStartTime"), now)
    if "Heartbeat" not in wanted.detect or kubernetes.runtime != "nemo" or ran is None:
        return None
    since_start = min(ran, observed.monotonic - observed.board_since)
    for pod in observed.current.pods:
        push = observed.newest_push(pod)
        silence = since_start if push is None else min(since_start, observed.monotonic - push.received)
        if pod.running and silence > wanted.heartbeat_seconds:
            return Fault("HeartbeatLost", f"rank {pod.index} was not heard of for more than {wanted.heartbeat_seconds} s")
    return None


def _unscheduled(kubernetes: KubernetesTraining, status: Object, attempt: Attempt) -> Fault | None:
    """All or nothing: a group that is not whole in time gives back what it holds. One that has run was whole."""
    if status.get("attemptStartTime") or attempt.age_seconds <= kubernetes.gang_timeout_seconds:
        return None
    waiting = [p for p in attempt.pods if not p.scheduled]
    whole = len(attempt.pods) >= attempt.nodes and not waiting and not attempt.stuck
    if whole:
        return None
    why = attempt.stuck or attempt.refusal or attempt.unschedulable or "the pods were not all made"
    held = len(attempt.pods) - len(waiting)
    message = f"{held} of {attempt.nodes} pods could be placed within {kubernetes.gang_timeout_seconds} s: {why}"
    return Fault("GangUnschedulable", message, State.GANG_UNSCHEDULABLE, counted=False)
