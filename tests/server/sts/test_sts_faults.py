"""What an app gets when STS refuses, fails, stalls or talks nonsense."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

import pytest
from helpers.machine import PATIENCE_SECONDS, reserved_port, wait_until
from helpers.server import MakeServer, RunningServer
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, ROLE_ARN, call_of

from localcloud.sts import Close, Drip, Fail, Hang, Reset, StsStandIn
from localcloud.sts import Reply as StsReply
from tokenserver.errors import StsError
from tokenserver.sts import client as sts_client_module
from tokenserver.sts import gate as sts_gate
from tokenserver.sts.client import DefaultCredentials, StsClient

pytestmark = pytest.mark.slow

UNREACHABLE = ("SDK.ServerUnreachable", "The app server could not reach STS.")
UNUSABLE = ("SDK.UnknownServerError", "STS gave the app server no usable answer.")
NO_CREDENTIALS = ("SDK.InvalidCredential", "The app server has no credentials.")

# None of these may stand in the log, whatever happens,
SECRETS = (
    ACCESS_KEY_SECRET,
    "secret-of-the-token",
    "token-of-the-token",
    ROLE_ARN,
    "Traceback",
)
# nor of these in a reply or in its line of the log.  A hint may speak of URLs.
REVEALING = (
    *SECRETS,
    "acs:ram",
    "oss:PutObject",
    "Statement",
    "://",
    "127.0.0.1:",
)


def answer(body: Any, status: int = 200, **headers: str) -> StsReply:
    """Return an answer of STS: *body* as it is, or as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return StsReply(status, content, "application/json", fields)


def credentials(**changes: Any) -> StsReply:
    """Return an HTTP 200 whose credentials have *changes*; None removes one."""
    values = {
        "AccessKeyId": "STS.id",
        "AccessKeySecret": "secret-of-the-token",
        "SecurityToken": "token-of-the-token",
        "Expiration": "2099-12-12T07:49:09Z",
    } | changes
    return answer({"Credentials": {k: v for k, v in values.items() if v is not None}})


def assert_error(
    server: RunningServer,
    caplog: pytest.LogCaptureFixture,
    code: str,
    message: str,
) -> str:
    """Ask *server* for a token, see the error and nothing else; return the log line."""
    caplog.clear()
    reply = server.request("/sts")

    assert reply.status == 200
    assert reply.json == {
        "StatusCode": 500,
        "ErrorCode": code,
        "ErrorMessage": message,
    }
    records = [one for one in caplog.records if one.levelno == logging.INFO]
    (line,) = (one.getMessage() for one in records)  # beside it there may be a hint
    assert f" /sts 200 {code} client_name " in line
    for text in REVEALING:
        assert text not in reply.body.decode() + line
    for secret in SECRETS:
        assert secret not in caplog.text
    return line


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "InvalidAccessKeyId.NotFound", "Specified access key is not found."),
        (400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled."),
        (
            403,
            "NoPermission",
            "You are not authorized to do this action. "
            "You should be authorized by RAM.",
        ),
        (404, "EntityNotExist.Role", "The specified Role not exists ."),
        (
            400,
            "InvalidParameter.DurationSeconds",
            "The Min/Max value of DurationSeconds is 15min/1hr.",
        ),
        (
            400,
            "InvalidParameter.PolicyGrammar",
            "The parameter Policy has not passed grammar check.",
        ),
        (
            400,
            "InvalidTimeStamp.Expired",
            "Specified time stamp or date value is expired.",
        ),
    ],
)
def test_a_refusal_of_sts_is_passed_on_bare_and_not_repeated(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str,
    message: str,
) -> None:
    sts.always(Fail(code, message, status))

    line = assert_error(server, caplog, code, message)

    assert len(sts.requests) == 1
    assert "(RequestId " in line


