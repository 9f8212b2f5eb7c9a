"""What a ModelEndpoint on SageMaker says of itself: pure functions from what was observed to conditions and fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from millrace.aws import costs
from millrace.engine import reasons
from millrace.engine.clock import seconds_since, stamp
from millrace.engine.outcome import Event, Outcome, Verdict
from millrace.engine.reasons import Reason
from millrace_controllers.modelendpoint import speed
from millrace_controllers.modelendpoint import status as kind
from millrace_controllers.modelendpoint.observed import Hosted, Memory, Stage, Target
from millrace_controllers.modelendpoint.plan import Move

Object = dict[str, Any]
_BILLED = frozenset({Stage.SERVING, Stage.UPDATING, Stage.ROLLING_BACK, Stage.MIXED})
_STALLED = frozenset({kind.ROLLED_BACK, kind.SERVER_FAILED})
_WARNED = _STALLED | {kind.PROBE_FAILED, kind.NO_CAPACITY}
_AT_ONCE = 0.1
_SOON = 15.0
_PACKAGED = 5.0
_ASKED_AGAIN = 60.0
_WITHOUT_EVENTS = 60.0
_ANEW = 300.0
_KEPT = frozenset({"modelVersion", "image", "scaled", "packaged"})
_COUNTED = 600.0
"""Seconds between two writes that tell of nothing but what has accrued, and between two looks at what is at rest."""
_MICRO = Decimal("0.000001")


@dataclass(frozen=True)
class Told:
    """What one pass found and did; `note` is what the golden request, the log or AWS said."""

    move: Move
    target: Target
    hosted: Hosted
    memory: Memory
    note: str = ""
    image: str = ""
    instance_type: str = ""
    hourly: Decimal | None = None
    """Price of one instance."""
    proven: bool = False
    """What serves is what is wanted, and has answered."""


def memory(status: Object, target: Target) -> Memory:
    """What is remembered; what was tried for another revision is forgotten, so that every change is tried anew."""
    told = status.get("sageMaker") or {}
    same = status.get("revision") == target.revision
    over = tuple((p["instanceType"], p["reason"]) for p in told.get("passedOver") or ())
    return Memory(
        over if same else (),
        told.get("updatingTo", "") if same else "",
        told.get("probed", ""),
        told.get("scaled", ""),
    )


def outcome(told: Told, replicas: int, old: Object, now: datetime) -> Outcome:
    """Conditions and fields after a pass."""
    reason, message = _summary(told, replicas)
    return Outcome(
        (*kind.verdicts(reason, message, _STALLED), _available(told.hosted)),
        _fields(told, replicas, old, now),
        kind.events(reason, message, told.target, old, _WARNED),
        requeue_after=_again(told, reason),
    )


def suspended(found: Hosted, old: Object, hourly: Decimal | None, now: datetime) -> Outcome:
    """Nothing shall be there."""
    here = found.stage is not Stage.MISSING
    message = "The endpoint is being taken away" if here else "Nothing runs"
    told = Told(Move.REMOVE, Target("", None, ""), found, Memory(), hourly=hourly)
    state = {"endpointName": found.name, "state": found.state}
    lasting = {*_KEPT, *(("config",) if here else ())}
    kept = {key: value for key, value in (old.get("sageMaker") or {}).items() if key in lasting}
    fields = {
        "readyReplicas": 0,
        "externalID": found.arn or None,
        "cost": _cost(told, old.get("cost") or {}, now),
        "sageMaker": {key: value for key, value in {**kept, **state}.items() if value},
    }
    return Outcome((*kind.verdicts(reasons.SUSPENDED, message), _available(found)), fields, requeue_after=_SOON if here else None)


def passing_over(target: Target, found: Hosted, held: Memory, old: Object, instance_type: str, why: str) -> Outcome:
    """An instance type cannot be had; said before the next one is tried."""
    message = f"{instance_type} cannot be had: {why}"
    event = Event(kind.NO_CAPACITY.name, message, "Warning")
    fields = {**_memorised(Told(Move.PASS_OVER, target, found, held), old), "revision": target.revision}
    return Outcome((*kind.verdicts(kind.LOADING, message), _available(found)), fields, (event,), requeue_after=_AT_ONCE)


def packaging(target: Target, found: Hosted, held: Memory, old: Object, why: str) -> Outcome:
    """SageMaker puts an algorithm's model and its container together; it takes seconds."""
    fields = {**_memorised(Told(Move.WAIT, target, found, held), old), "revision": target.revision}
    return Outcome((*kind.verdicts(kind.LOADING, why), _available(found)), fields, requeue_after=_PACKAGED)


def without_model(why: str, found: Hosted) -> Outcome:
    """There is no model yet. The TrainingJob wakes the endpoint."""
    return Outcome((*kind.verdicts(kind.MODEL_NOT_READY, why), _available(found)), requeue_after=_COUNTED)


