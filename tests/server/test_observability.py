"""What an operator sees: the log in two formats, metrics, health and readiness."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import pytest
from helpers.backend import Backend
from helpers.client import (
    Reply,
    connect,
    exchange,
    parse_replies,
    read_reply,
    read_to_end,
    request,
)
from helpers.clocks import FakeClock
from helpers.login.service import AUDIENCE, ISSUER, service
from helpers.machine import PATIENCE_SECONDS, reserved_port, wait_until
from helpers.processes import call, end, own_logging, read_until, run, running
from helpers.server import MakeServer, RunningServer, look
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, write_config
from helpers.uploads import callback, post, report, ticket_of
from prometheus_client.parser import text_string_to_metric_families

from localcloud.sts import Close, Fail, Hang, StsStandIn
from tokenserver import app
from tokenserver import metrics as sts_metrics
from tokenserver.app import READY_SECONDS, READY_USER
from tokenserver.check.hints import HintLog
from tokenserver.config.load import LiveConfig
from tokenserver.counts import Histogram, Tally
from tokenserver.httpd.server import StrictServer
from tokenserver.login import users as login_users
from tokenserver.logs import (
    JsonFormatter,
    LogFormatter,
    ReplyLine,
    log_reply,
    log_to_stderr,
)
from tokenserver.metrics import MetricsServer
from tokenserver.sts import client as sts_client_module
from tokenserver.sts.client import LATENCY_BOUNDS, StsClient
from tokenserver.sts.tokens import FAILURE_SECONDS, TokenCache

pytestmark = pytest.mark.slow

DENIED = Fail("NoPermission", "No.", 403)
DOWN = Fail("InternalError", "Down.", 503)  # temporary: tried twice
WRONG_ROLE = "acs:ram::1234567890123456:role/other"


# --- The log, in JSON and in text -----------------------------------------------

REQUEST_KEYS = [
    "time",
    "level",
    "client",
    "method",
    "path",
    "status",
    "outcome",
    "session",
    "milliseconds",
    "detail",
]
MESSAGE_KEYS = ["time", "level", "message"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def parse_line(line: str) -> dict[str, Any]:
    """Return the object that *line* of a log in JSON is, after a look at its keys."""
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    keys = list(found)
    assert keys in (REQUEST_KEYS, MESSAGE_KEYS, [*MESSAGE_KEYS, "traceback"]), keys
    assert TIME.fullmatch(found["time"])
    assert found["level"] in ("INFO", "WARNING", "ERROR")
    assert isinstance(found, dict)
    return found


class Log:
    """What the log has in one of the formats."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(formatter)

    @property
    def text(self) -> str:
        """All that was written."""
        return self._stream.getvalue()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The lines, where they are JSON."""
        return [parse_line(line) for line in self.text.splitlines()]


@pytest.fixture
def json_log() -> Iterator[Log]:
    yield from logged(JsonFormatter())


@pytest.fixture
def text_log() -> Iterator[Log]:
    yield from logged(LogFormatter())


def logged(formatter: logging.Formatter) -> Iterator[Log]:
    log = Log(formatter)
    logging.getLogger("tokenserver").addHandler(log.handler)
    yield log
    logging.getLogger("tokenserver").removeHandler(log.handler)


def test_request_is_an_object_with_its_parts(
    server: RunningServer, json_log: Log
) -> None:
    token = server.request("/sts/getsts?access_token=secret").json

    (line,) = json_log.documents
    assert list(line) == REQUEST_KEYS
    assert 0 <= line.pop("milliseconds") < 10_000
    del line["time"]
    assert line == {
        "level": "INFO",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/sts/getsts",
        "status": 200,
        "outcome": token["AccessKeyId"],
        "session": "client_name",
        "detail": "",
    }


def test_error_is_an_object_with_its_code_and_reason(
    server: RunningServer, sts: StsStandIn, json_log: Log
) -> None:
    sts.always(Fail("Strange.Code", "No.", 403))
    server.request()
    server.request("/favicon.ico")

    refused, missing = json_log.documents
    assert (refused["status"], refused["outcome"]) == (200, "Strange.Code")
    assert re.fullmatch(r"RequestId [0-9A-F-]{36}", refused["detail"])
    assert (missing["status"], missing["outcome"]) == (404, "NotFound")


@pytest.mark.parametrize(
    "target",
    [
        "/%0d%0a%7B%22level%22:%22FORGED%22%7D",
        "/%22,%22status%22:500,%22x%22:%22",
        "/%5c%22%5cu000a",
        "/%00%1b[31m%7f",
        "/%e2%80%a8%e2%80%ae%ff%c3%a9%f0%9f%98%80",
        "/" + "a" * 9000,
    ],
)
def test_hostile_path_forges_no_line(
    server: RunningServer, json_log: Log, text_log: Log, target: str
) -> None:
    server.request(target)

    (line,) = json_log.documents
    assert (list(line), line["level"], line["status"]) == (REQUEST_KEYS, "INFO", 200)
    assert len(line["path"]) <= 200
    assert text_log.text.count("\n") == 1


def test_nonsense_on_the_wire_is_an_object_too(
    server: RunningServer, json_log: Log
) -> None:
    exchange(server.port, b"\x16\x03\x01\0\xff\r\n")

    (line,) = json_log.documents
    assert (line["method"], line["path"], line["status"]) == ("-", "-", 400)
    assert line["detail"] == "TLS, but this port speaks plain HTTP"


def fail(*_: object) -> None:
    raise ValueError("two\nlines")


def test_traceback_is_within_its_object(
    server: RunningServer, json_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.server.tokens, "get", fail)

    assert server.request().json["ErrorCode"] == "InternalError"

    failure, line = json_log.documents
    assert (failure["level"], failure["message"]) == (
        "ERROR",
        "failed to answer a request",
    )
    assert failure["traceback"].startswith("Traceback ")
    assert failure["traceback"].endswith("ValueError: two\nlines")
    assert (line["outcome"], line["detail"]) == ("InternalError", "see above")


def test_warning_is_an_object_with_a_message(
    server: RunningServer, sts: StsStandIn, json_log: Log
) -> None:
    sts.always(DENIED)
    server.request()

    hint, _ = json_log.documents
    assert (list(hint), hint["level"]) == (MESSAGE_KEYS, "WARNING")
    assert "AliyunSTSAssumeRoleAccess" in hint["message"]


def test_text_is_a_line_with_local_time(
    server: RunningServer, sts: StsStandIn, text_log: Log
) -> None:
    token = server.request("/sts/getsts").json
    sts.always(Fail("Strange.Code", "No.", 403))
    server.request("/a%20b")

    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} 127\.0\.0\.1"
    first, second = text_log.text.splitlines()
    key = re.escape(token["AccessKeyId"])
    assert re.fullmatch(
        rf"{moment} GET /sts/getsts 200 {key} client_name [\d.]+ms", first
    )
    assert re.fullmatch(
        rf"{moment} GET /a%20b 200 Strange\.Code client_name [\d.]+ms "
        r"\(RequestId [0-9A-F-]{36}\)",
        second,
    )


@pytest.mark.process
def test_log_in_json_from_a_shell_is_json_to_the_last_line(
    tmp_path: Path, sts: StsStandIn
) -> None:
    config = write_config(tmp_path, StsEndpoint=sts.url, BucketNam="typo")
    with running("--config", config, "--log-format", "json") as (process, port):
        request(port, "/sts/getsts")
        request(port, "/%0a%22")
        request(port, "/", "DELETE")
        exchange(port, b"\0\n\xff")
        sts.always(DENIED)
        request(port)
        config.write_text("{")
        log = read_until(process, "is not JSON")
        request(port)
        log += end(process)

    documents = [parse_line(line) for line in log.splitlines()]
    messages = " ".join(line.get("message", "") for line in documents)
    assert [line["status"] for line in documents if "status" in line] == [
        200,
        200,
        405,
        400,
        200,
        200,
    ]
    assert "BucketNam is not a setting" in messages
    assert "is not JSON" in messages
    assert ACCESS_KEY_SECRET not in log


@contextlib.contextmanager
def logged_to(stderr: TextIO, log_format: str = "text") -> Iterator[logging.Logger]:
    """Log to *stderr* as the command does."""
    with own_logging(), contextlib.redirect_stderr(stderr):
        ours = logging.getLogger("tokenserver")
        ours.handlers.clear()
        log_to_stderr(log_format)
        yield ours


LINE = ReplyLine("127.0.0.1", "GET", '/a"b', 200, "STS.1", "name", 12.345, "why")


@pytest.mark.parametrize("is_file", [True, False])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_line_of_a_request_is_the_same_whether_or_not_others_listen(
    tmp_path: Path, log_format: str, is_file: bool
) -> None:
    stderr = (tmp_path / "log").open("w+") if is_file else io.StringIO()
    with stderr:
        with logged_to(stderr, log_format) as logger:
            log_reply(LINE)
            logger.addHandler(logging.NullHandler())
            log_reply(LINE)
        stderr.seek(0)
        first, second = stderr.read().splitlines()

    for written in (first, second):
        if log_format == "json":
            found = parse_line(written)
            assert (found["level"], found["path"]) == ("INFO", '/a"b')
            assert found["milliseconds"] == 12.3
        else:
            expected = r'\S+ 127\.0\.0\.1 GET /a"b 200 STS\.1 name 12\.3ms \(why\)'
            assert re.fullmatch(expected, written)


def test_lines_of_many_threads_are_whole() -> None:
    lines = [LINE._replace(path="/" + letter * 190) for letter in "abcdefgh"]

    def log_often(line: ReplyLine) -> None:
        for _ in range(300):
            log_reply(line)

    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as log, ThreadPoolExecutor(len(lines) + 1) as pool:
        reading = pool.submit(log.readlines)
        with os.fdopen(write_end, "w") as stderr, logged_to(stderr) as logger:
            logging_all = [pool.submit(log_often, line) for line in lines]
            for _ in range(300):
                logger.warning("a warning")
            for one in logging_all:
                one.result()
        written = reading.result()

    texts = sorted(line.partition(" ")[2] for line in written)
    assert texts == sorted(["a warning\n", *(f"{line}\n" for line in lines)] * 300)


# --- Metrics --------------------------------------------------------------------

Samples = dict[str, float]


class Observed:
    """A token server with metrics, whose clocks a test turns."""

    def __init__(self, config: Path) -> None:
        self.clock = FakeClock()
        self.config = LiveConfig(config, self.clock)
        self.client = StsClient(lambda: 10_000)
        self.server = RunningServer(self.config, self.client)
        self.tokens = TokenCache(
            self.client.assume_role,
            lambda: time.time() + self.clock.now - 1000,
            self.clock,
        )
        self.server.server.tokens = self.tokens
        counters = sts_metrics.Counters(
            replies=self.server.server.replies,
            tokens=self.tokens.uses,
            signed=self.server.server.signed,
            calls=self.client.calls,
            latency=self.client.latency,
            calls_in_flight=self.client.calls_in_flight,
            connections=self.server.server.connections,
            generation=lambda: self.config.generation,
            age_seconds=self.config.age_seconds,
            uploads=self.server.server.uploads,
        )
        self.metrics = sts_metrics.serve("127.0.0.1", 0, counters)
        self.port: int = self.metrics.server_port

    def close(self) -> None:
        """Stop both servers."""
        self.metrics.shutdown()
        self.metrics.drain(5)
        self.server.close()

    def text(self) -> str:
        """Return the metrics."""
        reply = request(self.port, "/metrics")
        assert reply.status == 200
        return reply.body.decode()

    def scrape(self) -> Samples:
        """Return the samples as Prometheus reads them, by name and label."""
        found: Samples = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                name = sample.name.removeprefix("sts_server_")
                label = ",".join(sample.labels.values())
                key = f"{name} {label}".strip()
                assert key not in found
                found[key] = sample.value
        return found

    def counts(self, name: str) -> Samples:
        """Return the counts that a metric has by label."""
        return {
            key.removeprefix(f"{name} "): value
            for key, value in self.scrape().items()
            if key.startswith(f"{name} ")
        }

    def ask(self, target: str = "/", method: str = "GET") -> Reply:
        """Send a request to the token server."""
        return self.server.request(target, method)


MakeObserved = Callable[..., Observed]


@pytest.fixture
def observe(
    tmp_path: Path, sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeObserved]:
    """Return a function that starts a server with metrics, some settings changed."""
    monkeypatch.setattr(
        MetricsServer,
        "serve_forever",
        lambda self: StrictServer.serve_forever(self, poll_interval=0.01),
    )
    with contextlib.ExitStack() as stack:

        def make(**changes: object) -> Observed:
            values = {"StsEndpoint": sts.url, "TokenReuseTime": 300} | changes
            observed = Observed(write_config(tmp_path, **values))
            stack.callback(observed.close)
            return observed

        yield make


def test_requests_are_counted_by_outcome(observe: MakeObserved) -> None:
    observed = observe()
    for _ in range(3):
        observed.ask()
    observed.ask("/credentials")
    observed.ask("/healthz")
    observed.ask("/", "HEAD")
    observed.ask("/", "OPTIONS")
    observed.ask("/favicon.ico")
    observed.ask("/", "DELETE")
    observed.ask("/?callback=1")
    exchange(observed.server.port, b"nonsense\r\n\r\n")

    assert observed.counts("requests_total") == {
        "Token": 4,
        "Other": 3,
        "NotFound": 1,
        "MethodNotAllowed": 1,
        "InvalidCallback": 1,
        "MalformedRequest": 1,
    }


def test_tokens_are_counted_by_source_and_calls_by_code(
    observe: MakeObserved, sts: StsStandIn
) -> None:
    observed = observe()
    for _ in range(3):
        observed.ask()
    observed.clock.now += 301
    sts.always(DOWN)
    for _ in range(2):
        observed.ask()  # is answered with the old token, after one more attempt

    assert observed.counts("tokens_total") == {"fetched": 1, "reused": 2, "stale": 2}
    assert observed.counts("assume_role_total") == {"OK": 1, "InternalError": 2}

    observed.clock.now += 301  # now the old one has too little left
    sts.always(DENIED)
    assert observed.ask().json["ErrorCode"] == "NoPermission"

    counts = {"OK": 1, "InternalError": 2, "NoPermission": 1}
    assert observed.counts("assume_role_total") == counts
    assert observed.counts("requests_total") == {"Token": 5, "NoPermission": 1}


def test_sts_that_is_gone_has_a_code_too(
    observe: MakeObserved, sts: StsStandIn
) -> None:
    observed = observe()
    sts.always(Close())
    observed.ask()

    assert observed.counts("assume_role_total") == {"SDK.ServerUnreachable": 2}


def test_latency_is_a_histogram_of_the_calls(
    observe: MakeObserved, sts: StsStandIn
) -> None:
    observed = observe(TokenReuseTime=0)
    observed.ask()
    sts.latency_seconds = 0.12
    observed.ask()

    samples = observed.scrape()
    buckets = [
        samples[f"assume_role_seconds_bucket {bound}"]
        for bound in [*LATENCY_BOUNDS, "+Inf"]
    ]
    assert buckets == sorted(buckets)
    assert buckets[2] <= 1  # up to 0.1 s
    assert buckets[-1] == samples["assume_role_seconds_count"] == 2
    assert 0.12 < samples["assume_role_seconds_sum"] < PATIENCE_SECONDS


def test_histogram_counts_a_bound_as_within() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.add(value)

    assert histogram.snapshot() == ([2, 4, 5], 104.0)


def test_what_is_in_flight_is_shown(observe: MakeObserved, sts: StsStandIn) -> None:
    observed = observe()

    def shown() -> tuple[float, ...]:
        samples = observed.scrape()
        names = ("assume_role_in_flight", "requests_in_flight", "connections")
        return tuple(samples[name] for name in names)

    assert shown() == (0, 0, 0)
    with connect(observed.server.port) as client, connect(observed.server.port):
        wait_until(lambda: shown() == (0, 0, 2))
        with sts.held():
            client.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            sts.wait_for_requests(1)
            assert shown() == (1, 1, 2)
        client.recv(65536)
        wait_until(lambda: shown() == (0, 0, 2))
    wait_until(lambda: shown() == (0, 0, 0))


def test_edit_is_a_new_generation(
    observe: MakeObserved, tmp_path: Path, sts: StsStandIn
) -> None:
    observed = observe()

    def shown() -> tuple[float, float]:
        samples = observed.scrape()
        return (
            samples["configuration_generation"],
            samples["configuration_age_seconds"],
        )

    observed.clock.now += 7
    observed.ask("/healthz")
    assert shown() == (1, 7)
    write_config(tmp_path, StsEndpoint=sts.url, TokenReuseTime=200)
    look(observed.config)
    assert shown() == (2, 0)
    (tmp_path / "config.json").write_text("{")
    observed.clock.now += 2
    look(observed.config)
    assert shown() == (2, 2)


def test_uploads_are_counted_and_what_is_lost_of_them(
    observe: MakeObserved, tmp_path: Path
) -> None:
    with Backend() as backend:
        values = callback(tmp_path, ForwardUrl=backend.url)
        grants: dict[str, Any] = {"/avatars": {"ObjectPrefix": "a/"}, "/albums": {}}
        observed = observe(Region="cn-hangzhou", Callback=values, Grants=grants)
        for grant, key in (
            ("avatars", "a/1"),
            ("avatars", "a/2"),
            ("albums", "photos/3"),
        ):
            sealed = ticket_of(observed.ask(f"/upload-config/{grant}").json)
            post(observed.server.port, report(sealed, key, size="1000"))
        post(observed.server.port, report("not.one"))
        uploads = observed.server.server.uploads
        wait_until(lambda: uploads.forwarder.waiting == 0)
        backend.status = 503
        uploads.records.write(tmp_path, b"a folder\n")
        post(observed.server.port, report(sealed, "photos/4", size="1000"))
        wait_until(lambda: uploads.records.lost == 1)

        assert observed.counts("uploads_total") == {"/avatars": 2, "/albums": 2}
        assert observed.scrape()["upload_bytes_total"] == 4000
        assert observed.scrape()["upload_lines_lost_total"] == 1
        assert observed.counts("upload_forwards_total") == {"Delivered": 3}
        assert observed.scrape()["upload_forwards_waiting"] == 1
        assert observed.counts("requests_total")["Upload"] == 4
        assert observed.counts("requests_total")["ReportRefused"] == 1


def test_sts_that_invents_codes_does_not_grow_the_metrics(
    observe: MakeObserved, sts: StsStandIn
) -> None:
    observed = observe(TokenReuseTime=0)
    sts.script(*[Fail(f"Rogue{number}", "No.", 403) for number in range(150)])
    connection = http.client.HTTPConnection("127.0.0.1", observed.server.port)
    with contextlib.closing(connection):
        for _ in range(150):
            connection.request("GET", "/")
            assert read_reply(connection).json["ErrorCode"].startswith("Rogue")

    for name in ("requests_total", "assume_role_total"):
        counts = observed.counts(name)
        assert len(counts) == 101
        assert (sum(counts.values()), counts["other"]) == (150, 50)


def test_tally_has_no_more_names_than_it_may() -> None:
    tally = Tally()
    for number in range(1000):
        tally.add(f"Rogue{number}")
        tally.add("Rogue7")

    counts = tally.counts()
    assert len(counts) <= 102
    assert sum(counts.values()) == 2000
    assert counts["Rogue7"] > 990


def test_forms_and_urls_are_counted_by_type(observe: MakeObserved) -> None:
    grants = {"/form": {"Type": "PostForm"}, "/put": {"Type": "PresignedUrl"}}
    observed = observe(Region="cn-hangzhou", Grants=grants)

    for _ in range(3):
        form = observed.ask("/form").json
    observed.ask("/put?filename=a")
    observed.ask("/put")  # of no name

    assert observed.counts("signed_total") == {"PostForm": 3, "PresignedUrl": 1}
    assert observed.counts("requests_total") == {
        "InvalidObjectName": 1,
        "PostForm": 3,
        "PresignedUrl": 1,
    }
    assert observed.counts("assume_role_total") == {"OK": 1}
    text = observed.text()
    for secret in (form["policy"], form["signature"], form["security_token"]):
        assert secret not in text


def test_no_secret_is_in_the_metrics(observe: MakeObserved) -> None:
    observed = observe()
    token = observed.ask("/?access_token=of-somebody").json
    text = observed.text()

    assert 'sts_server_requests_total{outcome="Token"} 1.0' in text
    for secret in (
        ACCESS_KEY_ID,
        ACCESS_KEY_SECRET,
        "of-somebody",
        token["AccessKeyId"],
        token["AccessKeySecret"],
        token["SecurityToken"],
    ):
        assert secret not in text


def test_metrics_tell_of_the_process(observe: MakeObserved) -> None:
    assert observe().scrape()["process_open_fds"] > 0


@pytest.mark.parametrize(
    "target", ["/", "/sts/getsts", "/credentials", "/healthz", "/metrics/", "/metricsx"]
)
def test_port_of_the_metrics_has_nothing_else(
    observe: MakeObserved, sts: StsStandIn, target: str
) -> None:
    reply = request(observe().port, target)

    assert (reply.status, reply.json["ErrorCode"]) == (404, "NotFound")
    assert sts.requests == []


def test_port_of_the_metrics_reads_as_strictly_and_is_for_no_web_page(
    observe: MakeObserved,
) -> None:
    observed = observe()
    origin = {"Origin": "https://app.example.com"}

    (refused,) = parse_replies(exchange(observed.port, b"GET / HTTP/1.1\n\n"))
    read = request(observed.port, "/metrics?query", headers=origin)
    preflight = request(observed.port, "/metrics", "OPTIONS", origin)
    head = request(observed.port, "/metrics", "HEAD")

    assert (refused.status, read.status, preflight.status) == (400, 200, 204)
    for reply in (refused, read, preflight):
        assert not [name for name in reply.headers if name.startswith("access-")]
    assert head.headers["content-type"].startswith("text/plain; version=")
    assert (head.status, head.body) == (200, b"")


def test_requests_to_the_port_of_the_metrics_are_not_counted(
    observe: MakeObserved,
) -> None:
    observed = observe()
    observed.scrape()
    request(observed.port, "/")

    assert observed.counts("requests_total") == {}


@pytest.fixture
def config(tmp_path: Path, sts: StsStandIn) -> Path:
    """A working config.json."""
    return write_config(tmp_path, StsEndpoint=sts.url)


@pytest.mark.process
def test_metrics_of_a_server_in_a_shell(config: Path) -> None:
    with (
        reserved_port() as metrics_port,
        running("--config", config, "--metrics-port", str(metrics_port)) as (
            process,
            port,
        ),
    ):
        request(port)
        text = request(metrics_port, "/metrics").body.decode()
        log = end(process)

    assert log.count("\n") == 1  # one for the token, none for the scrape
    assert 'sts_server_requests_total{outcome="Token"} 1.0' in text
    assert process.returncode == 0


@pytest.mark.process
def test_missing_prometheus_client_exits_2_with_the_command_to_run(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('gone')")

    result = run("--config", config, "--metrics-port", "0", PYTHONPATH=str(tmp_path))

    assert result.returncode == 2
    assert result.stderr == (
        "sts_server.py: --metrics-port: prometheus_client cannot be imported (gone); "
        "run: pip install prometheus-client\n"
    )


def test_metrics_port_in_use_exits_1_and_is_named(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = call(
            *("0", "--bind", "127.0.0.1", "--config", config),
            *("--metrics-port", str(port)),
        )

    assert result.returncode == 1
    message = f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert result.stderr == f"sts_server.py: {message}\n"


# --- Health and readiness -------------------------------------------------------


@pytest.fixture(autouse=True)
def _long_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a trial of /readyz as long as a busy machine may need."""
    monkeypatch.setattr(app, "READY_SECONDS", PATIENCE_SECONDS)


