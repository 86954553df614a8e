"""Certificates that are renewed while the server runs, and files that are wrong."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.certificates import Pair
from helpers.client import parse_replies, read_reply, read_to_end
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.processes import call, running
from helpers.server import RunningServer
from helpers.settings import write_config
from helpers.tls import LAST_GET, Files, connect_tls, lines, served

from localcloud.sts import StsStandIn
from tokenserver.config.tls import LiveTls
from tokenserver.errors import ConfigError

pytestmark = pytest.mark.slow

# --- Renewal --------------------------------------------------------------------


def test_renewed_certificate_is_for_new_connections(
    server: RunningServer,
    files: Files,
    pairs: tuple[Pair, Pair],
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with connect_tls(server.port, context) as open_before:
        files.write(pairs[1])
        assert served(server.port, context) == pairs[0].der  # as nobody has looked yet
        server.look()
        assert served(server.port, context) == pairs[1].der

        open_before.sendall(LAST_GET)
        (reply,) = parse_replies(read_to_end(open_before))
        assert reply.status == 200
    assert f"new TLS certificate: {files.certificate}, {files.key}" in lines(
        server, caplog
    )


Renew = Callable[[Files, Pair], object]
WRONG_RENEWALS = [
    pytest.param(
        lambda files, pair: files.certificate.write_bytes(pair.pem),
        "does not belong to the key",
        id="certificate without its key",
    ),
    pytest.param(
        lambda files, pair: files.key.write_bytes(pair.key_pem()),
        "does not belong to the key",
        id="key without its certificate",
    ),
    pytest.param(
        lambda files, pair: files.certificate.write_bytes(b"\xff\0garbage"),
        "is not a PEM certificate",
        id="garbage",
    ),
    pytest.param(
        lambda files, pair: files.certificate.write_bytes(pair.pem[:300]),
        "is not a PEM certificate",
        id="half a certificate",
    ),
    pytest.param(
        lambda files, pair: files.key.write_bytes(b""),
        "is not a PEM certificate",
        id="empty key",
    ),
    pytest.param(
        lambda files, pair: files.certificate.unlink(),
        "cannot be read",
        id="no certificate",
    ),
    pytest.param(
        lambda files, pair: files.key.unlink(),
        "cannot be read",
        id="no key",
    ),
    pytest.param(
        lambda files, pair: files.key.write_bytes(pair.key_pem(b"secret")),
        "is encrypted",
        id="encrypted key",
    ),
]


@pytest.mark.parametrize(("renew", "problem"), WRONG_RENEWALS)
def test_wrong_renewal_changes_nothing_is_logged_once_and_can_be_repaired(
    server: RunningServer,
    files: Files,
    pairs: tuple[Pair, Pair],
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    renew: Renew,
    problem: str,
) -> None:
    renew(files, pairs[1])
    for _ in range(5):
        server.look()
        assert served(server.port, context) == pairs[0].der

    (reason, what_now) = lines(server, caplog)
    assert problem in reason
    assert what_now == "the previous TLS certificate remains in force"

    files.write(pairs[1])
    server.look()
    assert served(server.port, context) == pairs[1].der


def test_certificate_that_is_put_back_is_taken_up(
    server: RunningServer,
    files: Files,
    pairs: tuple[Pair, Pair],
    context: ssl.SSLContext,
) -> None:
    for pair in (pairs[1], pairs[0], pairs[1]):
        files.certificate.write_bytes(b"")
        server.look()
        served(server.port, context)
        files.write(pair)
        server.look()

        assert served(server.port, context) == pair.der


def write_in_place(files: Files, pair: Pair, number: int) -> None:
    files.write(pair)


def rename_each(files: Files, pair: Pair, number: int) -> None:
    folder = files.certificate.parent / f"new-{number}"
    folder.mkdir()
    Files(folder).write(pair)
    (folder / files.key.name).replace(files.key)
    (folder / files.certificate.name).replace(files.certificate)


def swap_symlink(files: Files, pair: Pair, number: int) -> None:
    """Do as Kubernetes does: the files are links into a folder that is a link."""
    top = files.certificate.parent
    (top / f"data-{number}").mkdir()
    Files(top / f"data-{number}").write(pair)
    (top / "next").symlink_to(f"data-{number}")
    (top / "next").replace(top / "data")
    for path in (files.certificate, files.key):
        if not path.is_symlink():
            (top / "link").symlink_to(f"data/{path.name}")
            (top / "link").replace(path)


@pytest.mark.parametrize("swap", [write_in_place, rename_each, swap_symlink])
@pytest.mark.slow
def test_renewals_under_load_cost_no_request(
    server: RunningServer,
    files: Files,
    pairs: tuple[Pair, Pair],
    context: ssl.SSLContext,
    swap: Callable[[Files, Pair, int], None],
) -> None:
    is_over = threading.Event()
    seen: Counter[bytes] = Counter()  # certificates, by all clients
    counting = threading.Lock()

    def ask(requests: int) -> int:
        """Send so many requests on each connection; return how many were answered."""
        answered = 0
        while not is_over.is_set():
            connection = http.client.HTTPSConnection(
                "127.0.0.1", server.port, timeout=PATIENCE_SECONDS, context=context
            )
            with contextlib.closing(connection):
                for _ in range(requests):
                    connection.request("GET", "/")
                    assert isinstance(connection.sock, ssl.SSLSocket)
                    found = connection.sock.getpeercert(binary_form=True)
                    assert read_reply(connection).json["StatusCode"] == 200
                    answered += 1
            assert found
            with counting:
                seen[found] += 1
        return answered

    with ThreadPoolExecutor(8) as pool:
        clients = [
            pool.submit(ask, requests) for requests in (1, 1, 1, 1, 3, 5, 10, 20)
        ]
        try:
            for number in range(20):
                pair = pairs[(number + 1) % 2]
                swap(files, pair, number)
                before = seen[pair.der]

                def is_taken_up(pair: Pair = pair, before: int = before) -> bool:
                    server.look()  # again, since one amidst a swap is for nothing
                    broken = any(client.done() for client in clients)
                    return broken or seen[pair.der] > before + 3

                wait_until(is_taken_up)
        finally:
            is_over.set()
        answered = [client.result() for client in clients]

    assert min(answered) > 0
    assert set(seen) == {pair.der for pair in pairs}


# --- Files that are wrong from the start ----------------------------------------


def loaded(files: Files) -> LiveTls:
    return LiveTls(files.certificate, files.key)


@pytest.mark.parametrize(("spoil", "problem"), WRONG_RENEWALS)
def test_wrong_file_is_named_in_one_line(
    files: Files, pairs: tuple[Pair, Pair], spoil: Renew, problem: str
) -> None:
    spoil(files, pairs[1])

    with pytest.raises(ConfigError) as error:
        loaded(files)

    (line,) = error.value.problems
    assert problem in line
    assert re.match(r"\S+(cert|key)\.pem: ", line)
    assert line.isprintable()


def test_certificate_file_without_a_key_is_named(files: Files) -> None:
    with pytest.raises(ConfigError, match=r"cert\.pem: is not a PEM .* key") as error:
        LiveTls(files.certificate, files.certificate)

    assert len(error.value.problems) == 1


def test_directory_is_named(files: Files) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        LiveTls(files.certificate.parent, files.key)


def test_key_that_others_may_read_is_a_warning(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(files)
    assert caplog.messages == []

    files.key.chmod(0o640)
    loaded(files)

    assert caplog.messages == [
        f"{files.key}: contains a secret, and other users may read it; run chmod 600"
    ]


# --- From a shell ---------------------------------------------------------------


@pytest.mark.process
def test_curl_gets_a_token_from_one_file_and_a_signal_lets_it_finish(
    tmp_path: Path,
    files: Files,
    pairs: tuple[Pair, Pair],
    authority: Pair,
    sts: StsStandIn,
) -> None:
    program = shutil.which("curl")
    if not program:
        pytest.skip("curl is not installed")
    config = write_config(tmp_path, StsEndpoint=sts.url)
    (tmp_path / "authority.pem").write_bytes(authority.pem)
    files.key.write_bytes(pairs[0].pem + pairs[0].key_pem())

    with running("--config", config, "--tls-cert", files.key) as (process, port):
        with sts.held():
            client = subprocess.Popen(
                [
                    program,
                    "--silent",
                    "--show-error",
                    "--noproxy",
                    "*",
                    "--cacert",
                    tmp_path / "authority.pem",
                    f"https://127.0.0.1:{port}/sts/getsts",
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            sts.wait_for_requests(1)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)  # without it the test is only weaker
        output, errors = client.communicate(timeout=PATIENCE_SECONDS)
        process.wait(PATIENCE_SECONDS)

    assert (client.returncode, errors, process.returncode) == (0, b"", 0)
    assert b'{"StatusCode":200,"AccessKeyId":"STS.' in output


def test_key_without_a_certificate_exits_2(tmp_path: Path, files: Files) -> None:
    result = call("--config", write_config(tmp_path), "--tls-key", files.key)

    assert result.returncode == 2
    assert result.stderr == (
        "sts_server.py: --tls-key needs --tls-cert, the certificate for the key\n"
    )


def test_wrong_certificate_exits_2(tmp_path: Path, files: Files) -> None:
    files.certificate.write_bytes(b"")

    result = call(
        "--config",
        write_config(tmp_path),
        "--tls-cert",
        files.certificate,
        "--tls-key",
        files.key,
    )

    assert result.returncode == 2
    assert result.stderr.startswith(
        f"sts_server.py: {files.certificate}: is not a PEM "
    )
    assert result.stderr.count("\n") == 1
