"""What a TrainingJob says of itself: from a decision and what was observed to conditions and fields. Pure.

Its reasons live here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from millrace.aws import costs
from millrace.engine import conditions, reasons
from millrace.engine.clock import seconds_since, stamp
from millrace.engine.errors import Refused
from millrace.engine.outcome import Event, Outcome, Verdict
from millrace.engine.reasons import Reason
from millrace_controllers.trainingjob import instances, plan, progress
from millrace_controllers.trainingjob.errors import LicenceNotAccepted, NotTrainable, UnfitForAlgorithm
from millrace_controllers.trainingjob.observed import JobState, Observed, ResolvedInput
from millrace_controllers.trainingjob.plan import Decision, End, running_seconds
from millrace_controllers.trainingjob.state import State

Object = dict[str, Any]

STARTING = Reason("Starting", "The attempt's pods are being made and started.", "Wait.")
QUEUED = Reason("Queued", "The queue has not admitted the run yet, or has taken it back.", "Wait, or look at the queue's quota.")
PENDING = Reason(
    "Pending",
    "Pods wait for a node; the message is the scheduler's.",
    "Wait for capacity, or change what the spec asks for. After gangTimeoutSeconds the group gives back what it holds.",
)
PODS_REFUSED = Reason(
    "PodsRefused",
    "The cluster refuses to make the pods: a quota, a LimitRange, Pod Security or a webhook.",
    "Change the policy or the quota that the message names; the run goes on by itself.",
)
IMAGE_NOT_PULLED = Reason(
    "ImageNotPulled",
    "A container cannot be made: its image cannot be pulled, or a ConfigMap or Secret it needs is missing.",
    "Mend the registry, the pull secret or the name. A wrong image needs a new object: a started run is what it is.",
)
GANG_UNSCHEDULABLE = Reason(
    "GangUnschedulable",
    "Not all pods could be placed in time, so none was kept; it is tried again later, which does not count as a restart.",
    "Read the message for what was short; lower nodes or the instance type, or add capacity.",
)
INPUT_NOT_READY = Reason(
    "InputNotReady",
    "A Dataset that the run reads is missing, not Ready, or has not the split.",
    "Look at that Dataset; the run starts by itself when it is Ready.",
)
RUNNING = Reason("Running", "All pods of the attempt run.", "Watch status.progress, or millrace logs.")
RESTARTING = Reason(
    "Restarting",
    "The group was stopped after a fault and starts again from the last committed checkpoint.",
    "Nothing; status.restarts has the cause. Repeated faults of one node: look at status.nodesAvoided.",
)
VERIFYING = Reason("Verifying", "All ranks ended well; a reader pod re-hashes what they left.", "Wait.")
SUCCEEDED = Reason("Succeeded", "The run is complete and its model was read back.", "Use status.model.")
ALREADY_DONE = Reason(
    "AlreadyDone",
    "The output holds the record of this very run: the object was deleted and made again. It was not run again.",
    "Use status.model. To run again, set another spec.runID.",
)
RESTARTS_EXHAUSTED = Reason(
    "RestartsExhausted",
    "The run failed more often than limits.maxRestarts allows.",
    "Read the message for the last failure; mend it and set a new spec.runID.",
)
DEADLINE_EXCEEDED = Reason(
    "DeadlineExceeded",
    "The running time of all attempts passed limits.maxRuntimeSeconds.",
    "Raise the limit, or train less, under a new spec.runID.",
)
CAPACITY_ENDED = Reason(
    "CapacityEnded",
    "The capacity block ends and the run was stopped in time, with a checkpoint where the program makes one.",
    "Book new capacity and start a new run.",
)
BAD_COMMAND = Reason(
    "BadCommand",
    "The container's command does not exist in the image or cannot be executed.",
    "Correct command and args (or the image) under a new spec.runID.",
)
INVALID_IMAGE = Reason("InvalidImage", "The image's name is not a valid reference.", "Correct it under a new spec.runID.")
NAN_LOSS = Reason(
    "NaNLoss",
    "The loss became NaN or infinite; another attempt would only repeat it.",
    "Lower the learning rate, look at the data or the precision, and set a new spec.runID.",
)

JOB_REFUSED = Reason(
    "JobRefused",
    "SageMaker could not run the job as it was asked for; the message is its own, and another attempt would only repeat it.",
    "Correct what the message names under a new spec.runID.",
)
LICENCE_NOT_ACCEPTED = Reason(
    "LicenceNotAccepted",
    "The hub's model is gated, and its licence was not accepted; nothing was made.",
    "Read the licence that the message names and set spec.sageMaker.algorithm.jumpStart.acceptEULA: true.",
)
NOT_TRAINABLE = Reason(
    "NotTrainable",
    "The hub's model cannot be tuned: its card supports no training, or misses what a job is made of; nothing was made.",
    "Choose a model of the hub whose card says TrainingSupported, or tune it by an image or a script of your own.",
)
UNFIT_FOR_ALGORITHM = Reason(
    "UnfitForAlgorithm",
    "The algorithm, or the hub's model, does not take an instance type, hyperparameter or channel of the spec, or misses one; "
    "nothing was made.",
    "Correct what the message names; the run starts by itself.",
)
COST_EXCEEDED = Reason(
    "CostExceeded",
    "The run has cost limits.maxCostUSD by the operator's price table and was stopped.",
    "Raise the limit, or train less, under a new spec.runID.",
)
NO_CAPACITY = Reason(
    "NoCapacity",
    "AWS had no instances of the type to give. The next of spec.sageMaker.instanceTypes is tried, and after the last one the "
    "first again, after a pause; none of this counts as a restart.",
    "Wait, or name more instance types, or another region's account, under a new object.",
)

_AGAIN = "Mend it and set a new spec.runID."
REPORTED = {
    r.name: r
    for r in (
        NAN_LOSS,
        Reason("InputMissing", "An input's file or folder is not there.", "Put it there or correct spec.inputs. " + _AGAIN),
        Reason("InputUnreadable", "An input may not be read by the pod's user, or is not what the program expects.", _AGAIN),
        Reason("OutputNotWritable", "The output or checkpoint folder cannot be written by the pod's user.", _AGAIN),
        Reason("CheckpointUnreadable", "The committed checkpoint cannot be loaded.", "Restore or remove it. " + _AGAIN),
        Reason("BadParameter", "spec.parameters has an unknown name or a value that is not allowed.", _AGAIN),
        Reason("DeviceCount", "The pods have another number of devices than the spec asks for.", _AGAIN),
        Reason("OutOfMemory", "The device's memory does not suffice.", "Lower the batch or the model's size. " + _AGAIN),
        Reason("RecordMissing", "All ranks ended well, but the run record is not in the output.", _AGAIN),
        Reason("ModelCorrupt", "The model's files are not those that the run record tells of.", "Look at the claim. " + _AGAIN),
        Reason("CheckpointCorrupt", "The committed checkpoint's files are not those of its pointer.", _AGAIN),
        Reason("OutputEmpty", "All ranks ended with exit code 0, but the output folder is empty.", _AGAIN),
        Reason("OutputUnreadable", "The output could not be read back.", _AGAIN),
    )
}

BY_STATE = {
    State.STARTING: STARTING,
    State.QUEUED: QUEUED,
    State.PENDING: PENDING,
    State.PODS_REFUSED: PODS_REFUSED,
    State.IMAGE_NOT_PULLED: IMAGE_NOT_PULLED,
    State.GANG_UNSCHEDULABLE: GANG_UNSCHEDULABLE,
    State.INPUT_NOT_READY: INPUT_NOT_READY,
    State.RUNNING: RUNNING,
    State.RESTARTING: RESTARTING,
    State.VERIFYING: VERIFYING,
    State.SUSPENDED: reasons.SUSPENDED,
    State.SUCCEEDED: SUCCEEDED,
    State.ALREADY_DONE: ALREADY_DONE,
    State.RESTARTS_EXHAUSTED: RESTARTS_EXHAUSTED,
    State.DEADLINE_EXCEEDED: DEADLINE_EXCEEDED,
    State.CAPACITY_ENDED: CAPACITY_ENDED,
    State.BAD_COMMAND: BAD_COMMAND,
    State.INVALID_IMAGE: INVALID_IMAGE,
    State.NAN_LOSS: NAN_LOSS,
    State.JOB_REFUSED: JOB_REFUSED,
    State.COST_EXCEEDED: COST_EXCEEDED,
    State.NO_CAPACITY: NO_CAPACITY,
}
_OF_ERROR: dict[type[BaseException], Reason] = {
    UnfitForAlgorithm: UNFIT_FOR_ALGORITHM,
    LicenceNotAccepted: LICENCE_NOT_ACCEPTED,
    NotTrainable: NOT_TRAINABLE,
}
_OWN = (*BY_STATE.values(), *_OF_ERROR.values(), *REPORTED.values())
REASONS = tuple({r.name: r for r in _OWN if r is not reasons.SUSPENDED}.values())

AT_ONCE = 0.1
"""Seconds to the pass that acts on what this one wrote down: our own write wakes nobody."""

_NEEDS_A_HUMAN = frozenset({State.PODS_REFUSED, State.IMAGE_NOT_PULLED})
_DONE = frozenset({State.SUCCEEDED, State.ALREADY_DONE})


def reason_of(decision: Decision) -> Reason:
    """The documented reason of a decision."""
    if decision.state is State.REPORTED:
        return REPORTED[str((decision.report or {})["reason"])]
    return BY_STATE[decision.state]


def verdicts(decision: Decision, message: str) -> tuple[Verdict, ...]:
    """Succeeded, and beside it Reconciling while it can end by itself, Stalled when a human must act."""
    name = reason_of(decision).name
    if decision.state in _DONE:
        return (Verdict("Succeeded", "True", name, message),)
    if decision.final:
        return Verdict("Succeeded", "False", name, message), Verdict("Stalled", "True", name, message)
    made = [Verdict("Succeeded", "Unknown", name, message)]
    if decision.state is not State.SUSPENDED:
        made.append(Verdict("Reconciling", "True", name, message))
    if decision.state in _NEEDS_A_HUMAN:
        made.append(Verdict("Stalled", "True", name, message))
    return tuple(made)


def outcome(decision: Decision, old: Object, observed: Observed, lineage: Object | None, run_id: str, now: datetime) -> Outcome:
    """The status after a decision, before it is carried out."""
    fields: Object = {"runID": run_id}
    fields.update(_attempt_fields(decision, old, observed, now))
    fields.update(progress.fields(old, observed, now))
    if lineage is not None:
        fields["lineage"] = lineage
    if decision.end is not None:
        fields.update(_ended(decision.end, old, observed, now))
    if decision.final:
        fields.update(_final(decision, old, observed, now))
    if observed.instance_type:
        fields["cost"] = _cost({**old, **fields}, observed, now)
    message = _message(decision)
    written_down = decision.end is not None or decision.final
    return Outcome(
        verdicts(decision, message), fields, _events(decision, old, message), AT_ONCE if written_down else decision.look_again
    )


def _cost(status: Object, observed: Observed, now: datetime) -> Object | None:
    """Nothing where a part of it is not known: a sum without it would look like all of it."""
    so_far, runs = plan.accrued(observed, status, now), observed.current.job is JobState.ACTIVE
    if so_far is None:
        return None
    return costs.fields(observed.hourly if runs else Decimal(0), estimated=observed.estimated, accrued=so_far)


def _message(decision: Decision) -> str:
    if decision.state not in _DONE:
        return decision.message
    model = (decision.report or {}).get("model") or {}
    what = f"{model.get('files', 0)} files, {model.get('bytes', 0)} bytes"
    if decision.state is State.ALREADY_DONE:
        return f"The output already holds this run's model ({what}), read back"
    return f"The model was read back ({what})"


def _attempt_fields(decision: Decision, old: Object, observed: Observed, now: datetime) -> Object:
    attempt = observed.current
    if attempt.job is JobState.MISSING:
        return {}
    fields: Object = {"attempt": attempt.number, "externalID": attempt.job_name, "startTime": old.get("startTime") or stamp(now)}
    if attempt.cloud is not None and attempt.cloud.instance_type:
        fields["instanceType"] = attempt.cloud.instance_type
    if attempt.job is JobState.SUSPENDED:  # pods that the queue takes back run on for their grace
        if old.get("attemptStartTime"):
            fields.update({"attemptStartTime": None, "runningSeconds": running_seconds(old, now)})
    elif attempt.all_started and not old.get("attemptStartTime"):
        fields["attemptStartTime"] = stamp(now)
    return fields


def _ended(end: End, old: Object, observed: Observed, now: datetime) -> Object:
    """What is remembered of an attempt that is over, before anything of it is taken down."""
    restarts = dict(old.get("restarts") or {"count": 0, "uncounted": 0})
    if end.counted is not None:
        which = "count" if end.counted else "uncounted"
        restarts[which] = int(restarts.get(which) or 0) + 1
    restarts.update({"lastCause": end.cause, "lastFaultTime": stamp(now)})
    restarts.pop("recoverySeconds", None)
    fields: Object = {
        "attempt": observed.current.number,
        "endedAttempt": observed.current.number,
        "externalID": None,
        "attemptStartTime": None,
        "runningSeconds": running_seconds(old, now) or None,
        "usage": instances.used(old, observed, now),
        "restarts": restarts,
        "retryAfter": stamp(now + timedelta(seconds=end.retry_after_seconds)) if end.retry_after_seconds else None,
    }
    if end.passed_over is not None:
        fields["passedOver"] = [{"instanceType": name, "reason": why} for name, why in end.passed_over] or None
    if end.avoid:
        fields["nodesAvoided"] = sorted({*(old.get("nodesAvoided") or ()), *end.avoid})
    return fields


def _final(decision: Decision, old: Object, observed: Observed, now: datetime) -> Object:
    """The attempt is told even where its Job went before the status told of it: the next run counts on from it."""
    fields: Object = {"attempt": observed.current.number, "completionTime": stamp(now), "retryAfter": None}
    fields["attemptStartTime"] = None
    fields["runningSeconds"] = running_seconds(old, now) or None
    fields["usage"] = instances.used(old, observed, now)
    report = decision.report or {}
    if decision.state in _DONE:
        fields.update(progress.final_fields(old, report))
    return fields


def _events(decision: Decision, old: Object, message: str) -> tuple[Event, ...]:
    before: Object = next((c for c in old.get("conditions") or () if c["type"] == "Succeeded"), {})
    name = reason_of(decision).name
    if decision.end is not None and not decision.final and decision.state is not State.SUSPENDED:
        return (Event(decision.end.cause, message, "Warning"),)
    if before.get("reason") == name:
        return ()
    return (Event(name, message, "Warning" if decision.final and decision.state not in _DONE else "Normal"),)


def warned(warnings: tuple[str, ...]) -> tuple[Event, ...]:
    """An Event for each thing that will run as asked but was probably not meant."""
    return tuple(Event("PossiblyNotMeant", text, "Warning") for text in warnings)


def lineage(inputs: tuple[ResolvedInput, ...], digests: Object, image_digest: str | None, old: Object | None) -> Object:
    """What the model is made from; what was pinned at the first start stays."""
    made = dict(old or {})
    if inputs and not made.get("inputs"):
        made["inputs"] = [_input(i) for i in inputs]
    made.update(digests)
    if image_digest:
        made["imageDigest"] = image_digest
    return made


def _input(found: ResolvedInput) -> Object:
    made: Object = {"name": found.name, "path": f"claim://{found.claim}/{found.path}" if found.claim else found.path}
    if found.dataset:
        made["dataset"] = found.dataset
    if found.digest:
        made["digest"] = found.digest
    return made


def settled(old: Object) -> Outcome:
    """A finished run of which nothing is left to take down: what was said of its end."""
    return Outcome(tuple(v for v in conditions.held(old) if v.type != "Reconciling"))


NEW_RUN = (
    "attempt", "completionTime", "attemptStartTime", "progress", "metrics", "checkpoint", "model", "lineage", "restarts",
    "retryAfter", "runningSeconds", "externalID", "startTime", "instanceType", "passedOver", "usage", "cost", "licence",
)  # fmt: skip
"""Fields that a new run begins without. Attempt numbers go on, from `endedAttempt`: they are never reused.

