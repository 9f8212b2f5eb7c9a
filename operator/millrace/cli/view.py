"""What `millrace status` shows of an object: a pure reading of its manifest, for any kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from millrace.api.resource import Kind
from millrace.engine.clock import moment
from millrace.engine.conditions import find
from millrace.kube.labels import PAUSED

Object = Mapping[str, Any]
_BAR = 10
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True)
class Row:
    """One object. None is what the kind does not have or nobody has reported yet; times are in seconds.

    `requests_per_second` and the latencies that half and 99 % of the requests kept are of endpoints that serve.
    """

    kind: str
    namespace: str
    name: str
    state: str
    reason: str
    message: str
    percent: int | None
    step: int | None
    max_steps: int | None
    eta_seconds: int | None
    attempt: int | None
    restarts: int | None
    age_seconds: int
    requests_per_second: float | None = None
    latency_p50: float | None = None
    latency_p99: float | None = None


def row(obj: Object, kind: Kind, now: datetime, resting: Collection[str] = ()) -> Row:
    """What is shown of one object; `resting` are the kind's reasons, beside Suspended, with which it rightly does nothing."""
    status = obj.get("status") or {}
    progress = status.get("progress") or {}
    told = _telling(status, kind)
    return Row(
        kind=kind.singular,
        namespace=str(obj["metadata"]["namespace"]),
        name=str(obj["metadata"]["name"]),
        state=state(obj, kind, resting),
        reason=str(told.get("reason") or ""),
        message=str(told.get("message") or ""),
        percent=progress.get("percent", status.get("progressPercent")),
        step=progress.get("step"),
        max_steps=progress.get("maxSteps"),
        eta_seconds=progress.get("etaSeconds"),
        attempt=status.get("attempt"),
        restarts=(status.get("restarts") or {}).get("count"),
        age_seconds=max(0, int((now - moment(obj["metadata"]["creationTimestamp"])).total_seconds())),
    )


def _telling(status: Object, kind: Kind) -> Object:
    """The condition that tells most: what is wrong, before what it is summed up in."""
    conditions = status.get("conditions")
    stalled = find(conditions, "Stalled")
    if stalled is not None and stalled["status"] == "True":
        return stalled
    return find(conditions, kind.summary) or {}


def state(obj: Object, kind: Kind, resting: Collection[str] = ()) -> str:
    """One word: Deleting, Paused, Pending, Suspended, Failed, Stalled, Working, NotReady, or the summary condition's own name."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Deleting"
    if (metadata.get("annotations") or {}).get(PAUSED, "false") != "false":
        return "Paused"
    summary = find(status.get("conditions"), kind.summary)
    if summary is None or int(status.get("observedGeneration", -1)) < int(metadata.get("generation") or 0):
        return "Pending"
    if summary["status"] == "True":
        return kind.summary
    if summary["reason"] == "Suspended" or (summary["reason"] in resting and find(status["conditions"], "Reconciling") is None):
        return "Suspended"
    return _unfinished(status, kind, str(summary["status"]))


def _unfinished(status: Object, kind: Kind, summary: str) -> str:
    conditions = status.get("conditions")
    stalled, reconciling = find(conditions, "Stalled"), find(conditions, "Reconciling")
    if stalled is not None and stalled["status"] == "True":
        return "Failed" if summary == "False" else "Stalled"
    if reconciling is not None and reconciling["status"] == "True":
        return "Working"
    return "Failed" if kind.summary == "Succeeded" and summary == "False" else "NotReady"


def ordered(rows: Iterable[Row]) -> list[Row]:
    """By namespace, kind and name."""
    return sorted(rows, key=lambda r: (r.namespace, r.kind, r.name))


def columns(all_namespaces: bool) -> list[str]:
    """Headings of the table."""
    first = ["NAMESPACE"] if all_namespaces else []
    return [*first, "KIND", "NAME", "STATE", "REASON", "PROGRESS", "STEP", "ETA", "ATTEMPT", "RESTARTS", "AGE"]


def cells(of: Row, all_namespaces: bool) -> list[str]:
    """One line of the table."""
    first = [of.namespace] if all_namespaces else []
    return [
        *first,
        of.kind,
        of.name,
        of.state,
        of.reason,
        traffic(of) or bar(of.percent),
        steps(of.step, of.max_steps),
        span(of.eta_seconds),
        _number(of.attempt),
        _number(of.restarts),
        span(of.age_seconds),
    ]


def bar(percent: int | None) -> str:
    """A progress bar with its number; "" where nothing is known."""
    if percent is None:
        return ""
    full = min(_BAR, max(0, round(percent * _BAR / 100)))
    return f"{'█' * full}{'░' * (_BAR - full)} {percent:3d}%"


def traffic(of: Row) -> str:
    """`12.5/s p50 80ms p99 1.2s`; "" for what serves nothing."""
    if of.requests_per_second is None:
        return ""
    told = [f"{of.requests_per_second:.1f}/s"]
    told += [f"{name} {latency(seconds)}" for name, seconds in (("p50", of.latency_p50), ("p99", of.latency_p99)) if seconds]
    return " ".join(told)


def latency(seconds: float) -> str:
    """Milliseconds below a second."""
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def steps(step: int | None, most: int | None) -> str:
    """`120/400`, or the step alone."""
    if step is None:
        return ""
    return f"{step}/{most}" if most else str(step)


def span(seconds: int | None) -> str:
    """Seconds as kubectl writes an age: the two greatest units, one where the number is large enough."""
    if seconds is None:
        return ""
    parts: list[str] = []
    left = seconds
    for size, unit in _UNITS:
        amount, left = divmod(left, size)
        if amount or (parts and len(parts) < 2) or unit == "s":
            parts.append(f"{amount}{unit}")
        if len(parts) == 2 or (len(parts) == 1 and amount >= 10 and unit != "s"):
            break
    return "".join(p for i, p in enumerate(parts) if i == 0 or not p.startswith("0"))


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def as_json(of: Row) -> dict[str, Any]:
    """For `-o json`."""
    return asdict(of)