def ready(server: RunningServer) -> int:
    """Return the status of /readyz."""
    return server.request("/readyz").status


each_reuse = pytest.mark.parametrize("reuse", [0, None], ids=["no reuse", "reuse"])


def test_server_is_healthy_whatever_sts_does(
    server: RunningServer, sts: StsStandIn
) -> None:
    sts.always(DOWN)

    reply = server.request("/healthz")

    assert (reply.status, reply.json) == (200, {"Status": "OK"})
    assert sts.requests == []


@each_reuse
def test_server_is_ready_once_it_had_a_token(
    make_server: MakeServer, sts: StsStandIn, reuse: int | None
) -> None:
    server = make_server(TokenReuseTime=reuse)

    reply = server.request("/readyz")

    assert (reply.status, reply.json) == (200, {"Status": "OK"})
    assert [ready(server) for _ in range(20)] == [200] * 20
    assert len(sts.requests) == 1


def test_token_for_anybody_makes_the_server_ready(
    server: RunningServer, sts: StsStandIn
) -> None:
    server.request()
    sts.always(DENIED)

    assert ready(server) == 200
    assert len(sts.requests) == 1


@each_reuse
@pytest.mark.parametrize("failure", [DENIED, DOWN], ids=["denied", "down"])
def test_server_is_not_ready_while_sts_fails_and_leaves_it_in_peace(
    make_server: MakeServer, sts: StsStandIn, reuse: int | None, failure: Fail
) -> None:
    server = make_server(TokenReuseTime=reuse)
    sts.always(failure)
    first = server.request("/readyz")
    begun = time.monotonic()

    statuses = [ready(server) for _ in range(100)]

    trials = 2 + (time.monotonic() - begun) / FAILURE_SECONDS
    assert (first.status, first.json["ErrorCode"]) == (503, "NotReady")
    assert statuses == [503] * 100
    assert len(sts.requests) <= trials * (2 if failure is DOWN else 1)

    sts.always(None)
    wait_until(lambda: ready(server) == 200)


