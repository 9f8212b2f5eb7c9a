"""Decides what a TrainingJob needs next. Pure: what was observed goes in, one decision comes out.

An attempt that is over is written into status (`endedAttempt`, counters, cause) before anything is taken down, and the next
attempt is always number `endedAttempt` + 1: so a crash between any two writes neither repeats a count nor skips a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from millrace.api.v1alpha1.trainingjob import Faults, KubernetesTraining, Limits, TrainingJobSpec
from millrace.aws import costs
from millrace.engine.clock import moment, seconds_since
from millrace_controllers.trainingjob import faults, instances
from millrace_controllers.trainingjob.observed import Attempt, CloudJob, JobState, Observed, Verification
from millrace_controllers.trainingjob.state import State

Object = dict[str, Any]

CAPACITY_MARGIN = timedelta(minutes=45)
_RETRY_BASE_SECONDS = 10
_RETRY_LIMIT_SECONDS = 600
_WAITING_SECONDS = 60.0
_CLOUD_SECONDS = 1800.0
"""Between two looks at a cloud job that nothing was heard of: 500 jobs must cost less than a call a second."""


_CREATED_SECONDS = 15.0
_STATES_OF_PAUSES = {"GangUnschedulable": State.GANG_UNSCHEDULABLE, **dict.fromkeys(faults.NO_CAPACITY, State.NO_CAPACITY)}


class Do(Enum):
    """What to do."""

    NOTHING = "nothing"
    START = "start"
    VERIFY = "verify"
    CLEAR = "clear"
    """Take down attempts that are over (or not wanted) and wait until they are gone."""


@dataclass(frozen=True)
class End:
    """The current attempt is over: why, whether it counts as a restart (None: it is none), and which nodes failed."""

    cause: str
    counted: bool | None = None
    avoid: tuple[str, ...] = ()
    retry_after_seconds: float = 0.0
    passed_over: instances.PassedOver | None = None
    """Instance types without capacity that are remembered from now on; None leaves it as it is."""


@dataclass(frozen=True)
class Decision:
    """One thing to do and what to say."""

    do: Do
    state: State
    message: str = ""
    end: End | None = None
    final: bool = False
    report: Object | None = None
    look_again: float | None = None


def decide(spec: TrainingJobSpec, status: Object, observed: Observed, now: datetime) -> Decision:
    """The next thing for a TrainingJob that is neither deleted nor finished."""
    attempt = observed.current
    if spec.suspend and attempt.job is not JobState.COMPLETE and not attempt.already_done:
        return _suspend(attempt, observed)
    if observed.verification is not None:
        return _verified(observed.verification, status)
    if attempt.job is JobState.MISSING:
        return _between(spec, status, observed, now)
    return _judge(spec, status, observed, now)


def _suspend(attempt: Attempt, observed: Observed) -> Decision:
    if attempt.job is not JobState.MISSING:
        return Decision(Do.CLEAR, State.SUSPENDED, "The pods are being stopped", End("Suspended", passed_over=()))
    if observed.leftovers:
        return Decision(Do.CLEAR, State.SUSPENDED, f"Waiting for the end of {observed.leftovers[0]}", look_again=5)
    return Decision(Do.NOTHING, State.SUSPENDED, "Nothing runs; checkpoints and results are kept")


def _verified(found: Verification, status: Object) -> Decision:
    """The reader pod's word is the last one."""
    if found.report is None:
        return Decision(Do.VERIFY, State.VERIFYING, found.trouble or "The results are being read back", look_again=15)
    if found.report.get("ok"):
        other = found.report.get("recordUID")
        done_before = other is not None and other != found.uid
        state = State.ALREADY_DONE if done_before else State.SUCCEEDED
        return Decision(Do.CLEAR, state, final=True, report=found.report)
    return Decision(Do.CLEAR, State.REPORTED, str(found.report.get("message")), final=True, report=found.report)


