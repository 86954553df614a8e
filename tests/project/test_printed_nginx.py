"""The configuration of nginx that the manual prints does what is said beside it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.certificates import Pair, issue
from helpers.machine import PATIENCE_SECONDS, find_program, wait_until
from helpers.manual import PAGES
from helpers.server import MakeServer, RunningServer
from helpers.tls import Files, client_context

# What nginx needs around the lines of the manual, which go into its block "http".
AROUND = """
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{printed}
}}
"""
LOGIN_TOKEN = "a-login-token-that-no-log-may-have"
PATHS = ["/", "/sts/getsts", "/credentials", "/upload-config", "/healthz", "/readyz"]

pytestmark = [pytest.mark.nginx, pytest.mark.process]


@dataclass
class Nginx:
    """nginx as the manual has it, before two token servers."""

    port: int
    authority: Pair = field(repr=False)
    folder: Path
    servers: list[RunningServer]

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a reply to one request, on its own connection."""
        context = client_context(self.authority)
        with contextlib.closing(
            http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=PATIENCE_SECONDS, context=context
            )
        ) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    @property
    def logs(self) -> str:
        """All that nginx has logged."""
        return "".join(path.read_text() for path in self.folder.glob("*.log"))


def printed(replacements: dict[str, str]) -> str:
    """Return the lines of the manual, with the ports and paths of this test."""
    (text,) = PAGES["docs/operations.md"].code("nginx")
    for old, new in replacements.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def nginx(make_server: MakeServer, tmp_path: Path) -> Iterator[Nginx]:
    changes = {"TrustedProxies": ["127.0.0.1"], "Region": "cn-hangzhou"}
    servers = [make_server(**changes) for _ in range(2)]
    folder = tmp_path / "nginx"
    folder.mkdir()
    authority = issue("authority", is_authority=True)
    files = Files(folder)
    files.write(issue("server", authority))
    with socket.create_server(("127.0.0.1", 0), backlog=511) as listening:
        port = listening.getsockname()[1]
        text = printed(
            {
                "server 127.0.0.1:7080": f"server 127.0.0.1:{servers[0].port}",
                "server 127.0.0.1:7081": f"server 127.0.0.1:{servers[1].port}",
                "listen 443": f"listen 127.0.0.1:{port}",
                "/etc/nginx/sts.example.com.pem": str(files.certificate),
                "/etc/nginx/sts.example.com.key": str(files.key),
                "/var/log/nginx/sts.log": str(folder / "sts.log"),
                "/var/log/nginx/sts-error.log": str(folder / "sts-error.log"),
            }
        )
        is_root = Path("/proc/self").stat().st_uid == 0  # only root names a user
        user = "user root;" if is_root else ""
        conf = folder / "nginx.conf"
        conf.write_text(AROUND.format(printed=text, user=user))
        process = subprocess.Popen(
            [find_program("nginx"), "-p", str(folder), "-c", str(conf)],
            env={"NGINX": f"{listening.fileno()};"},
            pass_fds=[listening.fileno()],
        )
    try:
        yield Nginx(port, authority, folder, servers)
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("path", PATHS)
def test_each_path_of_the_recipes_passes(nginx: Nginx, path: str) -> None:
    status, body = nginx.get(path)

    assert status == 200
    assert json.loads(body)


def test_nobody_without_tls_is_let_in(nginx: Nginx) -> None:
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=PATIENCE_SECONDS)
    ) as plain:
        plain.request("GET", "/")
        assert plain.getresponse().status == 400

    with pytest.raises(ssl.SSLCertVerificationError):
        Nginx(nginx.port, issue("another", is_authority=True), Path(), []).get("/")


def test_a_login_token_in_a_url_is_in_no_log(nginx: Nginx) -> None:
    nginx.get(f"/sts/getsts?access_token={LOGIN_TOKEN}")
    for server in nginx.servers:  # nginx logs an error, with the query or not at all
        server.close()
    status, _ = nginx.get(f"/sts/failed?access_token={LOGIN_TOKEN}")

    assert status == 502
    assert "GET /sts/getsts 200" in nginx.logs
    wait_until(lambda: "GET /sts/failed 502" in nginx.logs)
    assert LOGIN_TOKEN not in nginx.logs


def test_one_client_cannot_ask_without_end(nginx: Nginx) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = pool.map(lambda _: nginx.get("/healthz")[0], range(400))

    counts = Counter(replies)
    assert set(counts) == {200, 429}
    assert counts[200] >= 51  # one, and the burst


def test_a_server_that_restarts_costs_no_502(nginx: Nginx) -> None:
    before = [nginx.get("/")[0] for _ in range(4)]
    nginx.servers[0].close()
    after = [nginx.get("/")[0] for _ in range(6)]

    assert before + after == [200] * 10