@each_reuse
def test_server_with_a_new_configuration_has_to_get_a_token_with_it(
    tmp_path: Path,
    sts: StsStandIn,
    sts_client: StsClient,
    caplog: pytest.LogCaptureFixture,
    reuse: int | None,
) -> None:
    caplog.set_level(logging.INFO, "tokenserver")

    def write(**changes: object) -> Path:
        values = {"StsEndpoint": sts.url, "TokenReuseTime": reuse} | changes
        return write_config(tmp_path, **values)

    server = RunningServer(LiveConfig(write()), sts_client)
    with contextlib.closing(server):
        assert ready(server) == 200
        write(RoleArn=WRONG_ROLE)
        server.look()
        assert [ready(server) for _ in range(5)] == [503] * 5

        sts.add_role(WRONG_ROLE)
        wait_until(lambda: ready(server) == 200)
        write(RoleArn="nonsense")  # is not in force
        server.look()
        assert ready(server) == 200


def test_token_of_an_older_configuration_makes_no_newer_one_ready(
    tmp_path: Path, sts: StsStandIn, sts_client: StsClient
) -> None:
    path = write_config(tmp_path, StsEndpoint=sts.url)
    server = RunningServer(LiveConfig(path), sts_client)
    with contextlib.closing(server), ThreadPoolExecutor() as pool:
        with sts.held():
            asked = pool.submit(server.request)
            sts.wait_for_requests(1)
            write_config(tmp_path, StsEndpoint=sts.url, RoleArn=WRONG_ROLE)
            server.look()
        assert asked.result().json["StatusCode"] == 200

        assert ready(server) == 503