def _between(spec: TrainingJobSpec, status: Object, observed: Observed, now: datetime) -> Decision:
    """No attempt runs: start the next one when everything it needs is there."""
    number = observed.current.number
    told = status.get("attempt") == number and status.get("externalID") and status.get("runID", "") == (spec.run_id or "")
    # Pods without their Job: it was deleted before the status told of it, and what it left may still run.
    if told or observed.current.pods:
        end = End("JobDeleted", counted=False, retry_after_seconds=_after_deletion(status))
        return Decision(Do.NOTHING, State.RESTARTING, "The attempt's Job was deleted by somebody else", end, look_again=0.1)
    if capacity_ending(spec, now):
        return _capacity_ended(status)
    if observed.leftovers:
        return Decision(Do.CLEAR, State.RESTARTING, f"Waiting for the end of {observed.leftovers[0]}", look_again=5)
    if observed.missing_input:
        return Decision(Do.NOTHING, State.INPUT_NOT_READY, observed.missing_input, look_again=60)
    wait = -(seconds_since(status.get("retryAfter"), now) or 0.0)
    if wait > 0:
        state = _STATES_OF_PAUSES.get(str(_last_cause(status)), State.RESTARTING)
        return Decision(Do.NOTHING, state, f"Attempt {number} starts after a pause: see status.retryAfter", look_again=wait)
    # A cloud job is not watched before it was seen: it is looked for soon, even if nobody tells of it.
    soon = _CREATED_SECONDS if spec.sage_maker else None
    return Decision(Do.START, State.STARTING, f"Attempt {number} is being started", look_again=soon)


def _judge(spec: TrainingJobSpec, status: Object, observed: Observed, now: datetime) -> Decision:
    """An attempt exists: is it over, and what does that mean?"""
    attempt = observed.current
    if attempt.job is JobState.DELETING:
        end = End("JobDeleted", counted=False, retry_after_seconds=_after_deletion(status))
        return Decision(Do.CLEAR, State.RESTARTING, "The attempt's Job was deleted by somebody else", end)
    if attempt.already_done or attempt.job is JobState.COMPLETE:
        return Decision(Do.VERIFY, State.VERIFYING, "The results are being read back", look_again=15)
    if capacity_ending(spec, now):
        return _capacity_ended(status)
    limited = _is_billed(attempt)
    if limited and _past_deadline(spec, status, now):
        limit = (spec.limits or Limits()).max_runtime_seconds
        return _fail(State.DEADLINE_EXCEEDED, f"The run took longer than limits.maxRuntimeSeconds, {limit} s")
    if limited and _over_cost(spec, status, observed, now):
        dear = (spec.limits or Limits()).max_cost_usd
        return _fail(State.COST_EXCEEDED, f"The run has cost limits.maxCostUSD, {dear} USD, and was stopped")
    fault = faults.find(spec, status, observed, now)
    if fault is not None:
        return _after_fault(spec, status, observed, fault)
    if attempt.cloud is not None:
        return _in_the_cloud(spec, status, observed, attempt.cloud, now)
    return _alive(spec, attempt, now)


def _is_billed(attempt: Attempt) -> bool:
    """Limits of time and cost are for what runs: not for a job that has ended, nor for one that waits for spare capacity."""
    return attempt.cloud is None or (attempt.job is JobState.ACTIVE and attempt.cloud.phase not in faults.WAITS_FOR_CAPACITY)


def _after_fault(spec: TrainingJobSpec, status: Object, observed: Observed, fault: faults.Fault) -> Decision:
    if fault.fatal:
        return _fail(fault.state, fault.message, fault.report, fault.cause)
    if fault.cause in faults.NO_CAPACITY:
        return _without_capacity(spec, status, observed, fault)
    limit = (spec.limits or Limits()).max_restarts
    count = int((status.get("restarts") or {}).get("count") or 0)
    if fault.counted and count >= limit:
        message = f"{fault.message} (and limits.maxRestarts, {limit}, is used up)"
        return _fail(State.RESTARTS_EXHAUSTED, message, None, fault.cause)
    avoid = fault.nodes if (_faults(spec).avoid_bad_nodes) else ()
    end = End(fault.cause, fault.counted, avoid, _pause(status, fault))
    return Decision(Do.CLEAR, fault.state, fault.message, end, look_again=0.1)


