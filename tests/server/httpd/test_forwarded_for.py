"""Behind proxies: TrustedProxies, X-Forwarded-For and the client in the log."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.client import exchange
from helpers.hostile import get
from helpers.machine import PATIENCE_SECONDS
from helpers.proxies import nginx
from helpers.server import MakeServer, RunningServer
from helpers.settings import settings, write_config

from localcloud.sts import StsStandIn
from tokenserver.config.load import LiveConfig
from tokenserver.errors import ConfigError
from tokenserver.httpd.origins import forwarded_client
from tokenserver.httpd.request import MAX_HEAD_BYTES, parse_head
from tokenserver.logs import JsonFormatter, ReplyLine

CLIENT = "203.0.113.9"  # an address of the documentation, as are those below
PROXIES = ["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"]

LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere 127.0.0.1 is the one loopback address"
)


def logged_client(caplog: pytest.LogCaptureFixture) -> str:
    """Return the client of the one request in the log, which both formats agree on."""
    (record,) = [one for one in caplog.records if isinstance(one.msg, ReplyLine)]
    client = json.loads(JsonFormatter().format(record))["client"]
    assert isinstance(client, str)
    assert record.getMessage().startswith(f"{client} GET / ")
    caplog.clear()
    return client


def asked(*values: str) -> bytes:
    """Return a request with a header line X-Forwarded-For for each of *values*."""
    lines = [f"X-Forwarded-For: {value}" for value in values]
    return get(*lines, "Connection: close", target="/")


def ask(server: RunningServer, *values: str) -> None:
    """Send that request."""
    assert exchange(server.port, asked(*values)).startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def proxied(make_server: MakeServer) -> RunningServer:
    """A token server that believes what its proxies say, and 127.0.0.1 is one."""
    return make_server(TrustedProxies=PROXIES)


# --- Who is the client ----------------------------------------------------------


NAMED: dict[str, tuple[list[str], str]] = {
    "no header": ([], "127.0.0.1"),
    "client": ([CLIENT], CLIENT),
    "several proxies": ([f"{CLIENT}, 10.1.2.3, 10.4.5.6"], CLIENT),
    "no blanks": ([f"{CLIENT},10.1.2.3,10.4.5.6"], CLIENT),
    "tabs": ([f"\t{CLIENT} \t,\t10.1.2.3 "], CLIENT),
    "several lines": ([CLIENT, "10.1.2.3", "10.4.5.6"], CLIENT),
    "spoofed": ([f"198.51.100.1, {CLIENT}"], CLIENT),
    "spoofed proxy": ([f"10.1.2.3, {CLIENT}, 10.1.2.3"], CLIENT),
    "spoofed line": (["198.51.100.1", CLIENT], CLIENT),
    "spoofed nonsense": ([f"nonsense, {CLIENT}"], CLIENT),
    "a proxy itself asks": (["10.1.2.3"], "10.1.2.3"),
    "proxies alone": (["10.1.2.3, 10.4.5.6"], "10.1.2.3"),
    "IPv6": (["2001:db8:9::1"], "2001:db8:9::1"),
    "IPv6, other spelling": (["2001:DB8:9:0::01"], "2001:db8:9::1"),
    "proxy with IPv6": ([f"{CLIENT}, 2001:db8:1::7"], CLIENT),
    "IPv4 within IPv6": ([f"{CLIENT}, ::ffff:10.1.2.3"], CLIENT),
    "client with IPv4 within IPv6": ([f"::ffff:{CLIENT}"], CLIENT),
    "zone": (["fe80::1%eth0"], "fe80::1"),
    "empty": ([""], "127.0.0.1"),
    "comma": ([","], "127.0.0.1"),
    "empty at the end": ([f"{CLIENT},"], "127.0.0.1"),
    "unknown": ([f"{CLIENT}, unknown"], "127.0.0.1"),
    "name between": ([f"{CLIENT}, _hidden, 10.1.2.3"], "10.1.2.3"),
    "port": ([f"{CLIENT}:4711"], "127.0.0.1"),
    "brackets": (["[2001:db8:9::1]"], "127.0.0.1"),
    "brackets and port": (["[2001:db8:9::1]:4711"], "127.0.0.1"),
    "quoted": ([f'"{CLIENT}"'], "127.0.0.1"),
    "Forwarded": ([f"for={CLIENT}"], "127.0.0.1"),
    "zeros in front": (["203.0.113.009"], "127.0.0.1"),
    "too short": (["203.0.113"], "127.0.0.1"),
    "number": (["3405803785"], "127.0.0.1"),
    "network": (["10.0.0.0/8"], "127.0.0.1"),
    "name": (["localhost"], "127.0.0.1"),
    "other digits": (["\xb2\xb3.0.0.1"], "127.0.0.1"),
    "zone of nonsense": (["1.2.3.4%\xff\x85"], "1.2.3.4"),
}
NETWORKS = [ipaddress.ip_network(text) for text in PROXIES]


@pytest.mark.parametrize(("values", "client"), NAMED.values(), ids=NAMED)
def test_the_client_is_the_one_that_a_trusted_proxy_names(
    values: list[str], client: str
) -> None:
    fields = parse_head(asked(*values)).fields

    named = forwarded_client("127.0.0.1", fields.get("x-forwarded-for", ""), NETWORKS)

    assert named == client


@pytest.mark.parametrize(
    "name", ["no header", "several lines", "spoofed", "empty", "zone of nonsense"]
)
def test_log_has_the_client_that_a_trusted_proxy_names(
    proxied: RunningServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    values, client = NAMED[name]

    ask(proxied, *values)

    assert logged_client(caplog) == client


@pytest.mark.parametrize("proxies", [None, [], "10.0.0.0/8", "127.0.0.2", "::1"])
def test_others_are_not_believed(
    make_server: MakeServer, caplog: pytest.LogCaptureFixture, proxies: Any
) -> None:
    server = make_server(TrustedProxies=proxies)

    ask(server, CLIENT)

    assert logged_client(caplog) == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("::1", "::1"),
        ("2001:db8:1::5", CLIENT),
        ("2001:db8:2::5", "2001:db8:2::5"),
        ("::ffff:10.0.0.1", CLIENT),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("11.0.0.1", "11.0.0.1"),
    ],
)
def test_peers_are_told_apart_by_network(peer: str, client: str) -> None:
    assert forwarded_client(peer, CLIENT, NETWORKS) == client


def test_connection_kept_alive_has_a_client_for_each_request(
    proxied: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    timeout = PATIENCE_SECONDS
    connection = http.client.HTTPConnection("127.0.0.1", proxied.port, timeout=timeout)
    with contextlib.closing(connection):
        for value, client in (
            (CLIENT, CLIENT),
            ("", "127.0.0.1"),
            ("198.51.100.1", "198.51.100.1"),
        ):
            headers = {"X-Forwarded-For": value} if value else {}
            connection.request("GET", "/", headers=headers)
            connection.getresponse().read()

            assert logged_client(caplog) == client


def test_refused_request_has_its_client_in_the_log(
    proxied: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    proxied.request("/favicon.ico", headers={"X-Forwarded-For": CLIENT})

    assert caplog.messages[-1].startswith(f"{CLIENT} GET /favicon.ico 404 NotFound ")


def test_header_changes_nothing_but_the_log(proxied: RunningServer) -> None:
    reply = proxied.request(headers={"X-Forwarded-For": CLIENT})

    assert reply.json["StatusCode"] == 200
    assert CLIENT not in str(reply)


@pytest.mark.parametrize("entry", ["10.0.0.1", "", "1", "2001:db8:1::1", "10.0.0.1 \t"])
def test_longest_list_costs_next_to_nothing(entry: str) -> None:
    networks = [ipaddress.ip_network(f"172.16.{part}.0/24") for part in range(200)]
    networks += NETWORKS
    text = ",".join([entry] * (MAX_HEAD_BYTES // (len(entry) + 1)))
    begun = time.thread_time()

    forwarded_client("10.0.0.1", text, networks)

    assert time.thread_time() - begun < 0.05


def test_proxies_may_stand_in_a_row() -> None:
    row = ", ".join([CLIENT, *[f"10.0.0.{number}" for number in range(20)]])

    assert forwarded_client("127.0.0.1", row, NETWORKS) == CLIENT


# --- Settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "",
        "10.0.0.1/8",  # bits of a host
        "2001:db8::1/32",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0",
        "10/8",
        "10.0.0.*",
        "10.0.0.1-10.0.0.9",
        "10.0.0.1:80",
        "[::1]",
        "proxy.example.com",
        "10.0.0.1, 10.0.0.2",
        " 10.0.0.1",
        "*",
        ["10.0.0.1", "proxy"],
    ],
)
def test_wrong_proxy_is_named_with_the_bound(tmp_path: Path, value: object) -> None:
    path = write_config(tmp_path, TrustedProxies=value)

    with pytest.raises(ConfigError) as error:
        LiveConfig(path)

    (line,) = error.value.problems
    assert line.startswith(f"{path}: TrustedProxies has ")
    assert "it must be addresses or networks, such as 10.0.0.5 or 10.0.0.0/8" in line


@pytest.mark.parametrize("value", [1, 167772161, True, None, {}, [1], [["10.0.0.1"]]])
def test_what_is_no_list_of_proxies_is_an_error(tmp_path: Path, value: object) -> None:
    path = tmp_path / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings() | {"TrustedProxies": value}))

    with pytest.raises(ConfigError, match="TrustedProxies must be a string or a list"):
        LiveConfig(path)


def test_edited_list_takes_effect(
    make_server: MakeServer,
    tmp_path: Path,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_server()

    def client() -> str:
        caplog.clear()
        ask(server, CLIENT)
        return logged_client(caplog)

    assert client() == "127.0.0.1"
    write_config(tmp_path, StsEndpoint=sts.url, TrustedProxies="127.0.0.1")
    server.look()
    assert client() == CLIENT
    write_config(tmp_path, StsEndpoint=sts.url)
    server.look()
    assert client() == "127.0.0.1"


# --- nginx ----------------------------------------------------------------------

# The proxy has an address of its own.
LOCATION = """location / {{
    proxy_pass http://127.0.0.1:{port};
    proxy_bind 127.0.0.2;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
}}"""


@LINUX
@pytest.mark.nginx
def test_log_has_the_client_of_nginx(
    make_server: MakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(TrustedProxies="127.0.0.2")
    with nginx(tmp_path, LOCATION.format(port=server.port)) as port:
        for spoofed in ({}, {"X-Forwarded-For": CLIENT}):
            connection = http.client.HTTPConnection(
                "127.0.0.1",
                port,
                timeout=PATIENCE_SECONDS,
                source_address=("127.0.0.3", 0),
            )
            with contextlib.closing(connection):
                connection.request("GET", "/", headers=spoofed)
                assert connection.getresponse().status == 200

            assert logged_client(caplog) == "127.0.0.3"
