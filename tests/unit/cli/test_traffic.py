"""Requests per second and latencies from what pods tell in Prometheus' text format."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from millrace.cli import traffic
from millrace.cli.traffic import Sample
from millrace.kube.errors import ApiError

INF = math.inf


class Pod:
    """What a pod of our server tells."""

    seen = False

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("millrace_serve_requests", "requests", ["path", "code"], registry=self.registry)
        self.seconds = Histogram(
            "millrace_serve_request_seconds", "seconds", ["path"], buckets=(0.1, 1.0, 10.0), registry=self.registry
        )

    def answer(self, seconds: float, path: str = "/v1/completions") -> None:
        self.requests.labels(path, "200").inc()
        self.seconds.labels(path).observe(seconds)

    def text(self) -> str:
        return generate_latest(self.registry).decode()


def test_the_pods_of_an_endpoint_are_added_up() -> None:
    one, other = Pod(), Pod()
    one.answer(0.05)
    other.answer(0.5)
    other.answer(0.01, "/v1/models")
    assert traffic.sampled([one.text(), other.text()], 7.0) == Sample(7.0, 2.0, {0.1: 1.0, 1.0: 2.0, 10.0: 2.0, INF: 2.0})


def test_the_rate_and_the_times_are_of_what_happened_between_two_looks() -> None:
    pod = Pod()
    for _ in range(100):
        pod.answer(5.0)
    before = traffic.sampled([pod.text()], 0.0)
    for _ in range(10):
        pod.answer(0.05)
    seen = traffic.between(before, traffic.sampled([pod.text()], 2.0))
    assert seen.per_second == 5.0
    assert seen.p50 == pytest.approx(0.05)
    assert seen.p99 == pytest.approx(0.099)


def test_where_nothing_happened_between_them_the_times_are_of_all_before() -> None:
    pod = Pod()
    pod.answer(0.5)
    seen = traffic.between(traffic.sampled([pod.text()], 0.0), traffic.sampled([pod.text()], 1.0))
    assert (seen.per_second, seen.p50) == (0.0, pytest.approx(0.55))


def test_a_pod_that_started_anew_gives_no_negative_rate() -> None:
    assert traffic.between(Sample(0, 50, {INF: 50}), Sample(1, 3, {INF: 3})).per_second == 0


# cumulative buckets, share, quantile, reason
QUANTILES: list[tuple[dict[float, float], float, float | None, str]] = [
    ({}, 0.5, None, "no buckets"),
    ({0.1: 0, INF: 0}, 0.5, None, "no requests"),
    ({0.1: 10, INF: 10}, 0.5, 0.05, "half way into the only bucket"),
    ({0.1: 0, 1.0: 10, INF: 10}, 0.5, 0.55, "half way into the second"),
    ({0.1: 5, 1.0: 5, 10.0: 10, INF: 10}, 0.5, 0.1, "at its upper bound"),
    ({0.1: 1, INF: 10}, 0.99, 0.1, "beyond the last bound: all that is known"),
]


@pytest.mark.parametrize(("buckets", "share", "wanted", "reason"), QUANTILES, ids=[q[-1] for q in QUANTILES])
def test_quantiles_are_those_of_prometheus(buckets: dict[float, float], share: float, wanted: float | None, reason: str) -> None:
    assert traffic.quantile(buckets, share) == (None if wanted is None else pytest.approx(wanted)), reason


class Pods:
    """A connection to pods that come and go between two looks; each look makes every pod answer ten requests."""

    def __init__(self, *lists: list[str]) -> None:
        self.client, self.lists, self.told = self, iter(lists), {name: Pod() for name in {n for names in lists for n in names}}
        self.here: list[str] = []

    async def list_objects(self, *_: object, **__: object) -> AsyncIterator[dict[str, Any]]:
        self.here = next(self.lists)
        for name in self.here:
            yield {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    async def lines(self, _: str, path: str) -> AsyncIterator[str]:
        name = path.split("http:")[1].split(":", maxsplit=1)[0]
        if name == "goes" and self.told[name].seen:
            raise ApiError(404, "NotFound", "the pod is gone")
        pod = self.told[name]
        pod.seen = True
        for _number in range(10):
            pod.answer(0.05)
        for line in pod.text().splitlines():
            yield line


async def test_a_pod_that_goes_between_two_looks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "_BETWEEN_SECONDS", 0.01)
    obj = {"metadata": {"namespace": "t", "uid": "u"}, "spec": {}, "status": {"traffic": [{}]}}
    connection: Any = Pods(["stays", "goes"])
    seen = await traffic.measured(connection, obj)
    assert seen is not None
    assert seen.per_second > 0, "what the pod that went had done does not hide what the other does"
