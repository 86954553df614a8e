"""The counts of a token server for Prometheus, at /metrics of another port.

The server always counts; this module gives the counts names and serves them.  It needs
the package prometheus_client.

    sts_server_requests_total{outcome="Token"}     requests by outcome
    sts_server_tokens_total{source="reused"}       where tokens came from
    sts_server_signed_total{type="PostForm"}       forms and URLs that were signed
    sts_server_assume_role_total{code="OK"}        AssumeRole calls by what STS said
    sts_server_assume_role_seconds                 how long they took, a histogram
    sts_server_uploads_total{grant="/avatars"}     uploads that OSS reported
    …

Source: "Metric and label naming" and "Exposition formats" (Prometheus documentation).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tokenserver.counts import Histogram, Tally
from tokenserver.httpd.origins import HttpSettings
from tokenserver.httpd.reply import Reply
from tokenserver.httpd.request import NotFound, Request
from tokenserver.httpd.server import Stopped, StrictServer
from tokenserver.uploads.uploads import Uploads


@dataclass(frozen=True)
class Counters:
    """The counts of a token server, and its current state."""

    replies: Tally  # by outcome
    tokens: Tally  # by source
    signed: Tally  # by type
    calls: Tally  # of AssumeRole, by Code or OK
    latency: Histogram  # of these calls, in seconds
    calls_in_flight: Callable[[], int]
    connections: Callable[[], tuple[int, int]]  # open, and those that have requests
    generation: Callable[[], int]  # how many configurations were in force
    age_seconds: Callable[[], float]  # for how long this one has been
    uploads: Uploads  # that OSS reported


class ServerCollector(Collector):
    """Gives names to the counts of a server, each time they are collected."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        counters = self._counters
        yield counted("requests", "Requests by outcome.", "outcome", counters.replies)
        yield counted(
            "tokens",
            "Tokens handed out, or signed with, by source.",
            "source",
            counters.tokens,
        )
        yield counted("signed", "Forms and URLs signed.", "type", counters.signed)
        yield counted(
            "assume_role",
            "AssumeRole calls by result.",
            "code",
            counters.calls,
        )
        yield latency("assume_role", "AssumeRole calls", counters.latency)
        yield from reported(counters.uploads)
        connections, requests = counters.connections()
        for name, what, value in (
            ("assume_role_in_flight", "AssumeRole calls.", counters.calls_in_flight()),
            ("connections", "Open connections.", connections),
            ("requests_in_flight", "Connections with a request.", requests),
            (
                "configuration_generation",
                "Configurations that have been in force.",
                counters.generation(),
            ),
            (
                "configuration_age_seconds",
                "Seconds since the current configuration was taken up.",
                counters.age_seconds(),
            ),
        ):
            yield GaugeMetricFamily(f"sts_server_{name}", what, value)


def reported(uploads: Uploads) -> Iterator[Metric]:
    """Yield what is counted of uploads."""
    yield counted("uploads", "Uploads reported.", "grant", uploads.by_grant)
    yield counted(
        "upload_forwards",
        "Uploads by what came of forwarding them.",
        "outcome",
        uploads.forwarder.outcomes,
    )
    for name, what, value in (
        ("upload_bytes", "Bytes of the uploads reported.", uploads.bytes),
        (
            "upload_lines_lost",
            "Lines that UploadsFile lacks.",
            uploads.records.lost,
        ),
    ):
        yield CounterMetricFamily(f"sts_server_{name}", what, value)
    yield GaugeMetricFamily(
        "sts_server_upload_forwards_waiting",
        "Uploads that are not forwarded yet.",
        uploads.forwarder.waiting,
    )


def counted(name: str, what: str, label: str, tally: Tally) -> Metric:
    """Return the counts of *tally*, with their names as values of *label*."""
    metric = CounterMetricFamily(f"sts_server_{name}", what, labels=[label])
    for value, count in sorted(tally.counts().items()):
        metric.add_metric([value], count)
    return metric


def latency(name: str, what: str, histogram: Histogram) -> Metric:
    """Return a histogram of the seconds that something took."""
    counts, total = histogram.snapshot()
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return HistogramMetricFamily(
        f"sts_server_{name}_seconds",
        f"Seconds that {what} took.",
        list(zip(bounds, counts, strict=True)),
        total,
    )


class NoPages:
    """The configuration for metrics: no web page may read them."""

    http = HttpSettings(allowed_origins=frozenset())


class MetricsServer(StrictServer):
    """Serves the metrics of *registry*, in the text format of Prometheus."""

    def __init__(
        self, bind: str | None, port: int, registry: CollectorRegistry
    ) -> None:
        """Listen on *port* of the address *bind*.  Raises OSError."""
        self._registry = registry
        super().__init__(bind, port)

    def snapshot(self) -> NoPages:
        """Return the configuration."""
        return NoPages()

    def answer(self, request: Request, _snapshot: Any) -> Reply:
        """Return the current metrics."""
        if request.path != "/metrics":
            raise NotFound
        body = generate_latest(self._registry)
        return Reply(HTTPStatus.OK, body, CONTENT_TYPE_LATEST, is_logged=False)


def serve(bind: str | None, port: int, counters: Counters) -> MetricsServer:
    """Serve *counters* in the background until the process ends.

    Raises OSError.
    """
    registry = CollectorRegistry()
    registry.register(ServerCollector(counters))
    ProcessCollector(registry=registry)  # memory, CPU, open files
    metrics = MetricsServer(bind, port, registry)

    def run() -> None:
        with contextlib.suppress(Stopped):
            metrics.serve_forever()

    threading.Thread(target=run, name="metrics", daemon=True).start()
    return metrics
