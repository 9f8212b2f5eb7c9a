"""From pushes to the status fields that tell of progress. Pure. What no push has told stays as it was."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime
from typing import Any

from millrace.engine.clock import seconds_since
from millrace.engine.progress import Push
from millrace_controllers.trainingjob.observed import CloudJob, Observed

Object = dict[str, Any]
FIELDS = frozenset({"progress", "metrics", "checkpoint"})
_BUCKETS = ((30.0, "<30s"), (120.0, "<2m"), (600.0, "<10m"))


def fields(old: Object, observed: Observed, now: datetime) -> Object:
    """progress, metrics, checkpoint and, once after each fault, restarts.recoverySeconds."""
    if observed.current.cloud is not None:
        return _told_by_the_cloud(observed.current.cloud)
    leader = leading_push(observed)
    if leader is None:
        return {}
    made: Object = {"progress": progress(leader, observed)}
    if leader.metrics:
        made["metrics"] = metrics(leader)
    if leader.checkpoint is not None:
        made["checkpoint"] = checkpoint(leader, old)
    recovered = recovery(old, leader, now)
    if recovered is not None:
        made["restarts"] = {**old["restarts"], "recoverySeconds": recovered}
    return made


def _told_by_the_cloud(job: CloudJob) -> Object:
    """The values that the expressions of `metrics` found in the job's log."""
    found = [{"name": name, "value": decimal(job.metrics[name])} for name in sorted(job.metrics)]
    return {"metrics": found} if found else {}


def leading_push(observed: Observed) -> Push | None:
    """The report that counts: rank 0's, else the furthest."""
    if 0 in observed.pushes:
        return observed.pushes[0]
    return max(observed.pushes.values(), key=lambda p: p.step, default=None)


def progress(push: Push, observed: Observed) -> Object:
    """How far, how fast, how long still; the age as a bucket, so that it changes seldom."""
    age = observed.monotonic - max((p.received for p in observed.pushes.values()), default=observed.monotonic)
    made: Object = {"step": push.step, "phase": push.phase, "heartbeatAge": _bucket(age)}
    if push.max_steps:
        made["maxSteps"] = push.max_steps
        made["percent"] = min(100, int(100 * push.step / push.max_steps))
        if push.step_seconds is not None and push.phase == "training":
            made["etaSeconds"] = rounded((push.max_steps - push.step) * push.step_seconds)
    if push.tokens_per_second is not None:
        made["tokensPerSecond"] = int(push.tokens_per_second)
    return made


def _bucket(age: float) -> str:
    return next((name for limit, name in _BUCKETS if age < limit), ">=10m")


def rounded(seconds: float) -> int:
    """To about 5 %: 5 s below two minutes, half minutes below an hour, five minutes above."""
    step = 5 if seconds < 120 else 30 if seconds < 3600 else 300
    return int(math.ceil(max(0.0, seconds) / step) * step)


def metrics(push: Push) -> list[Object]:
    """Latest values as decimal strings, by name."""
    return [{"name": name, "value": decimal(push.metrics[name]), "step": push.step} for name in sorted(push.metrics)]


def decimal(value: float) -> str:
    """Six significant digits without an exponent where that is readable."""
    return f"{value:.6g}" if math.isfinite(value) else ("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")


def checkpoint(push: Push, old: Object) -> Object:
    """The last committed checkpoint that a push told of; the uri was put into the push by the observer."""
    told = push.checkpoint or {}
    held = old.get("checkpoint") or {}
    if held and held["step"] == told["step"] and held["committedAt"] == told["committedAt"]:
        return dict(held)
    return {"step": told["step"], "uri": told["path"], "committedAt": told["committedAt"], "attempt": push.attempt}


def recovery(old: Object, push: Push, now: datetime) -> int | None:
    """Seconds from the last fault to the first training step after it; None where that is known or not yet."""
    restarts = old.get("restarts") or {}
    if "recoverySeconds" in restarts or push.phase != "training" or push.step == 0:
        return None
    if restarts.get("lastCause") in {None, "Suspended"} or int(old.get("endedAttempt") or 0) >= push.attempt:
        return None
    since = seconds_since(restarts.get("lastFaultTime"), now)
    return None if since is None else int(since)


def final_fields(old: Object, report: Object) -> Object:
    """What the reader pod found: the model, the checkpoint and the final metrics."""
    model = report["model"]
    made: Object = {"model": {"uri": model["uri"], **{k: model[k] for k in ("digest", "bytes", "files") if k in model}}}
    if told := report.get("checkpoint"):
        made["checkpoint"] = {
            "step": told["step"],
            "uri": told["uri"],
            "committedAt": told["committedAt"],
            "attempt": told["attempt"],
        }
    if values := report.get("metrics"):
        made["metrics"] = _merged_metrics(old, values, report.get("steps"))
    steps = report.get("steps")
    if steps:
        made["progress"] = {"step": steps, "maxSteps": steps, "percent": 100, "phase": "done"}
    elif old.get("progress"):
        made["progress"] = {k: v for k, v in old["progress"].items() if k not in {"etaSeconds", "heartbeatAge"}}
    return made


def _merged_metrics(old: Object, values: Object, step: int | None) -> list[Object]:
    held = {m["name"]: m for m in old.get("metrics") or ()}
    for name, value in values.items():
        with suppress(TypeError, ValueError):
            held[name] = {"name": name, "value": decimal(float(value)), **({"step": step} if step else {})}
    return [held[name] for name in sorted(held)]
