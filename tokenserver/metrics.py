"""What Prometheus scrapes: a token server's counts, at /metrics of another port.

The server counts in any case; here the counts get names and a place.  It needs the
package prometheus_client.

    sts_server_requests_total{outcome="Token"}     requests by outcome
    sts_server_tokens_total{source="reused"}       where tokens came from
    sts_server_assume_role_total{code="OK"}        AssumeRole calls by what STS said
    sts_server_assume_role_seconds                 how long they took, a histogram
    …

Source: "Metric and label naming" and "Exposition formats" (Prometheus documentation).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tokenserver.httpd.server import (
    HttpSettings,
    RequestError,
    Stopped,
    StrictHandler,
    StrictServer,
    Tally,
)

if TYPE_CHECKING:
    from tokenserver.cli import TokenServer
    from tokenserver.config.load import LiveConfig
    from tokenserver.sts.tokens import StsClient, TokenCache


class ServerCollector(Collector):
    """Names the counts of a server, as they are when somebody looks."""

    def __init__(
        self,
        server: TokenServer,
        tokens: TokenCache,
        sts: StsClient,
        config: LiveConfig,
    ) -> None:
        self._server = server
        self._tokens = tokens
        self._sts = sts
        self._config = config

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield counted(
            "requests", "Requests by outcome.", "outcome", self._server.replies
        )
        yield counted(
            "tokens", "Tokens handed out by source.", "source", self._tokens.uses
        )
        yield counted(
            "assume_role",
            "AssumeRole calls by what came of them.",
            "code",
            self._sts.calls,
        )
        yield self._latency()
        connections, requests = self._server.connections()
        for name, what, value in (
            ("assume_role_in_flight", "AssumeRole calls.", self._sts.calls_in_flight()),
            ("connections", "Open connections.", connections),
            ("requests_in_flight", "Connections with a request.", requests),
            (
                "configuration_generation",
                "How many configurations were in force.",
                self._config.generation,
            ),
            (
                "configuration_age_seconds",
                "For how long this one has been.",
                self._config.age_seconds(),
            ),
        ):
            yield GaugeMetricFamily(f"sts_server_{name}", what, value)

    def _latency(self) -> Metric:
        counts, total = self._sts.latency.snapshot()
        bounds = [*map(str, self._sts.latency.bounds), "+Inf"]
        return HistogramMetricFamily(
            "sts_server_assume_role_seconds",
            "Seconds that AssumeRole calls took.",
            list(zip(bounds, counts, strict=True)),
            total,
        )


def counted(name: str, what: str, label: str, tally: Tally) -> Metric:
    """Return the counts of *tally*, each with its name as the *label*."""
    metric = CounterMetricFamily(f"sts_server_{name}", what, labels=[label])
    for value, count in sorted(tally.counts().items()):
        metric.add_metric([value], count)
    return metric


class MetricsServer(StrictServer):
    """Serves the metrics of *registry*."""

    def __init__(
        self, bind: str | None, port: int, registry: CollectorRegistry
    ) -> None:
        """Listen on *port* of the address *bind*.  Raises OSError."""
        self.registry = registry
        super().__init__(bind, port, MetricsHandler)

    def http_settings(self) -> HttpSettings:
        """Return that no web page may read them."""
        return HttpSettings(allowed_origins=frozenset())


class MetricsHandler(StrictHandler):
    """Metrics in the text format of Prometheus."""

    server: MetricsServer

    def do_GET(self) -> None:
        """Send the metrics as they are now."""
        if self.path != "/metrics":
            raise RequestError("NotFound")
        body = generate_latest(self.server.registry)
        self.send_body(
            HTTPStatus.OK, body, content_type=CONTENT_TYPE_LATEST, is_logged=False
        )

    do_POST = do_GET
    do_HEAD = do_GET


def serve(
    bind: str | None,
    port: int,
    server: TokenServer,
    tokens: TokenCache,
    sts: StsClient,
    config: LiveConfig,
) -> MetricsServer:
    """Serve the metrics of *server* in the background, as long as the process runs.

    Raises OSError.
    """
    registry = CollectorRegistry()
    registry.register(ServerCollector(server, tokens, sts, config))
    ProcessCollector(registry=registry)  # memory, CPU, open files
    metrics = MetricsServer(bind, port, registry)

    def run() -> None:
        with contextlib.suppress(Stopped):
            metrics.serve_forever()

    threading.Thread(target=run, daemon=True).start()
    return metrics
