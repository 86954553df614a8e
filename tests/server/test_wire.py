"""The wire contract, byte for byte, and read as the apps in the field read it."""

from __future__ import annotations

import re
import socket
from datetime import datetime
from typing import Any

import pytest
from helpers.client import Reply, connect, exchange
from helpers.server import MakeServer, RunningServer
from helpers.settings import ACCESS_KEY_SECRET
from helpers.sts.answers import NOT_FOUND, STS_ANSWER, TOKEN

from localcloud.sts import StsStandIn
from tokenserver.sts.client import StsClient

TOKEN_DOCUMENT = (
    b'{"StatusCode":200,"AccessKeyId":"STS.exampleAccessKeyId",'
    b'"AccessKeySecret":"exampleAccessKeySecret",'
    b'"SecurityToken":"CAISexample+token/with=signs==",'
    b'"Expiration":"2099-12-12T07:49:09Z"}'
)
ERROR_DOCUMENT = (
    b'{"StatusCode":500,"ErrorCode":"InvalidAccessKeyId.NotFound",'
    b'"ErrorMessage":"Specified access key is not found."}'
)


@pytest.fixture
def server(make_server: MakeServer, sts: StsStandIn) -> RunningServer:
    """A token server whose STS always gives the same token."""
    sts.always(STS_ANSWER)
    return make_server()


def raw(server: RunningServer, request: bytes) -> bytes:
    """Send *request* and return all the bytes that come back, the date replaced."""
    reply = exchange(server.port, request)
    return re.sub(rb"Date: [^\r]+GMT\r\n", b"Date: ...\r\n", reply)


def get(target: str, method: str = "GET") -> bytes:
    """Return a request on a connection that ends with it."""
    return (
        f"{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
    )


def test_success_byte_for_byte(server: RunningServer) -> None:
    assert raw(server, get("/")) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: sts-server\r\n"
        b"Date: ...\r\n"
        b"Content-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: 185\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Connection: close\r\n"
        b"\r\n" + TOKEN_DOCUMENT
    )


def test_error_byte_for_byte(server: RunningServer, sts: StsStandIn) -> None:
    sts.always(NOT_FOUND)

    assert raw(server, get("/sts/getsts")) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: sts-server\r\n"
        b"Date: ...\r\n"
        b"Content-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: 112\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Connection: close\r\n"
        b"\r\n" + ERROR_DOCUMENT
    )


def test_callback_byte_for_byte(server: RunningServer) -> None:
    assert raw(server, get("/sts/getkey?callback=jQuery_1.cb$")) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: sts-server\r\n"
        b"Date: ...\r\n"
        b"Content-Type: application/javascript; charset=utf-8\r\n"
        b"Content-Length: 201\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"jQuery_1.cb$( " + TOKEN_DOCUMENT + b" )"
    )


def test_credentials_document_byte_for_byte(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    sts.always(STS_ANSWER)
    server = make_server()
    server.ask(StsClient(clock=lambda: 1513064949.9))  # 2017-12-12T07:49:09Z

    assert raw(server, get("/credentials")) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: sts-server\r\n"
        b"Date: ...\r\n"
        b"Content-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: 222\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b'{"Code":"Success","AccessKeyId":"STS.exampleAccessKeyId",'
        b'"AccessKeySecret":"exampleAccessKeySecret",'
        b'"SecurityToken":"CAISexample+token/with=signs==",'
        b'"Expiration":"2099-12-12T07:49:09Z",'
        b'"LastUpdated":"2017-12-12T07:49:09Z"}'
    )


def test_credentials_error_byte_for_byte(
    server: RunningServer, sts: StsStandIn
) -> None:
    sts.always(NOT_FOUND)

    assert raw(server, get("/credentials")) == (
        b"HTTP/1.1 502 Bad Gateway\r\n"
        b"Server: sts-server\r\n"
        b"Date: ...\r\n"
        b"Content-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: 85\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b'{"Code":"InvalidAccessKeyId.NotFound",'
        b'"Message":"Specified access key is not found."}'
    )