def _without_capacity(spec: TrainingJobSpec, status: Object, observed: Observed, fault: faults.Fault) -> Decision:
    """The next instance type at once; after the last one a pause, that grows from round to round."""
    types = (spec.sage_maker.instance_types if spec.sage_maker else None) or [observed.instance_type]
    over = instances.after(types, instances.passed_over(status), observed.instance_type, fault.message)
    told = f"{fault.message}; {instances.in_line(types, over)[0]} is tried next" if over else fault.message
    rounds = int((status.get("restarts") or {}).get("uncounted") or 0) // len(types)
    end = End(fault.cause, counted=False, retry_after_seconds=0.0 if over else _growing(rounds), passed_over=over)
    return Decision(Do.CLEAR, fault.state, told, end, look_again=0.1)


def _pause(status: Object, fault: faults.Fault) -> float:
    """Seconds before the next attempt: none after a first fault, doubling while attempts get nowhere.

    A disruption of a group that ran is followed at once; one that comes before the group ever ran may come again and again.
    """
    restarts = status.get("restarts") or {}
    uncounted = int(restarts.get("uncounted") or 0)
    if fault.cause == "GangUnschedulable":
        return _growing(uncounted)
    if fault.counted:
        return _growing(int(restarts.get("count") or 0) - 1)
    if fault.cause in faults.PAID_AGAIN:
        return _growing(uncounted - 1)
    return 0.0 if status.get("attemptStartTime") else _growing(uncounted - 1)


def _after_deletion(status: Object) -> float:
    """No pause the first time; somebody who keeps deleting the Job meets a growing one."""
    return _growing(int((status.get("restarts") or {}).get("uncounted") or 0) - 1) if _last_cause(status) == "JobDeleted" else 0.0


def _growing(before: int) -> float:
    return float(min(_RETRY_LIMIT_SECONDS, _RETRY_BASE_SECONDS * 2 ** min(before, 8))) if before >= 0 else 0.0


def _fail(state: State, message: str, report: Object | None = None, cause: str | None = None) -> Decision:
    return Decision(Do.CLEAR, state, message, End(cause or _camel(state)), final=True, report=report)


def _alive(spec: TrainingJobSpec, attempt: Attempt, now: datetime) -> Decision:
    """The attempt is on its way, or waits for something."""
    if attempt.job is JobState.SUSPENDED:
        queue = spec.kubernetes.queue_name if spec.kubernetes else None
        return Decision(Do.NOTHING, State.QUEUED, f"Waiting for admission by the queue {queue!r}")
    if attempt.refusal:
        return Decision(Do.NOTHING, State.PODS_REFUSED, attempt.refusal, look_again=15)
    if attempt.stuck:
        return Decision(Do.NOTHING, State.IMAGE_NOT_PULLED, attempt.stuck, look_again=15)
    if attempt.all_ended_well:
        return Decision(Do.NOTHING, State.RUNNING, "All ranks ended well; their pods are being closed", look_again=15)
    running = sum(pod.running or (pod.exit is not None and pod.exit.code == 0) for pod in attempt.pods)
    if running == attempt.nodes:
        return Decision(
            Do.NOTHING, State.RUNNING, f"Attempt {attempt.number} runs on {running} of {attempt.nodes} nodes", look_again=15
        )
    soon = _look_at_the_waiting(spec, attempt)
    if attempt.unschedulable:
        return Decision(Do.NOTHING, State.PENDING, attempt.unschedulable, look_again=soon)
    return Decision(Do.NOTHING, State.STARTING, f"{running} of {attempt.nodes} pods run", look_again=soon)