def test_a_wrong_access_key_is_named_by_sts(
    make_server: MakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert_error(
        make_server(AccessKeyID="LTAIunknown"),
        caplog,
        "InvalidAccessKeyId.NotFound",
        "Specified access key is not found.",
    )


def test_a_wrong_secret_does_not_bring_back_the_string_to_sign(
    make_server: MakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert_error(
        make_server(AccessKeySecret="wrong"),
        caplog,
        "SignatureDoesNotMatch",
        "Specified signature is not matched with our calculation.",
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"The role not exists: {ROLE_ARN}", "The role not exists:"),
        (f"{ROLE_ARN} is unknown", "is unknown"),
        ("See https://error-center.aliyun.com/x?a=b", "See"),
        ("x" * 5000, "x" * 1000),
        (None, ""),
        (7, ""),
    ],
)
def test_what_a_message_would_reveal_is_left_out(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    message: Any,
    expected: str,
) -> None:
    sts.always(answer({"Code": "EntityNotExist.Role", "Message": message}, 404))

    assert_error(server, caplog, "EntityNotExist.Role", expected)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Fail("InternalError", "Sorry.", 500), id="500"),
        pytest.param(Fail("ServiceUnavailable", "Sorry.", 503), id="503"),
        pytest.param(Fail("Throttling.User", "Sorry.", 400), id="throttled"),
        pytest.param(Fail("Throttling", "Sorry.", 429), id="throttled by the gateway"),
        pytest.param(
            Fail("Throttling.Api", "Sorry.", 400, {"x-acs-retry-after": "9000"}),
            id="throttled with a time",
        ),
    ],
)
def test_a_temporary_refusal_is_repeated_once(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    behaviour: Fail,
) -> None:
    sts.script(behaviour, None, behaviour, behaviour)

    assert server.request("/").json["StatusCode"] == 200
    assert len(sts.requests) == 2
    assert_error(server, caplog, behaviour.code, "Sorry.")
    assert len(sts.requests) == 4


NONSENSE = [
    pytest.param(answer({}, 400), id="4xx: {}"),
    pytest.param(answer({"Code": "None"}, 400), id="4xx: Code None"),
    pytest.param(answer({"Code": "a b\r\nc"}, 400), id="4xx: odd Code"),
    pytest.param(answer([], 400), id="4xx: list"),
    pytest.param(answer(None, 500), id="5xx: null"),
    pytest.param(answer(b"<html>502</html>", 502), id="5xx: HTML"),
    pytest.param(answer(b"", 503), id="5xx: empty"),
    pytest.param(answer(b'{"Code": "Inter', 500), id="5xx: truncated"),
    pytest.param(answer(b"\xff\xfe", 400), id="4xx: no text"),
    pytest.param(answer(b"<Error/>", 400), id="4xx: XML of another type"),
    pytest.param(answer(b"<html>Welcome</html>"), id="200: HTML"),
    pytest.param(answer(b""), id="200: empty"),
    pytest.param(answer(b'{"Credentials": {'), id="200: truncated"),
    pytest.param(answer({}), id="200: {}"),
    pytest.param(answer(None), id="200: null"),
    pytest.param(answer([]), id="200: list"),
    pytest.param(answer("text"), id="200: string"),
    pytest.param(answer({"Credentials": None}), id="200: no credentials"),
    pytest.param(answer({"Credentials": []}), id="200: credentials a list"),
    pytest.param(answer({"Credentials": "x"}), id="200: credentials a string"),
    pytest.param(credentials(AccessKeyId=None), id="200: no AccessKeyId"),
    pytest.param(credentials(AccessKeySecret=""), id="200: empty AccessKeySecret"),
    pytest.param(credentials(SecurityToken=["x"]), id="200: SecurityToken a list"),
    pytest.param(credentials(Expiration=None), id="200: no Expiration"),
    pytest.param(credentials(Expiration=4099282149), id="200: Expiration a number"),
    pytest.param(
        credentials(Expiration="2099-12-12T07:49:09.000Z"), id="200: milliseconds"
    ),
    pytest.param(credentials(Expiration="2099-02-31T07:49:09Z"), id="200: 31 February"),
    pytest.param(credentials(Expiration="2099-12-12T07:49:09+08:00"), id="200: offset"),
    pytest.param(credentials(Expiration="2017-12-12T07:49:09Z"), id="200: expired"),
    pytest.param(answer({"Code": "x"}, 600), id="600"),
]


@pytest.mark.parametrize("behaviour", NONSENSE)
def test_nonsense_is_a_fixed_error(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    behaviour: StsReply,
) -> None:
    sts.always(behaviour)

    assert_error(server, caplog, *UNUSABLE)


