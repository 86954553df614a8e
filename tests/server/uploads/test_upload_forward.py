"""ForwardUrl: each upload reaches the backend, which may be down, slow or wrong."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.backend import Backend, Forwarded
from helpers.certificates import issue
from helpers.clocks import FakeClock
from helpers.machine import PATIENCE_SECONDS, reserved_port, wait_until
from helpers.server import MakeServer, RunningServer
from helpers.settings import write_config
from helpers.uploads import SECRET, callback, post, records, report, ticket_of

from tokenserver.config.callback import Callback
from tokenserver.hosts import Url, parse_url
from tokenserver.oss.callback import OSS_KEY
from tokenserver.uploads import post as post_module
from tokenserver.uploads.forward import Forwarder
from tokenserver.uploads.post import PostFailed
from tokenserver.uploads.post import post as send
from tokenserver.uploads.retries import RetryQueue

FIVE_MINUTES = 300


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend that takes what it is given."""
    with Backend() as running:
        yield running


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of the server."""
    caplog.set_level(logging.INFO, "tokenserver")
    return caplog


def to(url: str) -> Callback:
    """Return a Callback that forwards to *url*."""
    return Callback(
        url=parse_url("https://app.example.com/oss/uploaded"),
        secrets=(SECRET.encode(),),
        variables=(),
        keys=(OSS_KEY,),
        has_own_key=False,
        uploads_file=None,
        forward_url=parse_url(url),
    )


class Timed(Forwarder):
    """A forwarder without threads, on a clock that a test turns."""

    def __init__(self, url: str, **changes: Any) -> None:
        self.now = FakeClock(0.0)
        self.callback: Callback | None = to(url)
        self.attempts = 0
        options: dict[str, Any] = {
            "clock": self.now,
            "workers": 0,
            "post": self.count,
        } | changes
        super().__init__(lambda: self.callback, **options)

    def count(self, url: Url, fields: Mapping[str, str], body: bytes) -> None:
        self.attempts += 1
        send(url, fields, body)

    def fill(self, number: int) -> None:
        """Have so many documents forwarded."""
        for one in range(number):
            self.put(f"{one:032x}", f"my-bucket/{one}", b'{"number":%d}' % one)

    def run(self, seconds: float) -> None:
        """Try what is due, for so long."""
        end = self.now.now + seconds
        while self.now.now < end:
            while self.work_once():
                pass
            self.now.now += 1


def numbers(received: list[Forwarded]) -> list[int]:
    return sorted(one.json["number"] for one in received)


# --- As a backend sees it -------------------------------------------------------


def test_a_backend_gets_what_the_file_has_and_can_tell_that_it_is_ours(
    make_server: MakeServer, tmp_path: Path, backend: Backend
) -> None:
    url = f"{backend.url}?app=1"
    server = make_server(
        Region="cn-hangzhou", Callback=callback(tmp_path, ForwardUrl=url)
    )
    sealed = ticket_of(server.request("/upload-config").json)

    reply = post(server.port, report(sealed, "photos/猫.jpg"))

    wait_until(lambda: bool(backend.accepted))
    (forwarded,) = backend.accepted
    assert forwarded.path == "/uploads?app=1"
    assert [forwarded.json] == records(tmp_path)
    assert forwarded.headers["content-type"] == "application/json"
    assert forwarded.headers["idempotency-key"] == f'"{reply.json["id"]}"'
    proof = hmac.new(SECRET.encode(), forwarded.body, hashlib.sha256).hexdigest()
    assert forwarded.headers["upload-signature"] == f"sha256={proof}"
    assert forwarded.headers["host"] == f"127.0.0.1:{backend.port}"
    forwarder = server.server.uploads.forwarder
    wait_until(lambda: forwarder.outcomes.counts() == {"Delivered": 1})
    assert forwarder.waiting == 0


def test_uploads_do_not_wait_for_a_backend_that_stalls(
    make_server: MakeServer, tmp_path: Path, backend: Backend
) -> None:
    release = threading.Event()

    def stall(_: Forwarded) -> int:
        assert release.wait(PATIENCE_SECONDS)
        return 200

    backend.answer = stall
    server = make_server(
        Region="cn-hangzhou", Callback=callback(tmp_path, ForwardUrl=backend.url)
    )
    sealed = ticket_of(server.request("/upload-config").json)

    statuses = [post(server.port, report(sealed)).status for _ in range(20)]

    assert statuses == [200] * 20
    assert backend.accepted == []
    assert len(records(tmp_path)) == 20
    release.set()
    wait_until(lambda: len(backend.accepted) == 20)
    assert len({one.json["id"] for one in backend.accepted}) == 20


def test_a_new_address_gets_what_waits_for_the_old_one(
    make_server: MakeServer, tmp_path: Path, backend: Backend
) -> None:
    with reserved_port() as port:
        values = callback(tmp_path, ForwardUrl=f"http://127.0.0.1:{port}/")
        server = make_server(Region="cn-hangzhou", Callback=values)
        sealed = ticket_of(server.request("/upload-config").json)
        assert post(server.port, report(sealed)).status == 200

        values["ForwardUrl"] = backend.url
        write_config(tmp_path, Region="cn-hangzhou", Callback=values)
        server.look()

        wait_until(lambda: len(backend.accepted) == 1)


# --- What may go wrong ----------------------------------------------------------


def test_a_backend_that_refuses_for_five_minutes_gets_all_of_it(
    log: pytest.LogCaptureFixture,
) -> None:
    with reserved_port() as port:
        forwarder = Timed(f"http://127.0.0.1:{port}/uploads")
        forwarder.fill(100)
        forwarder.run(FIVE_MINUTES)
        assert forwarder.waiting == 100
        assert forwarder.attempts < 20
        with Backend(port) as backend:
            forwarder.run(40)

    assert numbers(backend.accepted) == list(range(100))
    assert forwarder.waiting == 0
    assert forwarder.outcomes.counts() == {"Delivered": 100}
    messages = [record.getMessage() for record in log.records]
    place = f"http://127.0.0.1:{port}/uploads"
    assert messages[0] == (
        f"cannot forward an upload to {place}: Connection refused; 100 are waiting, "
        "each for up to 10 minutes"
    )
    assert messages[-1] == f"uploads can be forwarded to {place} again"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_backend_that_fails_for_five_minutes_gets_all_of_it(
    backend: Backend, status: int
) -> None:
    backend.status = status
    forwarder = Timed(backend.url)
    forwarder.fill(50)
    forwarder.run(FIVE_MINUTES)
    assert (len(backend.received) < 20, backend.accepted) == (True, [])

    backend.status = 200
    forwarder.run(90)

    assert numbers(backend.accepted) == list(range(50))
    assert forwarder.waiting == 0


def test_a_document_that_is_refused_holds_no_other_up(
    backend: Backend, log: pytest.LogCaptureFixture
) -> None:
    backend.answer = lambda one: 400 if one.json["number"] == 3 else 200
    forwarder = Timed(backend.url)
    forwarder.fill(10)

    forwarder.run(2)
    assert numbers(backend.accepted) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    forwarder.run(700)

    assert forwarder.outcomes.counts() == {"Delivered": 9, "Lost": 1}
    assert forwarder.waiting == 0
    errors = [r.getMessage() for r in log.records if r.levelno == logging.ERROR]
    assert errors == [
        f"upload {3:032x} of my-bucket/3 could not be forwarded and is lost: HTTP 400"
    ]


def test_a_redirect_is_not_followed(
    backend: Backend, log: pytest.LogCaptureFixture
) -> None:
    with Backend() as other:
        backend.status, backend.location = 307, other.url
        forwarder = Timed(backend.url)
        forwarder.fill(1)
        forwarder.run(700)

        assert other.received == []
    assert forwarder.outcomes.counts() == {"Lost": 1}
    assert "is lost: HTTP 307; redirects are not followed" in log.text


def test_what_waits_in_memory_is_bounded(log: pytest.LogCaptureFixture) -> None:
    with reserved_port() as port:
        forwarder = Timed(
            f"http://127.0.0.1:{port}/", queue=RetryQueue(max_bytes=50_000)
        )
        forwarder.fill(1000)

        assert forwarder.waiting < 100
        lost = 1000 - forwarder.waiting
        assert forwarder.outcomes.counts() == {"Lost": lost}
        assert log.text.count("is lost: the queue is full") == lost


def test_without_a_backend_any_more_what_waits_is_lost(
    log: pytest.LogCaptureFixture,
) -> None:
    forwarder = Timed("http://127.0.0.1:9/")
    forwarder.fill(2)
    forwarder.callback = None

    forwarder.run(1)

    assert forwarder.outcomes.counts() == {"Lost": 2}
    assert log.text.count("ForwardUrl was removed") == 2


def test_a_defect_is_in_the_log_and_the_document_tried_again(
    backend: Backend, log: pytest.LogCaptureFixture
) -> None:
    has_failed = False

    def broken(url: Url, fields: Mapping[str, str], body: bytes) -> None:
        nonlocal has_failed
        if not has_failed:
            has_failed = True
            raise KeyError("defect")
        send(url, fields, body)

    forwarder = Timed(backend.url, post=broken)
    forwarder.fill(1)
    forwarder.run(3)

    assert len(backend.accepted) == 1
    assert "failed to forward an upload" in log.text


def test_what_waits_is_tried_once_more_before_the_server_ends(
    make_server: MakeServer, tmp_path: Path, backend: Backend
) -> None:
    backend.status = 503
    server = make_server(
        Region="cn-hangzhou", Callback=callback(tmp_path, ForwardUrl=backend.url)
    )
    sealed = ticket_of(server.request("/upload-config").json)
    for _ in range(10):
        assert post(server.port, report(sealed)).status == 200
    wait_until(lambda: bool(backend.received))
    backend.status = 200

    server.close()

    assert len({one.json["id"] for one in backend.accepted}) == 10
    assert server.server.uploads.forwarder.waiting == 0


def test_what_cannot_be_forwarded_before_the_server_ends_is_in_the_log(
    make_server: MakeServer, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    with reserved_port() as port:
        values = callback(tmp_path, ForwardUrl=f"http://127.0.0.1:{port}/")
        server = make_server(Region="cn-hangzhou", Callback=values)
        sealed = ticket_of(server.request("/upload-config").json)
        for _ in range(5):
            assert post(server.port, report(sealed)).status == 200

        server.close()

    assert log.text.count("could not be forwarded and is lost") == 5
    assert server.server.uploads.forwarder.waiting == 0


# --- One POST -------------------------------------------------------------------


@contextlib.contextmanager
def answering(*chunks: bytes) -> Iterator[str]:
    """Give the address of a server that says this, however it is asked, and waits."""
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    opened, _ = listener.accept()
                    with opened:
                        opened.recv(65536)
                        for chunk in chunks:
                            opened.sendall(chunk)
                        if not chunks or chunks[-1]:
                            is_over.wait(PATIENCE_SECONDS)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def fails(url: str) -> PostFailed:
    """Return why a document does not arrive at *url*."""
    with pytest.raises(PostFailed) as raised:
        send(parse_url(url), {}, b"{}")
    return raised.value


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"HTTP/1.1 2"], id="a part of a status"),
        pytest.param([b"HTTP/1.1 200 OK\r\nA: b\r\n"], id="a part of a head"),
    ],
)
def test_an_answer_has_a_time_limit(
    monkeypatch: pytest.MonkeyPatch, chunks: list[bytes]
) -> None:
    monkeypatch.setattr(post_module, "ATTEMPT_SECONDS", 0.3)
    with answering(*chunks) as url:
        error = fails(url)

    assert str(error) == "no answer within 0.3 s"
    assert error.is_backend


def test_the_rest_of_an_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(post_module, "ATTEMPT_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(post_module, "LINGER_SECONDS", 0.05)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n.") as url:
        send(parse_url(url), {}, b"{}")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP/1.1", id="SSH"),
        pytest.param(b"HTTP/2 200\r\n\r\n", "the answer is not HTTP/1.1", id="HTTP/2"),
        pytest.param(b"", "the answer is not HTTP/1.1", id="nothing"),
        pytest.param(b"HTTP/1.1 404 No\r\n\r\n", "HTTP 404", id="not found"),
    ],
)
def test_only_a_status_of_success_counts(answer: bytes, reason: str) -> None:
    with answering(answer, b"") as url:
        assert str(fails(url)).startswith(reason)


def test_a_certificate_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = issue("backend")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(pair.pem)
    key.write_bytes(pair.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Backend(context=context) as backend:
        error = fails(backend.url)
        assert str(error) == "TLS failed: self-signed certificate"
        assert backend.received == []
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(post_module, "tls_context", lambda: trusting)
        send(parse_url(backend.url), {"Idempotency-Key": '"1"'}, b"{}")

    assert [one.headers["idempotency-key"] for one in backend.accepted] == ['"1"']


@pytest.mark.parametrize(
    "found",
    [
        "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::",
        "169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200",
        "fd00:ec2::254", "224.0.0.1",
    ],
)  # fmt: skip
def test_a_name_cannot_lead_to_this_machine_or_its_credentials(
    monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (found, 80))]
    )

    error = fails("http://backend.example.com/uploads")

    assert str(error).startswith(f"backend.example.com resolves to {found}, an ")


def test_a_name_leads_to_the_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", 80)), (2, 1, 6, "", ("192.0.2.5", 80))]

    connected = []

    def connect(place: tuple[str, int], _timeout: float) -> Any:
        connected.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    fails("https://backend.example.com/uploads")

    assert asked == ["backend.example.com"]
    assert connected == [("192.0.2.5", 443)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_that_the_operator_names_may_be_this_machine(
    backend: Backend, host: str
) -> None:
    send(parse_url(f"http://{host}:{backend.port}/"), {}, b"{}")

    assert len(backend.accepted) == 1


def test_a_name_that_is_not_known_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    assert (
        str(fails("http://backend.example.com/")) == "the host name cannot be resolved"
    )


def test_no_proxy_is_asked(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    send(parse_url(backend.url), {}, b"{}")

    assert len(backend.accepted) == 1


# --- All of it at once ----------------------------------------------------------


def test_each_upload_arrives_once_from_many_at_once(
    make_server: MakeServer, tmp_path: Path, backend: Backend
) -> None:
    server: RunningServer = make_server(
        Region="cn-hangzhou", Callback=callback(tmp_path, ForwardUrl=backend.url)
    )
    sealed = ticket_of(server.request("/upload-config").json)

    def upload_ten() -> None:
        for _ in range(10):
            assert post(server.port, report(sealed)).status == 200

    threads = [threading.Thread(target=upload_ten) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    wait_until(lambda: len(backend.accepted) == 160)
    assert {one.json["id"] for one in backend.accepted} == {
        record["id"] for record in records(tmp_path)
    }
    wait_until(lambda: server.server.uploads.forwarder.waiting == 0)