Without an attempt the run has not started, and what does not fit may yet be changed.
"""


def new_run(run_id: str, old: Object) -> Outcome:
    """A new spec.runID after the end: forget the old run, keep counting attempts."""
    fields: Object = {**dict.fromkeys(NEW_RUN), "runID": run_id, "endedAttempt": old.get("attempt")}
    name, message = STARTING.name, f"Run {run_id!r} begins"
    said = (Verdict("Succeeded", "Unknown", name, message), Verdict("Reconciling", "True", name, message))
    return Outcome(said, fields, (Event("NewRun", message),), requeue_after=AT_ONCE)


def deleting(message: str, old: Object) -> Outcome:
    """Being taken down; how a run ended stays true meanwhile."""
    name = reasons.DELETING.name
    goes = Verdict("Reconciling", "True", name, message)
    if old.get("completionTime"):
        ended = tuple(v for v in settled(old).conditions if v.type != goes.type)
        return Outcome((*ended, goes), requeue_after=5)
    return Outcome((Verdict("Succeeded", "Unknown", name, message), goes), requeue_after=5)


def explain(obj: Object, error: BaseException) -> tuple[Verdict, ...] | None:
    """The shared reasons say enough of most errors, but an error while tidying up changes nothing of how a run ended."""
    if (obj.get("status") or {}).get("completionTime") and not obj["metadata"].get("deletionTimestamp"):
        return conditions.after_the_end(obj, error)
    if isinstance(error, Refused) and type(error) in _OF_ERROR:
        name = _OF_ERROR[type(error)].name
        return Verdict("Succeeded", "False", name, error.message), Verdict("Stalled", "True", name, error.message)
    return None


def ttl_left(status: Object, ttl: int | None, now: datetime) -> float | None:
    """Seconds until the ended pods go; 0 when they may go now, None for never."""
    done = status.get("completionTime")
    return None if ttl is None or not done else max(0.0, ttl - (seconds_since(done, now) or 0.0))