def test_an_error_in_xml_is_read(
    server: RunningServer, sts: StsStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    body = b"<Error><Code>NoPermission</Code><Message>No.</Message></Error>"
    sts.always(StsReply(403, body, "text/xml;charset=utf-8", {}))

    assert_error(server, caplog, "NoPermission", "No.")


@pytest.mark.parametrize(
    "behaviour", [pytest.param(Close(), id="close"), pytest.param(Reset(), id="reset")]
)
def test_a_broken_connection_is_tried_again_and_then_unreachable(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    behaviour: Any,
) -> None:
    sts.script(behaviour)
    assert server.request("/").json["StatusCode"] == 200
    sts.always(behaviour)

    assert_error(server, caplog, *UNREACHABLE)


def test_sts_down_is_unreachable(
    make_server: MakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    with reserved_port() as port:
        server = make_server(StsEndpoint=f"http://127.0.0.1:{port}")

        line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(connection refused)")


def test_an_unknown_name_is_unreachable(
    make_server: MakeServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    look_up = socket.getaddrinfo

    def unknown(host: Any, *rest: Any, **options: Any) -> Any:
        if host == "sts.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *rest, **options)

    server = make_server(StsEndpoint="http://sts.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(its name is not known)")


def test_plain_http_where_tls_is_expected_is_unreachable(
    make_server: MakeServer, sts: StsStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(StsEndpoint=f"https://{sts.endpoint}")

    line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(TLS failed)")


def test_a_dead_proxy_is_unreachable(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")

    line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(the proxy failed)")


def packed(size: int) -> bytes:
    """Return an answer that becomes *size* bytes when it is unpacked."""
    return gzip.compress(json.dumps({"Code": "x" * size}).encode())


@pytest.mark.parametrize(
    ("behaviour", "detail"),
    [
        pytest.param(answer(b"{" * 65537), "more than 65536 bytes", id="too large"),
        pytest.param(answer(b"{" * 65537, 503), "more than", id="5xx: too large"),
        pytest.param(
            answer(b"{" * 65537, Content_Length=str(1 << 40)),
            "more than 65536 bytes",
            id="endless",
        ),
        pytest.param(
            answer(packed(9), Content_Encoding="gzip"),
            "a compressed answer",
            id="packed",
        ),
        pytest.param(
            answer(packed(50_000_000), 403, Content_Encoding="gzip"),
            "a compressed answer",
            id="4xx: packed, large",
        ),
        pytest.param(
            answer(b"", Content_Encoding="deflate"), "a compressed answer", id="deflate"
        ),
        pytest.param(
            answer(b"", 302, Location="/elsewhere"), "a redirect", id="redirects"
        ),
        pytest.param(
            answer(b"", 307, Location="https://127.0.0.1:1/"),
            "a redirect",
            id="redirects to HTTPS",
        ),
    ],
)
def test_an_answer_that_sts_would_not_give_is_not_read_on(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    behaviour: StsReply,
    detail: str,
) -> None:
    sts.always(behaviour)

    line = assert_error(server, caplog, *UNUSABLE)

    assert detail in line
    assert len(sts.requests) == 2
    assert {r.headers["accept-encoding"] for r in sts.requests} == {"identity"}


def test_the_largest_answer_is_read(server: RunningServer, sts: StsStandIn) -> None:
    usual = json.loads(credentials().body)
    sts.always(answer(json.dumps(usual).encode().ljust(65536)))

    assert server.request("/").json["StatusCode"] == 200


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that answers no attempt to connect, its backlog being full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)  # until the first ones are in the backlog
        yield port
        for client in waiting:
            client.close()


def test_no_connection_is_unreachable(
    make_server: MakeServer,
    full_port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sts_client_module, "CONNECT_SECONDS", 0.2)
    server = make_server(StsEndpoint=f"http://127.0.0.1:{full_port}")

    line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(no connection within the time limit)")


def test_an_sts_that_says_nothing_is_unreachable(
    server: RunningServer,
    sts: StsStandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sts_client_module, "DEADLINE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(sts_client_module, "READ_SECONDS", 0.2)
    sts.always(Hang())

    line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(no answer within the time limit)")
    sts.wait_for_requests(2)
    assert len(sts.requests) == 2


def test_an_sts_that_drips_is_unreachable_at_the_deadline(
    server: RunningServer,
    sts: StsStandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sts.always(Drip(0.05))
    with monkeypatch.context() as patch:
        patch.setattr(sts_client_module, "DEADLINE_SECONDS", 0.7)

        line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(no answer within 0.7 s)")
    sts.always(None)
    assert server.request("/").json["StatusCode"] == 200


def test_the_deadline_leaves_room_for_a_client_of_ten_seconds() -> None:
    """8 s in all, and one silent attempt leaves time to try again."""
    assert sts_client_module.DEADLINE_SECONDS == 8
    assert sts_client_module.CONNECT_SECONDS + sts_client_module.READ_SECONDS < 8


def test_calls_left_to_themselves_are_bounded(
    server: RunningServer,
    sts: StsStandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sts_gate, "MAX_CALLS", 2)
    server.ask(StsClient())
    drip = Drip(0.05)
    sts.always(drip)
    with monkeypatch.context() as patch:
        patch.setattr(sts_client_module, "DEADLINE_SECONDS", 0.3)
        for _ in range(2):
            assert_error(server, caplog, *UNREACHABLE)

        line = assert_error(server, caplog, *UNREACHABLE)

    assert line.endswith("(2 calls are under way)")
    sts.always(None)
    drip.released.set()
    wait_until(lambda: server.request("/").json["StatusCode"] == 200)


def test_a_call_for_which_there_is_no_thread_takes_no_place(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    call = call_of(make_server().server.config.current())
    monkeypatch.setattr(sts_gate, "MAX_CALLS", 1)
    client = StsClient()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            client.assume_role(call)

    assert client.assume_role(call).access_key_id


def test_a_defect_of_ours_is_logged_and_not_shown(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> NoReturn:
        raise AssertionError("a detail")

    monkeypatch.setattr(server.server.tokens, "get", broken)

    reply = server.request("/")

    assert reply.json["ErrorCode"] == "InternalError"
    assert b"detail" not in reply.body
    assert "AssertionError" in caplog.text


def test_callers_do_not_wait_for_one_whose_call_hangs(
    server: RunningServer, sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEADLINE_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(
            sts_client_module, name, 3600.0
        )  # longer than this client waits
    sts.script(Hang())
    stuck = threading.Thread(target=server.request)
    stuck.start()
    sts.wait_for_requests(1)

    assert server.request("/").json["StatusCode"] == 200

    sts.always(None)  # which ends the one that hangs
    stuck.join()


# The default credential chain


class Chain:
    """A credential chain that counts its searches, and finds what it is told to."""

    def __init__(self) -> None:
        self.searches = 0
        self.found: Any = None

    def __call__(self) -> Chain:
        return self

    def get_credential(self) -> Any:
        """Return what there is to find, or fail with a text that reveals."""
        self.searches += 1
        if self.found is None:
            raise RuntimeError(f"nothing at http://100.100.100.200/, {ROLE_ARN}")
        return self.found


def test_a_chain_that_found_nothing_is_left_alone_for_a_while() -> None:
    chain, now = Chain(), 0.0
    credentials = DefaultCredentials(chain, clock=lambda: now)

    for _ in range(3):
        with pytest.raises(StsError):
            credentials.get_credential()
    assert chain.searches == 1
    now += 10
    chain.found = "a credential"

    assert credentials.get_credential() == "a credential"
    assert chain.searches == 2


def test_a_chain_that_found_something_is_asked_each_time() -> None:
    """It renews what it found by itself; one failure is not remembered."""
    chain = Chain()
    credentials = DefaultCredentials(chain, clock=lambda: 0.0)
    chain.found = "one"
    assert credentials.get_credential() == "one"
    chain.found = None
    with pytest.raises(StsError):
        credentials.get_credential()
    chain.found = "two"

    assert credentials.get_credential() == "two"


def patch_chain(monkeypatch: pytest.MonkeyPatch, make_chain: Any) -> None:
    """Have the default credential chain made by *make_chain*."""
    credentials = partial(DefaultCredentials, make_chain)
    monkeypatch.setattr(sts_client_module, "DefaultCredentials", credentials)


def test_without_any_credentials_the_log_says_what_was_looked_for(
    make_server: MakeServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_server(AccessKeyID="", AccessKeySecret="")
    patch_chain(monkeypatch, Chain())
    server.ask(StsClient())

    line = assert_error(server, caplog, *NO_CREDENTIALS)

    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in line
    assert "~/.aliyun/config.json" in line


def test_credentials_of_the_chain_sign_the_call(
    make_server: MakeServer, sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alibabacloud_credentials.client import Client
    from alibabacloud_credentials.models import Config

    server = make_server(AccessKeyID="", AccessKeySecret="")
    patch_chain(
        monkeypatch,
        lambda: Client(
            Config(
                type="access_key",
                access_key_id=ACCESS_KEY_ID,
                access_key_secret=ACCESS_KEY_SECRET,
            )
        ),
    )
    server.ask(StsClient())

    assert server.request("/").json["StatusCode"] == 200
