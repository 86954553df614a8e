"""Which web pages may read the replies: AllowedOrigins, CORS and preflights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import BROWSER_OPTIONS, start, wait_for
from helpers.client import Reply, exchange, parse_replies
from helpers.demo import running
from helpers.login.service import AUDIENCE, ISSUER, service
from helpers.machine import PATIENCE_SECONDS, PROXY_VARIABLES, find_program
from helpers.server import MakeServer, RunningServer
from helpers.settings import settings, write_config
from selenium import webdriver
from selenium.webdriver.common.by import By

from localcloud.loopback import LoopbackHandler, LoopbackServer
from localcloud.sts import StsStandIn
from tokenserver import app
from tokenserver.config.load import LiveConfig
from tokenserver.errors import ConfigError
from tokenserver.httpd import server as httpd_server

pytestmark = pytest.mark.slow

ORIGIN = "https://app.example.com"
OTHER = "http://localhost:8080"
ALLOWED = [ORIGIN, OTHER, "capacitor://localhost", "http://[::1]:3000"]
PREFLIGHT = {
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization",
}


def cors(reply: Reply) -> dict[str, str]:
    """Return the headers that say who may read *reply*."""
    return {
        name: value
        for name, value in reply.headers.items()
        if name == "vary" or name.startswith("access-control-")
    }


def allowed(origin: str) -> dict[str, str]:
    """Return those headers for a page of *origin*, which may."""
    return {"access-control-allow-origin": origin, "vary": "Origin"}


NOBODY = {"vary": "Origin"}
ANYBODY = {"access-control-allow-origin": "*"}


def login_settings(folder: Path) -> dict[str, Any]:
    """Return an Authentication whose key is in *folder*."""
    key = folder / "login.key"
    key.touch(mode=0o600)
    key.write_bytes(service("HS256").file)
    return {"SecretFile": str(key), "Issuer": ISSUER, "Audience": AUDIENCE}


@pytest.fixture
def listed(make_server: MakeServer) -> RunningServer:
    """A token server whose replies only some pages may read."""
    return make_server(AllowedOrigins=ALLOWED)


# --- Who may read what ----------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"AllowedOrigins": "*"}])
@pytest.mark.parametrize("origin", [None, ORIGIN, "null"])
def test_any_page_may_read_replies_by_default(
    make_server: MakeServer, changes: dict[str, Any], origin: str | None
) -> None:
    server = make_server(**changes)

    reply = server.request(headers={"Origin": origin} if origin else {})

    assert (reply.json["StatusCode"], cors(reply)) == (200, ANYBODY)


@pytest.mark.parametrize("origin", ALLOWED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_listed_page_may_read_its_token(
    listed: RunningServer, origin: str, method: str
) -> None:
    reply = listed.request("/", method, {"Origin": origin})

    assert (reply.status, cors(reply)) == (200, allowed(origin))


def test_one_origin_needs_no_list(make_server: MakeServer) -> None:
    server = make_server(AllowedOrigins=ORIGIN)

    assert cors(server.request(headers={"Origin": ORIGIN})) == allowed(ORIGIN)


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        pytest.param("/healthz", "GET", 200, id="health"),
        pytest.param("/readyz", "GET", 200, id="readiness"),
        pytest.param("/credentials", "GET", 200, id="credentials"),
        pytest.param("/favicon.ico", "GET", 404, id="404"),
        pytest.param("/?callback=a&callback=b", "GET", 400, id="400"),
        pytest.param("/", "DELETE", 405, id="405"),
    ],
)
def test_errors_and_other_paths_are_for_the_same_pages(
    listed: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    method: str,
    status: int,
) -> None:
    monkeypatch.setattr(app, "READY_SECONDS", PATIENCE_SECONDS)
    read = listed.request(target, method, {"Origin": ORIGIN})
    unread = listed.request(target, method, {"Origin": "https://other.example"})

    assert (read.status, unread.status) == (status, status)
    # Of a method that is not served, no more than the first line is read.
    assert cors(read) == (NOBODY if status == 405 else allowed(ORIGIN))
    assert cors(unread) == NOBODY


def test_listed_page_may_read_that_nobody_is_logged_in(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(AllowedOrigins=ORIGIN, Authentication=login_settings(tmp_path))

    reply = server.request(headers={"Origin": ORIGIN})

    assert (reply.status, cors(reply)) == (401, allowed(ORIGIN))


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "*",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "https://app.example.com.",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "https://evil.example?https://app.example.com",
        "https://app.example.co",
        "https://APP.example.com",
        "HTTPS://app.example.com",
        "http://app.example.com",
        "app.example.com",
        "https://app.example.com https://evil.example",
        "https://evil.example, https://app.example.com",
        "https://app.example.com, https://app.example.com",
        "http://localhost",
        "http://localhost:80800",
    ],
)
def test_page_that_is_not_listed_may_read_nothing(
    listed: RunningServer, origin: str | None
) -> None:
    reply = listed.request(headers={} if origin is None else {"Origin": origin})

    assert (reply.json["StatusCode"], cors(reply)) == (200, NOBODY)


def test_second_origin_makes_both_worthless(listed: RunningServer) -> None:
    lines = [f"Origin: {ORIGIN}", f"Origin: {OTHER}"]
    head = "\r\n".join(["GET / HTTP/1.1", "Host: app", *lines, "Connection: close"])

    (reply,) = parse_replies(exchange(listed.port, f"{head}\r\n\r\n".encode()))

    assert (reply.status, cors(reply)) == (200, NOBODY)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nOrigin: %s\r\n\0", 400, id="character"),
        pytest.param(b"GET / HTTP/2.0\r\nOrigin: %s\r\n\r\n", 505, id="version"),
        pytest.param(
            b"GET / HTTP/1.1\r\nOrigin: %s\r\n" + b"A: b\r\n" * 4000,
            431,
            id="too large",
        ),
    ],
)
def test_refusal_before_the_head_is_read_says_only_that_it_may_vary(
    listed: RunningServer, sent: bytes, status: int
) -> None:
    received = exchange(listed.port, sent.replace(b"%s", ORIGIN.encode()))

    (reply,) = parse_replies(received)
    assert (reply.status, cors(reply)) == (status, NOBODY)


def test_refusal_over_the_limit_of_connections_says_only_that_it_may_vary(
    listed: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpd_server, "MAX_CONNECTIONS", 0)

    (reply,) = parse_replies(exchange(listed.port))

    assert (reply.status, cors(reply)) == (503, NOBODY)


# --- Preflights -----------------------------------------------------------------

PREFLIGHT_ANSWER = {
    "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
    "access-control-allow-headers": "*, Authorization",  # which * does not cover
    "access-control-max-age": "86400",
}


@pytest.mark.parametrize("target", ["/", "/credentials", "/any/path"])
def test_listed_page_may_send_a_login_token(listed: RunningServer, target: str) -> None:
    reply = listed.request(target, "OPTIONS", PREFLIGHT | {"Origin": ORIGIN})

    assert reply.status == 204
    assert cors(reply) == allowed(ORIGIN) | PREFLIGHT_ANSWER


def test_any_page_may_send_a_login_token_by_default(server: RunningServer) -> None:
    reply = server.request("/", "OPTIONS", PREFLIGHT | {"Origin": ORIGIN})

    assert reply.status == 204
    assert cors(reply) == ANYBODY | PREFLIGHT_ANSWER


@pytest.mark.parametrize("origin", [None, "null", "https://other.example", "*"])
def test_preflight_of_another_page_is_answered_with_nothing(
    listed: RunningServer, sts: StsStandIn, origin: str | None
) -> None:
    headers = PREFLIGHT | ({"Origin": origin} if origin else {})

    reply = listed.request("/", "OPTIONS", headers)

    assert (reply.status, cors(reply)) == (204, NOBODY)
    assert reply.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert sts.requests == []


def test_preflight_needs_no_login(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(AllowedOrigins=ORIGIN, Authentication=login_settings(tmp_path))

    reply = server.request("/", "OPTIONS", PREFLIGHT | {"Origin": ORIGIN})

    assert reply.status == 204
    assert cors(reply) == allowed(ORIGIN) | PREFLIGHT_ANSWER


# --- Scripts, which any page may load -------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_there_is_no_jsonp_for_listed_pages(
    listed: RunningServer, sts: StsStandIn, method: str
) -> None:
    reply = listed.request("/?callback=cb", method, {"Origin": ORIGIN})

    assert (reply.status, cors(reply)) == (400, allowed(ORIGIN))
    assert sts.requests == []
    if method != "HEAD":
        assert reply.json["ErrorCode"] == "InvalidCallback"


def test_credentials_are_no_jsonp_anyway(listed: RunningServer) -> None:
    reply = listed.request("/credentials?callback=cb")

    assert reply.json["Code"] == "Success"


def test_no_page_may_read_anything_if_the_list_is_empty(
    make_server: MakeServer,
) -> None:
    server = make_server(AllowedOrigins=[])

    assert cors(server.request(headers={"Origin": ORIGIN})) == NOBODY
    assert cors(server.request("/", "OPTIONS", {"Origin": ORIGIN})) == NOBODY
    assert server.request("/?callback=cb").status == 400


# --- Settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "app.example.com",
        "https://",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?query",
        "https://app.example.com#part",
        "https://user@app.example.com",
        "https://App.example.com",
        "HTTPS://app.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com:",
        "https://app.example.com:port",
        "https://*.example.com",
        "https://b\u00fccher.example",
        "https://app.example.com\n",
        "https://app.example.com, https://other.example",
        ["*", ORIGIN],
        [ORIGIN, "*"],
        ["*", "*"],
        [ORIGIN, ""],
    ],
)
def test_wrong_origin_is_named_with_the_bound(tmp_path: Path, value: object) -> None:
    path = write_config(tmp_path, AllowedOrigins=value)

    with pytest.raises(ConfigError) as error:
        LiveConfig(path)

    line = error.value.problems[0]
    assert line.startswith(f"{path}: AllowedOrigins has ")
    assert "it must be * or origins as browsers send them" in line
    assert line.isprintable()


@pytest.mark.parametrize("value", [1, True, None, {}, [1], [[ORIGIN]], {ORIGIN: 1}])
def test_what_is_no_list_of_origins_is_an_error(tmp_path: Path, value: object) -> None:
    path = tmp_path / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings() | {"AllowedOrigins": value}))

    with pytest.raises(ConfigError, match="AllowedOrigins must be a string or a list"):
        LiveConfig(path)


@pytest.mark.parametrize(
    "origin", ["https://a:80", "http://a:443", "https://xn--bcher-kva.example", ORIGIN]
)
def test_origin_as_a_browser_sends_it_is_right(tmp_path: Path, origin: str) -> None:
    config = LiveConfig(write_config(tmp_path, AllowedOrigins=[origin])).current()

    assert config.http.allows(origin)
    assert not config.http.allows(None)


def test_edited_list_takes_effect(
    make_server: MakeServer,
    tmp_path: Path,
    sts: StsStandIn,
) -> None:
    server = make_server(AllowedOrigins=ORIGIN)

    def answers(origin: str) -> dict[str, str]:
        return cors(server.request("/healthz", headers={"Origin": origin}))

    assert answers(OTHER) == NOBODY
    write_config(tmp_path, StsEndpoint=sts.url, AllowedOrigins=OTHER)
    server.look()
    assert answers(OTHER) == allowed(OTHER)
    assert answers(ORIGIN) == NOBODY
    write_config(tmp_path, StsEndpoint=sts.url)
    server.look()
    assert answers(ORIGIN) == ANYBODY


# --- A real browser -------------------------------------------------------------


class _Page(LoopbackHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def page() -> Iterator[str]:
    """Serve an empty page on an origin of its own; give the origin."""
    server = LoopbackServer(0, _Page, None)
    server.start()
    with contextlib.closing(server):
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium")
    for option in [*BROWSER_OPTIONS, f"--user-data-dir={tmp_path / 'browser'}"]:
        options.add_argument(option)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in PROXY_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        chrome = start(options)
    yield chrome
    chrome.quit()


FETCH = """
const [url, token, done] = arguments;
const headers = token ? {Authorization: "Bearer " + token} : {};
fetch(url, {headers}).then(reply => reply.json()).then(
    document => done(document.AccessKeyId || document.ErrorCode),
    error => done(error.name));