def test_preflight_byte_for_byte(server: RunningServer) -> None:
    assert raw(server, get("/sts", "OPTIONS")) == (
        b"HTTP/1.1 204 No Content\r\n"
        b"Server: sts-server\r\n"
        b"Date: ...\r\n"
        b"Allow: GET, HEAD, POST, OPTIONS\r\n"
        b"Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n"
        b"Access-Control-Allow-Headers: *, Authorization\r\n"
        b"Access-Control-Max-Age: 86400\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


def test_other_methods_byte_for_byte(server: RunningServer) -> None:
    assert raw(server, get("/", "DELETE")) == (
        b"HTTP/1.1 405 Method Not Allowed\r\n"
        b"Server: sts-server\r\n"
        b"Date: ...\r\n"
        b"Allow: GET, HEAD, POST, OPTIONS\r\n"
        b"Content-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: 103\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b'{"StatusCode":405,"ErrorCode":"MethodNotAllowed",'
        b'"ErrorMessage":"Use one of GET, HEAD, POST, OPTIONS."}'
    )


def test_head_has_the_headers_of_get_and_costs_no_assume_role(
    server: RunningServer, sts: StsStandIn
) -> None:
    reply = raw(server, get("/", "HEAD"))

    assert sts.requests == []
    head, _, body = raw(server, get("/")).partition(b"\r\n\r\n")
    without_length = re.sub(rb"Content-Length: \d+\r\n", b"", head)
    assert reply == without_length + b"\r\n\r\n"
    assert body == TOKEN_DOCUMENT


PATHS = ["/", "/sts", "/sts/getsts", "/sts.php", "/a/b?x=1&y", "//x", "/%E4%BD%A0"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_path_gives_a_token(server: RunningServer, path: str, method: str) -> None:
    assert server.request(path, method).body == TOKEN_DOCUMENT


def test_a_post_body_is_ignored(server: RunningServer) -> None:
    reply = server.request("/sts", "POST", body=b"policy=everything&callback=cb" * 99)

    assert reply.body == TOKEN_DOCUMENT


def test_a_body_that_waits_to_be_asked_for_is_asked_for(server: RunningServer) -> None:
    with connect(server.port) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_healthz_does_not_call_sts(server: RunningServer, sts: StsStandIn) -> None:
    reply = server.request("/healthz")

    assert (reply.status, reply.json) == (200, {"Status": "OK"})
    assert sts.requests == []


@pytest.mark.parametrize(
    "path", ["/%63redentials", "/%68ealthz", "/ready%7A", "/%66avicon.ico"]
)
def test_a_reserved_path_has_one_spelling(
    server: RunningServer, sts: StsStandIn, path: str
) -> None:
    reply = server.request(path)

    assert (reply.status, reply.json["ErrorCode"]) == (404, "NotFound")
    assert sts.requests == []


def test_favicon_is_not_found(server: RunningServer, sts: StsStandIn) -> None:
    reply = server.request("/favicon.ico")

    assert (reply.status, reply.json["ErrorCode"]) == (404, "NotFound")
    assert sts.requests == []


@pytest.mark.parametrize(
    "query",
    [
        "callback=alert(1)",
        "callback=%3Cscript%3E",
        "callback=1a",
        "callback=a%0A",
        "callback=",
        "callback=a&callback=b",
        "callback=" + "a" * 65,
        "callback=%E4%BD%A0",
    ],
)
def test_an_odd_callback_is_refused(
    server: RunningServer, sts: StsStandIn, query: str
) -> None:
    reply = server.request(f"/?{query}")

    assert (reply.status, reply.json["ErrorCode"]) == (400, "InvalidCallback")
    assert sts.requests == []


def test_one_connection_serves_many_requests(server: RunningServer) -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    with connect(server.port) as client:
        for _ in range(5):
            client.sendall(request)
            reply = client.recv(65536)  # one recv: the server sends at once
            assert reply.endswith(TOKEN_DOCUMENT)
            assert b"\r\nConnection: keep-alive\r\n" in reply


def test_no_reply_waits_for_the_acknowledgement_of_another(
    server: RunningServer,
) -> None:
    with connect(server.port) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        client.recv(65536)

        (handler,) = server.server._handlers
        connection = handler.connection
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_http_1_0_keeps_a_connection_only_when_asked(server: RunningServer) -> None:
    plain = raw(server, b"GET / HTTP/1.0\r\n\r\n")
    with connect(server.port) as client:
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            assert b"\r\nConnection: keep-alive\r\n" in client.recv(65536)

    assert b"\r\nConnection: close\r\n" in plain


# What the official mobile SDKs make of a reply


def read_by_android(reply: Reply) -> dict[str, Any]:
    """Return the token, as OSSAuthCredentialsProvider of the OSS Android SDK reads it.

    Raises what the SDK would report.
    """
    if reply.status >= 400:
        raise ConnectionError("the body is not read")
    document = reply.json
    if int(document["StatusCode"]) != 200:
        raise ValueError(document["ErrorCode"] + ": " + document["ErrorMessage"])
    token = {name: str(document[name]) for name in TOKEN}
    datetime.strptime(token["Expiration"][:19], "%Y-%m-%dT%H:%M:%S")
    return token


def read_by_ios(reply: Reply) -> dict[str, Any] | None:
    """Return the token, as OSSAuthCredentialProvider of the OSS iOS SDK reads it."""
    document = reply.json
    if int(document.get("StatusCode", 0)) != 200:
        return None
    assert isinstance(document["Expiration"], str)  # a number would crash it
    datetime.strptime(document["Expiration"], "%Y-%m-%dT%H:%M:%SZ")
    return {name: document[name] for name in TOKEN}


def test_the_mobile_sdks_read_a_token(server: RunningServer) -> None:
    reply = server.request("/")

    assert read_by_android(reply) == read_by_ios(reply) == TOKEN
    assert reply.headers["cache-control"] == "no-store"  # iOS caches otherwise


def test_the_mobile_sdks_read_an_error(server: RunningServer, sts: StsStandIn) -> None:
    sts.always(NOT_FOUND)

    reply = server.request("/")

    assert read_by_ios(reply) is None
    with pytest.raises(
        ValueError, match=r"NotFound: Specified access key is not found\."
    ):
        read_by_android(reply)


def test_the_mobile_sdks_read_no_token_in_the_form_of_a_credentials_uri(
    server: RunningServer,
) -> None:
    reply = server.request("/credentials")

    assert read_by_ios(reply) is None
    with pytest.raises(KeyError, match="StatusCode"):
        read_by_android(reply)


def test_the_mobile_sdks_do_not_take_a_refusal_for_a_token(
    server: RunningServer,
) -> None:
    reply = server.request("/", "PUT")

    assert read_by_ios(reply) is None
    with pytest.raises(ConnectionError):
        read_by_android(reply)


# The log


def test_each_request_is_one_line(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.request("/sts/getsts?user=s3cret")
    raw(server, b"PUT /nowhere\x80 HTTP/1.1\r\n\r\n")

    first, second = caplog.messages
    assert re.fullmatch(
        r"127\.0\.0\.1 GET /sts/getsts 200 STS\.exampleAccessKeyId client_name "
        r"\d+\.\dms",
        first,
    )
    assert re.fullmatch(
        r"127\.0\.0\.1 PUT /nowhere\\x80 405 MethodNotAllowed - \d+\.\dms", second
    )


def test_control_characters_stay_encoded_in_the_log(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.request("/%0A%1B%5B31mforged")

    (line,) = caplog.messages
    assert " GET /%0A%1B%5B31mforged 200 " in line


def test_no_secret_is_logged(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/", "/credentials"):
        server.request(path)

    assert ACCESS_KEY_SECRET not in caplog.text
    assert TOKEN["AccessKeySecret"] not in caplog.text
    assert TOKEN["SecurityToken"] not in caplog.text
