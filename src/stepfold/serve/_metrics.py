"""Figures of a server for Prometheus, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Requests, their latency, batches, queues and connections."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "stepfold_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "stepfold_request_seconds",
            "Seconds from a request's headers to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "stepfold_batch_size",
            "Texts or sequences that the kernels are given at once",
            ["model"],
            buckets=_SIZES,
            registry=self.registry,
        )
        self.queue = Gauge(
            "stepfold_queue",
            "Texts or sequences that wait for the kernels",
            ["model"],
            registry=self.registry,
        )
        self.active = Gauge(
            "stepfold_active",
            "Requests in progress, and open streams",
            ["kind"],
            registry=self.registry,
        )
        self.rows = Histogram(
            "stepfold_stream_rows",
            "Streams that read a token at the same time",
            ["model"],
            buckets=_SIZES,
            registry=self.registry,
        )