def _summary(told: Told, replicas: int) -> tuple[Reason, str]:
    found, wanted = told.hosted, told.target.uri
    newer = f"; nothing newer is served: {told.target.note}" if told.target.note else ""
    match told.move:
        case Move.REMOVE:
            return kind.LOADING, f"The endpoint that failed is being taken away: {found.failure or found.state}"
        case Move.NOWHERE:
            tried = "; ".join(f"{name}: {why}" for name, why in told.memory.passed_over)
            return kind.NO_CAPACITY, f"No instance type can be had now: {tried}{f'; {told.note}' if told.note else ''}"
        case Move.BROKEN:
            why = found.failure or "SageMaker does not say why"
            return kind.SERVER_FAILED, f"The endpoint is {found.state}: {why}{_log(told)}"
        case Move.ROLLED_BACK:
            why = f": {found.failure}" if found.failure else ""
            return (
                kind.ROLLED_BACK,
                f"SageMaker went back to {found.config}{why}; what the spec asks for does not serve{_log(told)}",
            )
        case Move.PROBE if told.note:
            return kind.PROBE_FAILED, f"The golden request failed: {told.note}"
        case Move.PROBE | Move.SCALE | Move.NOTHING:
            return kind.SERVING, f"{_serving(found)} {wanted}{newer}"
        case Move.WAIT if told.proven and found.stage in _BILLED and not found.pending:
            return (
                kind.SERVING,
                f"{_serving(found)} {wanted}; {found.desired} are wanted{newer}",
            )
        case _:
            return _changing(found, replicas, wanted)


def _serving(found: Hosted) -> str:
    return f"{kind.count(found.instances, 'instance')} {kind.verb(found.instances, 'serves', 'serve')}"


def _log(told: Told) -> str:
    return f"; the log ends: {told.note}" if told.note else ""


def deleting() -> Outcome:
    """Being taken down."""
    return kind.deleting("SageMaker takes the endpoint away; its configurations and models follow", seconds=_SOON)


def _changing(found: Hosted, replicas: int, wanted: str) -> tuple[Reason, str]:
    match found.stage:
        case Stage.UPDATING:
            return kind.ROLLING_OUT, f"SageMaker moves the endpoint to {found.pending or 'what the spec asks for'}"
        case Stage.ROLLING_BACK:
            return kind.ROLLING_OUT, f"SageMaker goes back to {found.config}"
        case Stage.DELETING:
            return kind.LOADING, "The endpoint before is being taken away"
        case _:
            return kind.LOADING, f"SageMaker starts {kind.count(replicas, 'instance')} of {wanted}"


def _available(found: Hosted) -> Verdict:
    if found.stage in _BILLED:
        return Verdict("Available", "True", kind.SERVING.name, f"{found.config} gets requests")
    return Verdict("Available", "False", kind.NOTHING_SERVES.name, "No instance gets requests")


def _again(told: Told, reason: Reason) -> float | None:
    """Steps of our own follow at once; what SageMaker does is heard of by events, and looked at without them."""
    if reason in _STALLED:
        return _COUNTED
    match told.move:
        case Move.PROBE if told.note:
            return _ASKED_AGAIN
        case Move.PROBE:
            return _AT_ONCE
        case Move.SCALE:
            return _SOON
        case Move.NOTHING:
            return _COUNTED
        case Move.NOWHERE:
            return _ANEW
        case _:
            return _WITHOUT_EVENTS


def _fields(told: Told, replicas: int, old: Object, now: datetime) -> Object:
    found = told.hosted
    model = {
        "uri": told.target.uri,
        "trainingJob": told.target.training_job,
        "runID": told.target.run_id,
        "algorithmARN": told.target.algorithm,
    }
    return {
        "model": {key: value for key, value in {**model, "digest": told.target.digest}.items() if value},
        "revision": told.target.revision,
        "replicas": replicas,
        "readyReplicas": found.instances if found.stage in _BILLED else 0,
        "externalID": found.arn or None,
        "cost": _cost(told, old.get("cost") or {}, now),
        **speed.of_revision(old, told.target.revision, None),
        **_memorised(told, old),
    }


def _memorised(told: Told, old: Object) -> Object:
    found, held, before = told.hosted, told.memory, old.get("sageMaker") or {}
    over = () if told.move is Move.NOWHERE else held.passed_over
    fields = {
        "endpointName": found.name,
        "config": found.config,
        "state": found.state,
        "instanceType": found.instance_type or told.instance_type or before.get("instanceType"),
        "passedOver": [{"instanceType": name, "reason": why} for name, why in over],
        "updatingTo": held.updating_to,
        "probed": held.probed,
        "scaled": held.scaled,
        "changed": stamp(found.changed) if found.changed else None,
        "lastUsed": before.get("lastUsed"),
        "modelVersion": told.target.version,
        "packaged": bool(told.target.algorithm) or before.get("packaged"),
        "image": told.image or before.get("image"),
    }
    return {"sageMaker": {key: value for key, value in fields.items() if value}}


def _cost(told: Told, before: Mapping[str, str], now: datetime) -> Object | None:
    """What it costs an hour, and what has come together; written when the rate changes, and every ten minutes.

    None where something without a price runs: a sum without it would look like all of it.
    """
    billed = told.hosted.instances if told.hosted.stage in _BILLED else 0
    if billed and told.hourly is None:
        return None
    hourly = (told.hourly or Decimal(0)) * billed
    since, rate = before.get("accruedAt"), costs.amount(before.get("hourlyUSD"))
    if since is None or rate is None:
        return _reckoned(hourly, Decimal(0), now) if billed else None
    passed = seconds_since(since, now) or 0.0
    if rate == Decimal(costs.text(hourly)) and (passed < _COUNTED or not rate):
        return dict(before)
    grown = (costs.amount(before.get("accruedUSD")) or Decimal(0)) + (costs.of_time(rate, passed) or Decimal(0))
    return _reckoned(hourly, grown, now)


def _reckoned(hourly: Decimal, accrued: Decimal, now: datetime) -> Object:
    """Accrued to a millionth: it is added to every ten minutes, and roundings would add up."""
    told = costs.fields(hourly) or {}
    return {**told, "accruedUSD": format(accrued.quantize(_MICRO), "f"), "accruedAt": stamp(now)}
