"""Prometheus metrics of the server; docs/serve-contract.md has their meaning."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds, about 1.3 times apart, so that a quantile read from them is off by a seventh at most.
BUCKETS = (
    *(0.001, 0.0013, 0.0017, 0.0022, 0.003, 0.004, 0.005, 0.0065, 0.0085),
    *(0.011, 0.014, 0.018, 0.024, 0.03, 0.04, 0.05, 0.065, 0.085),
    *(0.11, 0.14, 0.18, 0.24, 0.3, 0.4, 0.5, 0.65, 0.85),
    *(1.1, 1.4, 1.8, 2.4, 3.0, 4.0, 5.0, 6.5, 8.5, 11.0, 14.0, 18.0, 24.0, 30.0, 40.0, 50.0, 60.0),
)


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "millrace_serve_requests", "Requests by path and HTTP status", ["path", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "millrace_serve_request_seconds",
            "From request to the end of the answer",
            ["path"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "millrace_serve_time_to_first_token_seconds",
            "From request to its first token",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "millrace_serve_tokens", "Tokens read (prompt) and made (completion)", ["kind"], registry=self.registry
        )
        self.running = Gauge("millrace_serve_running", "Requests being answered", registry=self.registry)
        self.waiting = Gauge("millrace_serve_waiting", "Requests waiting for a place", registry=self.registry)
        self.batch_size = Gauge(
            "millrace_serve_batch_size", "Generations computed together at this moment", registry=self.registry
        )
        self.ready = Gauge("millrace_serve_ready", "1 where /ready says 200", registry=self.registry)
