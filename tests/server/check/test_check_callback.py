"""What --check says of the URL that OSS is to call, and what proxies make of it."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from helpers.machine import PATIENCE_SECONDS, reserved_port
from helpers.processes import call
from helpers.proxies import nginx
from helpers.server import MakeServer, RunningServer
from helpers.settings import ROOT, write_config
from helpers.uploads import PATH, callback, post, records, report, ticket_of

from localcloud.sts import StsStandIn
from tokenserver.check import probe
from tokenserver.check.callback import look_at_callback, look_at_url
from tokenserver.check.report import OK, PROBLEM, WARNING, Finding

# What the manual has in the location of the path
PRINTED = re.findall(
    r"^location = /oss/uploaded \{\n(.*?)^\}",
    (ROOT / "docs" / "uploads.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)[0].replace("http://127.0.0.1:7080", "SERVER")


@pytest.fixture(autouse=True)
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def server(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A server that OSS reports to."""
    return make_server(Region="cn-hangzhou", Callback=callback(tmp_path))


def proxy(
    server: RunningServer, folder: Path, rule: str
) -> AbstractContextManager[int]:
    """Run nginx in front of *server*, with a *rule* for the path; give its port."""
    rule = rule.replace("SERVER", f"http://127.0.0.1:{server.port}")
    return nginx(folder, f"location /oss/ {{ {rule} }}")


def look(port: int) -> Finding:
    """Return what is found of the URL at a *port* of this machine."""
    return look_at_url(f"http://127.0.0.1:{port}{PATH}", PATH)


def test_a_url_that_leads_to_the_server_is_ok(
    server: RunningServer, tmp_path: Path
) -> None:
    found = look(server.port)

    assert found.level == OK
    assert found.text == (
        f"callback http://127.0.0.1:{server.port}{PATH}: leads to this server"
    )
    assert found.remedy == ""
    assert records(tmp_path) == []


@pytest.mark.nginx
@pytest.mark.parametrize(
    ("rule", "level", "text", "counts"),
    [
        pytest.param(
            "proxy_pass SERVER;", OK, "leads to this server", True, id="as is"
        ),
        pytest.param(
            "proxy_pass SERVER/;",
            PROBLEM,
            "HTTP 200, not as a report of OSS",
            False,
            id="path cut",
        ),
        pytest.param(
            "rewrite ^/oss/(.*)$ /api/oss/$1 break; proxy_pass SERVER;",
            PROBLEM,
            "HTTP 200, not as a report of OSS",
            False,
            id="path moved",
        ),
        pytest.param(
            "return 301 https://$host$request_uri;",
            PROBLEM,
            "a redirect instead of an answer",
            False,
            id="redirect",
        ),
        pytest.param(
            "return 200 hello;", PROBLEM, "HTTP 200, not this server", False, id="other"
        ),
        pytest.param(
            "return 403 '[1]';", PROBLEM, "HTTP 403, not this server", False, id="JSON"
        ),
        pytest.param(
            PRINTED,
            OK,
            "leads to this server",
            True,
            id="as the manual has it",
        ),
    ],
)
def test_what_a_proxy_makes_of_the_path_is_said(
    server: RunningServer,
    tmp_path: Path,
    rule: str,
    level: str,
    text: str,
    counts: bool,
) -> None:
    sealed = ticket_of(server.request("/upload-config").json)
    with proxy(server, tmp_path, rule) as port:
        found = look(port)
        post(port, report(sealed))

    assert found.level == level
    assert found.text == f"callback http://127.0.0.1:{port}{PATH}: {text}"
    assert bool(found.remedy) == (level != OK)
    assert len(records(tmp_path)) == counts


def test_a_rewritten_path_is_named_where_users_log_in(
    make_server: MakeServer, tmp_path: Path
) -> None:
    moved = callback(tmp_path, Url="https://app.example.com/moved")
    server = make_server(Region="cn-hangzhou", Callback=moved, Grants={"/avatars": {}})

    found = look(server.port)

    assert found.level == PROBLEM
    assert "A proxy rewrites the path of" in found.remedy
    assert f"Have the proxy forward {PATH} as it is" in found.remedy


def test_a_server_that_does_not_run_is_a_warning() -> None:
    with reserved_port() as port:
        found = look(port)

    assert found.level == WARNING
    assert "connection refused" in found.text
    assert "Start the server before --check" in found.remedy


def test_a_name_that_cannot_be_resolved_is_a_problem() -> None:
    found = look_at_url(f"https://{'o' * 64}.example/oss", "/oss")

    assert found.level == PROBLEM
    assert "cannot be resolved" in found.remedy


def test_without_a_callback_nothing_is_asked() -> None:
    assert list(look_at_callback(None)) == []


def test_the_report_has_it(
    make_server: MakeServer, tmp_path: Path, sts: StsStandIn
) -> None:
    server = make_server(Region="cn-hangzhou", Callback=callback(tmp_path))
    url = f"http://127.0.0.1:{server.port}{PATH}"
    settings = {
        "StsEndpoint": sts.url,
        "Endpoint": f"http://127.0.0.1:{server.port}",
        "Region": "cn-hangzhou",
        "Callback": callback(tmp_path, Url=url, ForwardUrl="https://b.example/?key=k"),
    }
    path = write_config(tmp_path, **settings)
    server.look()

    result = call("--check", "--config", path)

    assert f"  ok       callback {url}: leads to this server" in result.stdout
    shown = [line.split() for line in result.stdout.splitlines()]
    assert ["Callback:", "Url", f'"{url}"'] in shown
    assert '"https://b.example/?..."' in result.stdout