def test_edit_that_changes_no_token_leaves_the_server_ready(
    tmp_path: Path, sts: StsStandIn, sts_client: StsClient
) -> None:
    values: dict[str, Any] = {"StsEndpoint": sts.url, "TokenReuseTime": 300}
    path = write_config(tmp_path, **values)
    server = RunningServer(LiveConfig(path), sts_client)
    with contextlib.closing(server):
        assert ready(server) == 200
        sts.always(DENIED)
        write_config(tmp_path, **values, AllowedOrigins="https://app.example.com")
        server.look()

        assert ready(server) == 200
    assert len(sts.requests) == 1


def test_prober_has_an_answer_within_a_second_while_sts_stalls(
    server: RunningServer, sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEADLINE_SECONDS", "READ_SECONDS"):
        # longer than this client waits
        monkeypatch.setattr(sts_client_module, name, 3600.0)
    sts.always(Hang())
    monkeypatch.setattr(app, "READY_SECONDS", READY_SECONDS)
    assert READY_SECONDS < 1
    assert ready(server) == 503
    monkeypatch.setattr(app, "READY_SECONDS", 3600.0)  # the others do not wait
    assert [ready(server) for _ in range(10)] == [503] * 10

    sts.wait_for_requests(1)
    assert len(sts.requests) == 1

    sts.always(None)
    wait_until(lambda: ready(server) == 200)
    assert len(sts.requests) == 1  # the answer that came late counts


def test_trial_that_breaks_is_in_the_log(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(server.server.tokens, "get", fail)
        assert ready(server) == 503

    (record,) = [one for one in caplog.records if one.exc_info]
    assert record.getMessage() == "failed to try for /readyz"
    wait_until(lambda: ready(server) == 200)


def test_readiness_is_tried_for_a_user_of_its_own(
    make_server: MakeServer, tmp_path: Path, sts: StsStandIn
) -> None:
    key = tmp_path / "login.key"
    key.touch(mode=0o600)
    key.write_bytes(service("HS256").file)
    server = make_server(
        Authentication={
            "SecretFile": str(key),
            "Issuer": ISSUER,
            "Audience": AUDIENCE,
        },
        Grants={
            "/photos": {"ObjectPrefix": "photos/$USER_ID/"},
            "/films": {"ObjectPrefix": "films/$USER_ID/"},
        },
    )

    assert server.request("/photos").status == 401
    assert ready(server) == 200

    (asked,) = sts.requests
    name = login_users.role_session_name(READY_USER)
    assert asked.params["RoleSessionName"] == name
    assert f"photos/{READY_USER}/" in asked.params["Policy"]


@pytest.mark.parametrize(("failure", "status"), [(None, 200), (DENIED, 503)])
def test_readiness_can_be_asked_with_head(
    server: RunningServer, sts: StsStandIn, failure: Fail | None, status: int
) -> None:
    sts.always(failure)

    reply = server.request("/readyz", "HEAD")

    assert (reply.status, reply.body) == (status, b"")


def test_server_that_stops_is_not_ready(server: RunningServer, sts: StsStandIn) -> None:
    assert ready(server) == 200
    with connect(server.port) as client:
        client.sendall(b"GET /readyz HTTP/1.1\r\n")
        wait_until(lambda: server.server.connections() == (1, 1))
        server.server.shutdown()
        stopping = threading.Thread(target=server.server.drain, args=[10])
        stopping.start()
        wait_until(lambda: server.server.is_stopping)
        client.sendall(b"Host: app\r\n\r\n")
        (reply,) = parse_replies(read_to_end(client))
    stopping.join()

    assert (reply.status, reply.json["ErrorCode"]) == (503, "NotReady")
    assert reply.headers["connection"] == "close"


# --- Hints ----------------------------------------------------------------------


def test_each_code_has_a_hint_a_minute_at_most(
    server: RunningServer, sts: StsStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    server.server.hints = HintLog(clock)

    def hints(behaviour: Fail, requests: int = 3) -> int:
        caplog.clear()
        sts.always(behaviour)
        for _ in range(requests):
            server.request()
        return sum(record.levelno == logging.WARNING for record in caplog.records)

    unknown = Fail("EntityNotExist.Role")
    assert hints(DENIED) == 1
    assert hints(unknown) == 1
    assert hints(DENIED) == hints(unknown) == 0
    clock.now += 59
    assert hints(DENIED) == hints(unknown) == 0
    clock.now += 1
    assert hints(DENIED) == hints(unknown) == 1
    assert hints(Fail("Strange.Code", "No.", 403)) == 0


def test_readiness_probes_do_not_fill_the_log_with_hints(
    server: RunningServer, sts: StsStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    sts.always(DENIED)
    for _ in range(20):
        ready(server)

    warnings = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1
