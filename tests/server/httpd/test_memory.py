"""The memory of a server with all the tokens it may keep, which hostile clients fill.

deploy/kubernetes.yaml gives a container 256 MiB; what is above the limit here is room
for what nobody thought of.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.certificates import issue
from helpers.machine import PATIENCE_SECONDS, many_files
from helpers.settings import write_config
from helpers.uploads import PATH, callback

pytestmark = [pytest.mark.slow, pytest.mark.process]

MOST_MB = 160
CONNECTIONS = 1024

# A server in a process of its own, with 10,000 tokens as large as those of STS, of
# users whose policies are as large as they may be.  It says its port, and after each
# line on stdin its memory.
SERVER = """
import re, sys, threading
from pathlib import Path
from tokenserver.app import TokenServer
from tokenserver.cli import raise_file_limit
from tokenserver.config.load import LiveConfig
from tokenserver.config.tls import LiveTls
from tokenserver.documents import Credentials
from tokenserver.logs import log_to_stderr
from tokenserver.sts.client import StsClient
from tokenserver.sts.tokens import TokenCache

def assume_role(call):
    token = call.role_session_name.ljust(1000, "t")
    return Credentials("STS." + "i" * 24, "s" * 44, token, "2099-01-01T00:00:00Z", "")

StsClient()  # with the SDK, which takes most of the memory
config = LiveConfig(Path(sys.argv[1]))
tls = LiveTls(Path(sys.argv[2]), Path(sys.argv[2])) if len(sys.argv) > 2 else None
tokens = TokenCache(assume_role)
grant = config.current().grants["/"]
for number in range(10_000):
    tokens.get(grant.call_for(f"user{number}"), 300)
raise_file_limit()
log_to_stderr()
server = TokenServer(("127.0.0.1", 0), config, tokens, tls and tls.current)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
for line in sys.stdin:
    status = Path("/proc/self/status").read_text()
    print(re.search(r"VmHWM:\\s+(\\d+)", status)[1], flush=True)
"""

HEAD = b"GET / HTTP/1.1\r\nHost: app\r\n" + b"X-Pad: ".ljust(15 * 1024, b"p")
BODY = b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 65535\r\n\r\n" + bytes(
    60 * 1024
)
REPORT = BODY.replace(b"/", PATH.encode(), 1)  # whose body is kept
KEPT = b"GET /healthz HTTP/1.1\r\nHost: app\r\n\r\n"
HELLO = b"\x16\x03\x01\x40\0\x01\0\x40\0" + bytes(16 * 1024 - 100)


def plain(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname, ANYBODY.verify_mode = False, ssl.CERT_NONE


def secure(port: int) -> socket.socket:
    return ANYBODY.wrap_socket(plain(port))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("is_tls", [False, True], ids=["HTTP", "HTTPS"])
def test_memory_has_a_limit_whatever_clients_send(tmp_path: Path, is_tls: bool) -> None:
    arguments = [str(write_config(tmp_path, Callback=callback(tmp_path)))]
    if is_tls:
        pair = issue("server")
        (tmp_path / "both.pem").write_bytes(pair.pem + pair.key_pem())
        arguments.append(str(tmp_path / "both.pem"))
    kinds: list[tuple[Callable[[int], socket.socket], bytes]] = [
        (secure if is_tls else plain, sent)
        for sent in ((BODY, REPORT, HEAD) if is_tls else (KEPT, BODY, REPORT, HEAD))
    ]
    if is_tls:
        kinds.append((plain, HELLO))

    with (
        many_files(),
        subprocess.Popen(
            [sys.executable, "-c", SERVER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        port = int(process.stdout.readline())
        for connect, sent in kinds:
            with contextlib.ExitStack() as stack:
                for _ in range(CONNECTIONS):
                    client = stack.enter_context(connect(port))
                    with contextlib.suppress(OSError):
                        client.sendall(sent)
                print("", file=process.stdin, flush=True)
                megabytes = int(process.stdout.readline()) / 1024
            print(f"{connect.__name__} {sent[:40]!r}: {megabytes:.0f} MB")
        process.stdin.close()
        process.terminate()

    assert megabytes < MOST_MB