"""


@pytest.mark.browser
def test_browser_lets_a_listed_page_have_a_token_and_no_other(
    make_server: MakeServer, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    token = service("HS256").sign()
    login = login_settings(tmp_path)
    with page() as ours, page() as other:
        listed = make_server(AllowedOrigins=[ours], Authentication=login)

        def fetched(origin: str, token: str = "") -> str:
            if not browser.current_url.startswith(origin):
                browser.get(origin)
            return str(browser.execute_async_script(FETCH, listed.url, token))

        assert fetched(ours, token).startswith("STS.")
        assert fetched(ours) == "Unauthenticated"  # which the page may read
        assert fetched(other, token) == "TypeError"
        assert fetched(other) == "TypeError"

        listed = make_server(Authentication=login)
        assert fetched(other, token).startswith("STS.")


ASK_OSS = """
const [url, method, done] = arguments;
const headers = {"x-oss-date": "20260102T030405Z"};
fetch(url, {method, headers: method === "PUT" ? headers : {}}).then(
    async reply => done((await reply.text()).match("<Code>(.*)</Code>")[1]),
    error => done(error.name));
"""


@pytest.mark.parametrize(
    ("host", "options"),
    [("127.0.0.1", ()), ("localhost", ()), ("127.0.0.2", ("--bind", "127.0.0.2"))],
)
@pytest.mark.browser
def test_browser_lets_the_page_of_the_demo_upload_and_no_other(
    tmp_path: Path, browser: webdriver.Chrome, host: str, options: tuple[str, ...]
) -> None:
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"\x89PNG")
    with running(*options, folder=tmp_path) as demo, page() as other:
        object_url = f"{demo.address('OSS stand-in')}/demo-bucket/photos/cat.png"

        def fetched() -> list[str]:
            return [
                browser.execute_async_script(FETCH, demo.address("token server"), ""),
                browser.execute_async_script(ASK_OSS, object_url, "GET"),
                browser.execute_async_script(ASK_OSS, object_url, "PUT"),
            ]

        def shown(key: str) -> Any:
            """Return the state of an upload, and whether the list has the object."""
            script = """
                const [upload, object] = ["#uploads", "#objects"].map((list) =>
                  document.querySelector(`${list} li[data-key="${arguments[0]}"]`));
                return [upload?.dataset.state, Boolean(object)];
            """
            return tuple(browser.execute_script(script, key))

        browser.get(demo.address("upload page").replace("127.0.0.1", host))
        browser.find_element(By.ID, "file-input").send_keys(str(picture))
        wait_for(lambda: shown("photos/cat.png"), ("done", True))
        token, *refused = fetched()
        assert token.startswith("STS.")
        assert refused == ["AccessDenied"] * 2  # which the page may read

        browser.get(other)
        assert fetched() == ["TypeError"] * 3