def _in_the_cloud(spec: TrainingJobSpec, status: Object, observed: Observed, job: CloudJob, now: datetime) -> Decision:
    """Nothing has to be asked for: an event or the shared listing wakes. But a limit of cost has to be met in time."""
    message = f"Attempt {observed.current.number}: {job.phase or 'InProgress'}{f': {job.message}' if job.message else ''}"
    state = State.RUNNING if job.started else State.STARTING
    return Decision(Do.NOTHING, state, message, look_again=_until_too_dear(spec, status, observed, now))


def _until_too_dear(spec: TrainingJobSpec, status: Object, observed: Observed, now: datetime) -> float:
    limit = (spec.limits or Limits()).max_cost_usd
    if limit is None or not observed.hourly or not observed.current.all_started:
        return _CLOUD_SECONDS
    left = (Decimal(limit) - (_known_cost(observed, status, now) or Decimal(0))) / observed.hourly * 3600
    return max(1.0, min(_CLOUD_SECONDS, float(left) + 1))


def _look_at_the_waiting(spec: TrainingJobSpec, attempt: Attempt) -> float:
    """Seconds. Nobody tells us why pods are not made; those that are made wake us, and only the gang's time has to be watched."""
    if len(attempt.pods) < attempt.nodes:
        return 5.0
    left = (spec.kubernetes or KubernetesTraining()).gang_timeout_seconds - attempt.age_seconds
    return min(_WAITING_SECONDS, left + 0.1) if left > 0 else _WAITING_SECONDS


def capacity_ending(spec: TrainingJobSpec, now: datetime) -> bool:
    """Whether the capacity block ends within 45 minutes (EC2 stops its instances 30 minutes before the end)."""
    placement = spec.kubernetes.placement if spec.kubernetes else None
    block = placement.capacity_block if placement else None
    return block is not None and now >= moment(block.end_time) - CAPACITY_MARGIN


def _capacity_ended(status: Object) -> Decision:
    step = (status.get("checkpoint") or {}).get("step")
    kept = f"the checkpoint of step {step} is kept" if step is not None else "no checkpoint was committed before"
    return _fail(State.CAPACITY_ENDED, f"The capacity block ends within 45 minutes and the run was stopped: {kept}")


def _past_deadline(spec: TrainingJobSpec, status: Object, now: datetime) -> bool:
    limit = (spec.limits or Limits()).max_runtime_seconds
    return limit is not None and running_seconds(status, now) > limit


def running_seconds(status: Object, now: datetime) -> int:
    """Running time of all attempts so far, the current one included, in seconds."""
    current = seconds_since(status.get("attemptStartTime"), now) or 0.0
    return int(status.get("runningSeconds") or 0) + int(current)


def accrued(observed: Observed, status: Object, now: datetime) -> Decimal | None:
    """US dollars of the running time so far; None where a part of it has no price."""
    each = _costs(observed, status, now)
    known = [cost for cost in each if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(each) else None


def _known_cost(observed: Observed, status: Object, now: datetime) -> Decimal | None:
    """US dollars that the run has cost at least; None where nothing of it has a price."""
    known = [cost for cost in _costs(observed, status, now) if cost is not None]
    return sum(known, Decimal(0)) if known else None


def _costs(observed: Observed, status: Object, now: datetime) -> list[Decimal | None]:
    """Of the attempts on each instance type that ended, and of the current one."""
    current = (observed.instance_type, seconds_since(status.get("attemptStartTime"), now) or 0.0)
    ended = [(u["instanceType"], u["seconds"]) for u in status.get("usage") or ()]
    return [costs.of_time(observed.prices.get(name), seconds) for name, seconds in (*ended, current)]


def _over_cost(spec: TrainingJobSpec, status: Object, observed: Observed, now: datetime) -> bool:
    limit = (spec.limits or Limits()).max_cost_usd
    return costs.exceeds(_known_cost(observed, status, now), limit)


def _last_cause(status: Object) -> str | None:
    return (status.get("restarts") or {}).get("lastCause")


def _faults(spec: TrainingJobSpec) -> Faults:
    return (spec.kubernetes.faults if spec.kubernetes else None) or Faults()


def _camel(state: State) -> str:
    return "".join(word.capitalize() for word in state.name.split("_"))
