"""What a ModelEndpoint says of itself: pure functions from what was observed to conditions and fields. Its reasons live here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from millrace.engine import reasons
from millrace.engine.conditions import find, unharmed
from millrace.engine.outcome import Event, Outcome, Verdict
from millrace.engine.reasons import Reason
from millrace_controllers.modelendpoint import speed
from millrace_controllers.modelendpoint.errors import LicenceNotAccepted
from millrace_controllers.modelendpoint.observed import Fault, Observed, ServingPod, Target, Trouble

Object = dict[str, Any]

SERVING = Reason(
    "Serving", "Pods or instances that answered the golden request get requests.", "Nothing: `millrace ask NAME TEXT` asks it."
)
MODEL_NOT_READY = Reason(
    "ModelNotReady",
    "The TrainingJob that makes the model does not exist or has not succeeded.",
    "Wait for it, or look at it: kubectl describe trainingjob NAME. The endpoint goes on by itself.",
)
LOADING = Reason(
    "Loading",
    "Pods or instances start, load their model and are asked the golden request.",
    "Wait. If it stays, the pods' logs say what they do: millrace logs modelendpoint/NAME.",
)
ROLLING_OUT = Reason(
    "RollingOut",
    "New pods take over from old ones, one by one; old ones serve until then.",
    "Wait; status.traffic says who gets requests.",
)
PROBE_FAILED = Reason(
    "ProbeFailed",
    "The golden request was answered otherwise than expected. A new pod gets no other requests then, and the pods before it "
    "serve on; SageMaker has moved the traffic already.",
    "Read the answer in the message; mend the model or spec.probe, or go back to the model before.",
)
MODEL_REFUSED = Reason(
    "ModelRefused",
    "The model is not where it should be, or its files are not those that were asked for.",
    "Put the right files there, or correct spec.model; a TrainingJob that runs again makes new ones.",
)
SERVER_FAILED = Reason(
    "ServerFailed",
    "The server ended, or its model was not loaded in time.",
    "Read its log: millrace logs modelendpoint/NAME. More memory in spec.kubernetes.resources is the commonest cure.",
)
PODS_WAIT = Reason(
    "PodsWait",
    "A pod cannot start yet: no node has room, its image or volume is not there, or the API server refuses it.",
    "Read the message; mend the image, the claim, the quota or the capacity. The endpoint goes on by itself.",
)
ROLLED_BACK = Reason(
    "RolledBack",
    "SageMaker gave up an update and went back to the configuration before it, which serves on.",
    "Read the message and the log (millrace logs modelendpoint/NAME); a change of the spec is tried again.",
)
NO_CAPACITY = Reason(
    "CapacityUnavailable",
    "None of the instance types can be had now: AWS has no room, or the account no quota.",
    "Name more types in spec.sageMaker.instanceTypes, or ask for the quota that the message names (with quotaIncreases of the "
    "CloudAccount Millrace asks). It is tried again by itself.",
)
LICENCE_NOT_ACCEPTED = Reason(
    "LicenceNotAccepted",
    "The hub's model is gated, and its licence was not accepted; nothing was made.",
    "Read the licence that the message names and set spec.model.jumpStart.acceptEULA: true.",
)
OUTSIDE_HOURS = Reason(
    "OutsideHours",
    "It is not among the hours of spec.schedule: nothing runs, and nothing is billed.",
    "Wait, or change spec.schedule; without it the endpoint is always there.",
)
IDLE = Reason(
    "Idle",
    "Nobody asked it for spec.idleSeconds, and it was stopped: nothing runs, and nothing is billed.",
    'Start it when it is needed: kubectl annotate modelendpoint/NAME millrace.dev/start-at="$(date)" --overwrite. A change of '
    "the spec and the next opening of spec.schedule start it, too.",
)
NOTHING_SERVES = Reason("NothingServes", "No pod gets requests.", "The condition Ready says why.")
REASONS = (
    SERVING,
    MODEL_NOT_READY,
    LOADING,
    ROLLING_OUT,
    PROBE_FAILED,
    MODEL_REFUSED,
    SERVER_FAILED,
    PODS_WAIT,
    ROLLED_BACK,
    NO_CAPACITY,
    LICENCE_NOT_ACCEPTED,
    OUTSIDE_HOURS,
    IDLE,
    NOTHING_SERVES,
)

_OF_FAULT = {
    Fault.MODEL: MODEL_REFUSED,
    Fault.PROBE: PROBE_FAILED,
    Fault.SERVER: SERVER_FAILED,
    Fault.START: PODS_WAIT,
}
_NEEDS_SOMEBODY = frozenset({MODEL_REFUSED, PROBE_FAILED})
_WARNED = _NEEDS_SOMEBODY | {SERVER_FAILED}
_LOOK_AGAIN_SECONDS = 30.0
_AT_ONCE_SECONDS = 0.1


def outcome(target: Target, replicas: int, observed: Observed, old: Object, url: str) -> Outcome:
    """Conditions and fields of an endpoint whose model is known."""
    reason, message = _summary(target, replicas, observed)
    settled = reason in {SERVING, reasons.SUSPENDED}
    measured = observed.measured if observed.measured_revision == target.revision else None
    fields = {**_fields(target, replicas, observed, url), **speed.of_revision(old, target.revision, measured)}
    return Outcome(
        (*verdicts(reason, message), _available(observed)),
        fields,
        events(reason, message, target, old, _WARNED),
        requeue_after=None if settled else _LOOK_AGAIN_SECONDS,
    )


def by_the_hour(made: Outcome, seconds: float | None, rest: Reason | None) -> Outcome:
    """Looked at again when the hours change, and not called suspended where nobody suspended it but `rest` is why."""
    said = made.conditions
    if rest is not None:
        said = tuple(replace(v, reason=rest.name) if v.reason == reasons.SUSPENDED.name else v for v in said)
    return again(replace(made, conditions=said), seconds)


def again(made: Outcome, seconds: float | None) -> Outcome:
    """Looked at again after so many seconds at the latest."""
    due = [after for after in (made.requeue_after, seconds) if after is not None]
    return replace(made, requeue_after=min(due, default=None))


def with_fields(made: Outcome, fields: Object) -> Outcome:
    """The same, and these fields."""
    return replace(made, fields={**made.fields, **fields})


def unknown_use(made: Outcome, why: str) -> Outcome:
    """It serves, and nobody can tell whether anybody asks it."""
    noted = f"; whether it is idle is not known: {why}"
    said = tuple(replace(v, message=v.message + noted) if v.type == "Ready" else v for v in made.conditions)
    return again(replace(made, conditions=said), _LOOK_AGAIN_SECONDS)


def idle(made: Outcome, seconds: int, told: Object) -> Outcome:
    """Nobody asks it; said before it is stopped."""
    message = f"Nobody has asked it for {seconds} s (spec.idleSeconds): it is being stopped"
    kept = tuple(v for v in made.conditions if v.type == "Available")
    said = with_fields(replace(made, conditions=(*verdicts(IDLE, message), *kept)), {"idle": told})
    return replace(said, events=(*made.events, Event(IDLE.name, message)), requeue_after=_AT_ONCE_SECONDS)


def waiting(why: str, observed: Observed, *, suspended: bool) -> Outcome:
    """There is no model yet. The TrainingJob wakes the endpoint."""
    reason, message = (reasons.SUSPENDED, _suspended(observed)) if suspended else (MODEL_NOT_READY, why)
    return Outcome((*verdicts(reason, message), _available(observed)), {"traffic": traffic(observed.serving) or None})


def _summary(target: Target, replicas: int, observed: Observed) -> tuple[Reason, str]:
    if replicas == 0:
        return reasons.SUSPENDED, _suspended(observed)
    current = observed.of(target.revision)
    ready = sum(p.ready for p in current)
    before, serve = len(observed.serving) - ready, verb(ready, "serves", "serve")
    if ready >= replicas and not before:
        return SERVING, _noted(f"{count(ready)} {serve} {_shown(target, current)}", target)
    if (found := _worst(observed, current)) is not None:
        return _OF_FAULT[found.fault], _still(found.message, before)
    if before:
        return ROLLING_OUT, f"{ready} of {count(replicas)} {serve} {_shown(target, current)}; {before} before it"
    return LOADING, f"{ready} of {count(replicas)} {serve}"


def _suspended(observed: Observed) -> str:
    return f"{count(len(observed.pods))} {verb(len(observed.pods), 'is', 'are')} ending" if observed.pods else "Nothing runs"


def _worst(observed: Observed, current: tuple[ServingPod, ...]) -> Trouble | None:
    """The first trouble in the order of Fault, then of names: the same pods always give the same message."""
    order = list(Fault)
    found = [p.trouble for p in sorted(current, key=lambda p: p.name) if p.trouble is not None]
    if observed.deployed is not None and observed.deployed.refused:
        found.append(Trouble(Fault.START, observed.deployed.refused))
    return min(found, key=lambda t: order.index(t.fault), default=None)


def _still(message: str, before: int) -> str:
    return f"{message}; {count(before)} of the revision before {verb(before, 'serves', 'serve')} on" if before else message


def _digest(target: Target, current: Iterable[ServingPod]) -> str | None:
    """What is asked for, else what the pods found."""
    return target.digest or next((p.digest for p in current if p.digest), None)


def _shown(target: Target, current: Iterable[ServingPod]) -> str:
    digest = _digest(target, current)
    return f"model {digest.removeprefix('sha256:')[:12]}" if digest else f"the model of {target.uri}"


def _noted(message: str, target: Target) -> str:
    return f"{message}; nothing newer is served: {target.note}" if target.note else message


def count(number: int, what: str = "pod") -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def verb(number: int, one: str, many: str) -> str:
    """The form that goes with a number."""
    return one if number == 1 else many


def verdicts(reason: Reason, message: str, needs_somebody: frozenset[Reason] = _NEEDS_SOMEBODY) -> tuple[Verdict, ...]:
    """Ready, and whether it goes on by itself."""
    ready = Verdict("Ready", "True" if reason is SERVING else "False", reason.name, message)
    if reason in {SERVING, reasons.SUSPENDED}:
        return (ready,)
    second = "Stalled" if reason in needs_somebody else "Reconciling"
    return ready, Verdict(second, "True", reason.name, message)


def _available(observed: Observed) -> Verdict:
    serving = len(observed.serving)
    if serving:
        return Verdict("Available", "True", SERVING.name, f"{count(serving)} {verb(serving, 'gets', 'get')} requests")
    return Verdict("Available", "False", NOTHING_SERVES.name, "No pod gets requests")


def _fields(target: Target, replicas: int, observed: Observed, url: str) -> Object:
    current = observed.of(target.revision)
    deployed = observed.deployed
    return {
        "url": url,
        "model": _model(target, current),
        "revision": target.revision,
        "replicas": replicas,
        "readyReplicas": sum(p.ready for p in current),
        "traffic": traffic(observed.serving) or None,
        "appliedGeneration": deployed.generation if deployed else None,
        "externalID": deployed.name if deployed else None,
    }


def _model(target: Target, current: tuple[ServingPod, ...]) -> Object:
    told = {"uri": target.uri, "digest": _digest(target, current), "trainingJob": target.training_job, "runID": target.run_id}
    return {key: value for key, value in told.items() if value is not None}


def traffic(serving: Iterable[ServingPod]) -> list[Object]:
    """Who gets requests, by digest: a Service spreads them evenly over its pods."""
    counted = Counter(p.digest or "unknown" for p in serving)
    total = counted.total()
    return [{"digest": d, "pods": n, "percent": round(100 * n / total)} for d, n in sorted(counted.items())]


def events(reason: Reason, message: str, target: Target, old: Object, warned: frozenset[Reason]) -> tuple[Event, ...]:
    """One for each change of reason or revision that somebody would want to hear of."""
    before = find(old.get("conditions"), "Ready") or {}
    if before.get("reason") == reason.name and old.get("revision") == target.revision:
        return ()
    if reason is SERVING:
        return (Event(SERVING.name, message),)
    return (Event(reason.name, message, "Warning"),) if reason in warned else ()


def deleting(message: str = "The pods finish what they were asked and end", *, seconds: float = 5) -> Outcome:
    """Being taken down; looked at again after so many seconds."""
    return Outcome(verdicts(reasons.DELETING, message), requeue_after=seconds)


def explain(obj: Object, error: BaseException) -> tuple[Verdict, ...] | None:
    """Conditions for the errors that only this kind can name. One that passes by itself takes nothing away from what serves."""
    if isinstance(error, LicenceNotAccepted):
        name = LICENCE_NOT_ACCEPTED.name
        return Verdict("Ready", "False", name, error.message), Verdict("Stalled", "True", name, error.message)
    return unharmed(obj, "Ready", error)
