"""Prometheus metrics of the operator; the names keep the meaning that controller-runtime gave them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One registry with all metrics, so that a test can have its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        r = self.registry
        self.reconciles = Counter("millrace_reconcile_total", "Passes by kind and result.", ["kind", "result"], registry=r)
        self.errors = Counter("millrace_reconcile_errors_total", "Passes that raised.", ["kind", "error"], registry=r)
        self.terminal = Counter("millrace_terminal_reconcile_errors_total", "Passes that ended Terminal.", ["kind"], registry=r)
        self.seconds = Histogram("millrace_reconcile_time_seconds", "Duration of passes.", ["kind"], buckets=_SECONDS, registry=r)
        self.queue_depth = Gauge("millrace_queue_depth", "Keys that could run now.", registry=r)
        self.queue_age = Gauge("millrace_queue_oldest_seconds", "Age of the key that has waited longest.", registry=r)
        self.objects = Gauge("millrace_objects", "Objects by kind and summary condition.", ["kind", "state"], registry=r)
        self.cached = Gauge("millrace_cached_objects", "Objects in the cache, children included.", registry=r)
        self.requests = Counter(
            "millrace_kube_requests_total", "Calls to the Kubernetes API.", ["verb", "resource", "code"], registry=r
        )
        self.request_seconds = Histogram(
            "millrace_kube_request_duration_seconds", "Duration of those calls.", ["verb"], buckets=_SECONDS, registry=r
        )
        self.pushes = Counter("millrace_progress_pushes_total", "Progress pushes by result.", ["result"], registry=r)
        self.status_deferred = Counter(
            "millrace_status_writes_deferred_total", "Progress writes put off by the bound.", registry=r
        )
        self.stale_watches = Counter("millrace_stale_watches_total", "Watches found dead by a resync and restarted.", registry=r)
        self.watch_events = Counter("millrace_watch_events_total", "Watch events by resource.", ["resource"], registry=r)
        self.aws_calls = Counter(
            "millrace_aws_calls_total", "Calls to AWS; ok, or the error's code.", ["service", "operation", "code"], registry=r
        )
        self.aws_seconds = Histogram(
            "millrace_aws_call_duration_seconds",
            "Duration of those calls.",
            ["service", "operation"],
            buckets=_SECONDS,
            registry=r,
        )
        self.aws_unknown = Counter(
            "millrace_aws_unknown_codes_total", "Answers with a code that no table has.", ["service", "code"], registry=r
        )
        self.aws_events = Counter(
            "millrace_aws_events_total", "Events by what became of them: woke, nobody, unknown or malformed.",
            ["type", "result"], registry=r,
        )  # fmt: skip
        self.leading = Gauge("millrace_leader", "1 while this replica leads.", registry=r)

    def observe_request(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """For the client's `on_request`."""
        self.requests.labels(verb, resource, str(status)).inc()
        self.request_seconds.labels(verb).observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
