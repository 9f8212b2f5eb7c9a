"""How many requests an endpoint answers and how quickly, from its pods' own metrics."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from millrace.cli.asking import proxied
from millrace.cli.cluster import Connection
from millrace.kube import labels, pods
from millrace.kube.errors import ApiError
from millrace.kube.resources import PODS

Object = Mapping[str, Any]
_BETWEEN_SECONDS = 1.0
_COUNTED = frozenset({"/v1/completions", "/v1/chat/completions"})
_REQUESTS, _BUCKETS = "millrace_serve_requests_total", "millrace_serve_request_seconds_bucket"


@dataclass(frozen=True)
class Traffic:
    """Requests per second, and the time that half and 99 % of them took at most, in seconds (None: there were none)."""

    per_second: float
    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class Sample:
    """Counters of all pods of an endpoint at one time: requests, and how many took at most so many seconds."""

    at: float
    requests: float
    buckets: Mapping[float, float]


def sampled(texts: Iterable[str], at: float) -> Sample:
    """The sum of what pods tell in Prometheus' text format."""
    requests, buckets = 0.0, defaultdict[float, float](float)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for name, marks, value, *_ in family.samples:
                if marks.get("path") not in _COUNTED:
                    continue
                if name == _REQUESTS:
                    requests += value
                elif name == _BUCKETS:
                    buckets[float(marks["le"])] += value
    return Sample(at, requests, buckets)


def between(before: Sample, after: Sample) -> Traffic:
    """The rate between two samples; times are of the requests between them, or of all where there were none."""
    passed = max(0.0, after.requests - before.requests) / max(1e-9, after.at - before.at)
    recent = {le: count - before.buckets.get(le, 0.0) for le, count in after.buckets.items()}
    told = recent if recent.get(float("inf"), 0.0) > 0 else after.buckets
    return Traffic(passed, quantile(told, 0.5), quantile(told, 0.99))


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """As Prometheus' histogram_quantile: linear within a bucket, the last finite bound for what is beyond it."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return None
    wanted, below, count = share * total, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if bound == float("inf"):
                return below
            within = buckets[bound] - count
            return below + (bound - below) * (wanted - count) / within if within else bound
        below, count = bound, buckets[bound]
    return below


async def measured(connection: Connection, obj: Object) -> Traffic | None:
    """What happens within a second; None for an endpoint that nothing serves or whose server has other metrics."""
    if not (obj.get("status") or {}).get("traffic"):
        return None
    names = await _ready(connection, obj)
    first, begun = await _look(connection, obj, names), time.monotonic()
    await asyncio.sleep(_BETWEEN_SECONDS)
    second, ended = await _look(connection, obj, names), time.monotonic()
    # A pod that came or went in between would count for all that it ever did.
    both = [(a, b) for a, b in zip(first, second, strict=True) if _REQUESTS in a and _REQUESTS in b]
    return between(sampled([a for a, _ in both], begun), sampled([b for _, b in both], ended)) if both else None


async def _ready(connection: Connection, obj: Object) -> list[str]:
    namespace, selector = obj["metadata"]["namespace"], f"{labels.OWNER_UID}={obj['metadata']['uid']}"
    found = connection.client.list_objects(PODS, namespace, labels=selector)
    return [p["metadata"]["name"] async for p in found if pods.is_condition(p, "Ready")]


async def _look(connection: Connection, obj: Object, names: Iterable[str]) -> list[str]:
    """What each pod tells now."""
    return await asyncio.gather(*(_metrics(connection, obj, name) for name in names))


async def _metrics(connection: Connection, obj: Object, pod: str) -> str:
    """What a pod tells; nothing where it is gone meanwhile or we may not ask it."""
    port = (obj["spec"].get("kubernetes") or {}).get("port", 8080)
    path = proxied(obj["metadata"]["namespace"], "pods", pod, port, "/metrics")
    try:
        return "\n".join([line async for line in connection.client.lines("GET", path)])
    except ApiError:
        return ""
