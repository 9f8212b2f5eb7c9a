"""Turns verdicts into conditions and outcomes into the smallest status patch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from millrace.engine import errors, reasons
from millrace.engine.errors import MillraceError, NameConflict, Refused, Retry, Terminal
from millrace.engine.outcome import Outcome, Verdict

Object = dict[str, Any]
_MESSAGE_LIMIT = 1024


def merged(old: Iterable[Mapping[str, Any]], verdicts: Iterable[Verdict], generation: int, now: str) -> list[Object]:
    """Conditions for verdicts; the transition time moves only when the status does."""
    before = {c["type"]: c for c in old}
    made = []
    for verdict in verdicts:
        previous = before.get(verdict.type)
        same = previous is not None and previous["status"] == verdict.status
        made.append(
            {
                "type": verdict.type,
                "status": verdict.status,
                "reason": verdict.reason,
                "message": shortened(verdict.message),
                "lastTransitionTime": previous["lastTransitionTime"] if same and previous else now,
                "observedGeneration": generation,
            }
        )
    return made


def shortened(message: str) -> str:
    """At most 1,024 characters on one line."""
    line = " ".join(message.split())
    return line if len(line) <= _MESSAGE_LIMIT else line[: _MESSAGE_LIMIT - 1] + "…"


def find(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> Mapping[str, Any] | None:
    """The condition of a type, or None."""
    return next((c for c in conditions or () if c["type"] == type_), None)


def is_true(obj: Mapping[str, Any], type_: str) -> bool:
    """Whether the object's condition of a type is True for the generation it has."""
    found = find((obj.get("status") or {}).get("conditions"), type_)
    current = obj["metadata"].get("generation")
    return found is not None and found["status"] == "True" and found.get("observedGeneration") == current


def desired_status(old: Mapping[str, Any], outcome: Outcome, generation: int, now: str) -> Object:
    """The whole status after a pass."""
    made = {k: v for k, v in old.items() if k != "conditions"}
    for name, value in outcome.fields.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = value
    made["observedGeneration"] = generation
    made["conditions"] = merged(old.get("conditions") or (), outcome.conditions, generation, now)
    return made


def merge_patch(old: Any, new: Any) -> Any:
    """The JSON merge patch from one object to another; {} when they are equal. Lists are replaced whole."""
    patch: Object = {}
    for key in old.keys() | new.keys():
        if key not in new:
            patch[key] = None
        elif key not in old:
            patch[key] = new[key]
        elif isinstance(old[key], dict) and isinstance(new[key], dict):
            if inner := merge_patch(old[key], new[key]):
                patch[key] = inner
        elif old[key] != new[key]:
            patch[key] = new[key]
    return patch


def held(status: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """The conditions of a status as the verdicts that they were made of."""
    return tuple(Verdict(c["type"], c["status"], c["reason"], c["message"]) for c in status.get("conditions") or ())


def unharmed(obj: Mapping[str, Any], summary: str, error: BaseException) -> tuple[Verdict, ...] | None:
    """Conditions of an object that is well, for an error that passes by itself and takes nothing away from it; None otherwise."""
    if not isinstance(error, Retry) or not obj or not is_true(obj, summary):
        return None
    return still(obj, reasons.RETRYING.name, error.message)


def still(obj: Mapping[str, Any], reason: str, message: str) -> tuple[Verdict, ...]:
    """What holds of an object, and that something is waited for beside it."""
    kept = (v for v in held(obj["status"]) if v.type != "Reconciling")
    return (*kept, Verdict("Reconciling", "True", reason, message))


def after_the_end(obj: Mapping[str, Any], error: BaseException) -> tuple[Verdict, ...]:
    """What holds of an object that has ended, and what keeps the rest of it from being taken down; a retry passes by itself."""
    if isinstance(error, Retry):
        return tuple(v for v in held(obj["status"]) if v.type != "Reconciling")
    said = for_error("", error)[0]
    return still(obj, said.reason, said.message)


def for_error(summary: str, error: BaseException) -> tuple[Verdict, ...]:
    """The conditions that an error becomes where the kind has nothing better to say.

    `summary` is the kind's summary condition: Ready or Succeeded. Unknown while it can pass, False once it cannot.
    """
    if isinstance(error, Terminal):
        reason = _terminal_reason(error)
        return (Verdict(summary, "False", reason, error.message), Verdict("Stalled", "True", reason, error.message))
    reason, message = _passing_reason(error)
    status = "Unknown" if summary == "Succeeded" else "False"
    waits = Verdict("Reconciling", "True", reason, message)
    return (Verdict(summary, status, reason, message), waits)  # type: ignore[arg-type]


def _terminal_reason(error: Terminal) -> str:
    return (reasons.NAME_CONFLICT if isinstance(error, NameConflict) else reasons.REFUSED).name


_WAITING = (
    (errors.Denied, reasons.DENIED),
    (errors.QuotaExceeded, reasons.QUOTA_EXCEEDED),
    (errors.NotSubscribed, reasons.NOT_SUBSCRIBED),
    (errors.AccountNotReady, reasons.ACCOUNT_NOT_READY),
    (errors.BudgetExceeded, reasons.BUDGET_EXCEEDED),
)


def _passing_reason(error: BaseException) -> tuple[str, str]:
    if isinstance(error, MillraceError):
        reason = next((r for type_, r in _WAITING if isinstance(error, type_)), reasons.RETRYING)
        return reason.name, error.message
    return reasons.INTERNAL_ERROR.name, f"unexpected {type(error).__name__}: {error}"


__all__ = ["Refused", "desired_status", "find", "for_error", "held", "is_true", "merge_patch", "merged", "shortened", "unharmed"]
