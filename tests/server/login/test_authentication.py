"""Who may have a token: login tokens over HTTP, and what becomes of all others."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers.client import Reply, exchange_anyhow
from helpers.login.attacks import OVER_HTTP, Attack
from helpers.login.jwks_server import JwksServer, answering, jwks_server
from helpers.login.service import (
    AUDIENCE,
    ISSUER,
    KINDS,
    PUBLIC_KINDS,
    attacker,
    authentication,
    claims_now,
    jwks,
    service,
)
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.server import MakeServer, RunningServer
from helpers.settings import ROOT, settings, write_config

from localcloud.sts import StsStandIn
from tokenserver.asking import login_refusal
from tokenserver.config.files import read_file
from tokenserver.config.load import LiveConfig, load_config
from tokenserver.errors import (
    ConfigError,
    KeysUnavailable,
    LoginError,
    NotAuthenticated,
    UserNotAllowed,
)
from tokenserver.login import jwks as login_jwks
from tokenserver.login import verifier as login_verifier
from tokenserver.sts.client import StsClient

NO_TOKEN = 'Bearer realm="sts-server"'
INVALID_TOKEN = 'Bearer realm="sts-server", error="invalid_token"'
INVALID_REQUEST = 'Bearer realm="sts-server", error="invalid_request"'


def jwks_authentication(url: str) -> dict[str, str]:
    return {"Issuer": ISSUER, "Audience": AUDIENCE, "JwksUrl": url}


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


def in_url(token: str, path: str = "/") -> str:
    return f"{path}?access_token={quote(token, errors='surrogatepass')}"


def refused(reply: Reply) -> tuple[int, str]:
    """Return status and code of a refusal, which has its three keys and no more."""
    assert list(reply.json) == ["StatusCode", "ErrorCode", "ErrorMessage"]
    assert reply.json["StatusCode"] == reply.status
    assert reply.headers["cache-control"] == "no-store"
    return reply.status, reply.json["ErrorCode"]


@pytest.fixture
def login(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A server for the users of a login service."""
    return make_server(
        ObjectPrefix="users/$USER_ID/", Authentication=authentication(tmp_path)
    )


# --- Whoever is logged in -------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_gets_a_token_of_their_own(
    kind: str, make_server: MakeServer, tmp_path: Path, sts: StsStandIn
) -> None:
    server = make_server(
        ObjectPrefix="users/$USER_ID/", Authentication=authentication(tmp_path, kind)
    )

    reply = server.request("/sts", headers=bearer(service(kind).sign()))

    assert reply.json["StatusCode"] == 200
    issued = sts.issued(reply.json["SecurityToken"])
    assert issued
    assert issued.role_session_name == "alice"
    assert "my-bucket/users/alice/*" in (issued.policy or "")


def test_a_jwks_url_has_the_keys(make_server: MakeServer, sts: StsStandIn) -> None:
    keys = [service(kind).jwk() for kind in PUBLIC_KINDS]
    with jwks_server(jwks(*keys)) as url:
        server = make_server(Authentication=jwks_authentication(url.url))

        replies = [
            server.request(headers=bearer(service(kind).sign()))
            for kind in PUBLIC_KINDS
        ]

        assert [reply.json["StatusCode"] for reply in replies] == [200, 200, 200]
        assert len(url.requests) == 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(login: RunningServer, scheme: str) -> None:
    reply = login.request(headers=bearer(service("HS256").sign(), scheme))

    assert reply.json["StatusCode"] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/", "/sts/getsts", "/credentials"])
def test_a_client_that_has_only_a_url_logs_in_with_it(
    login: RunningServer, method: str, path: str
) -> None:
    reply = login.request(in_url(service("HS256").sign(), path), method)

    assert reply.status == 200
    assert reply.json["AccessKeyId"].startswith("STS.")


def test_a_page_may_ask_with_a_script_and_a_login(login: RunningServer) -> None:
    reply = login.request(in_url(service("HS256").sign()) + "&callback=got")

    assert reply.body.startswith(b'got( {"StatusCode":200,')


def test_another_claim_can_be_the_user(
    make_server: MakeServer, tmp_path: Path, sts: StsStandIn
) -> None:
    section = authentication(tmp_path, UserClaim="email")
    server = make_server(Authentication=section)
    token = service("HS256").sign(claims_now(email="bob@example.com"))

    reply = server.request(headers=bearer(token))

    issued = sts.issued(reply.json["SecurityToken"])
    assert issued
    assert issued.role_session_name == "bob@example.com"


def test_one_of_several_audiences_is_enough(
    make_server: MakeServer, tmp_path: Path
) -> None:
    section = authentication(tmp_path, Audience=["ios", AUDIENCE])
    server = make_server(Authentication=section)

    for audience, status in (("ios", 200), (["web", AUDIENCE], 200), ("web", 401)):
        token = service("HS256").sign(claims_now(aud=audience))
        assert server.request(headers=bearer(token)).status == status


# --- Whoever is not -------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/sts", "/credentials", "//", "/healthz/"])
def test_without_a_login_there_is_no_token_anywhere(
    login: RunningServer, sts: StsStandIn, method: str, path: str
) -> None:
    reply = login.request(path, method)

    assert reply.status == 401
    assert reply.headers["www-authenticate"] == NO_TOKEN
    assert sts.received == 0
    if method != "HEAD":
        assert refused(reply) == (401, "Unauthenticated")


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        pytest.param("Basic YWxpY2U6", NO_TOKEN, id="another scheme"),
        pytest.param("", NO_TOKEN, id="empty"),
        pytest.param("Bearer", INVALID_TOKEN, id="only the scheme"),
        pytest.param("Bearer ", INVALID_TOKEN, id="an empty token"),
        pytest.param("Bearer x", INVALID_TOKEN, id="no token"),
        pytest.param("Bearer\tTOKEN", NO_TOKEN, id="a tab"),
        pytest.param("Bearer TOKEN, Bearer TOKEN", INVALID_TOKEN, id="a list"),
        pytest.param("Bearer TOKEN TOKEN", INVALID_TOKEN, id="two words"),
        pytest.param("BearerTOKEN", NO_TOKEN, id="no blank"),
        pytest.param("TOKEN", NO_TOKEN, id="no scheme"),
        pytest.param("JWT TOKEN", NO_TOKEN, id="an invented scheme"),
    ],
)
def test_an_odd_authorization_header_is_no_login(
    login: RunningServer, sts: StsStandIn, authorization: str, challenge: str
) -> None:
    value = authorization.replace("TOKEN", service("HS256").sign())

    reply = login.request(headers={"Authorization": value})

    assert refused(reply) == (401, "Unauthenticated")
    assert reply.headers["www-authenticate"] == challenge
    assert sts.received == 0


def test_blanks_around_a_token_in_the_header_are_no_part_of_it(
    login: RunningServer,
) -> None:
    reply = login.request(headers=bearer(f"  {service('HS256').sign()} "))

    assert reply.status == 200


@pytest.mark.parametrize("is_valid", [True, False])
@pytest.mark.parametrize(
    ("target", "has_header"),
    [
        pytest.param("/?access_token=TOKEN", True, id="in both places"),
        pytest.param("/?access_token=TOKEN&access_token=TOKEN", False, id="twice"),
        pytest.param("/?access_token=&access_token=TOKEN", False, id="once empty"),
        pytest.param("/?access%5Ftoken=TOKEN&access_token=TOKEN", False, id="escaped"),
    ],
)
def test_a_login_in_two_places_is_a_bad_request(
    login: RunningServer, sts: StsStandIn, target: str, has_header: bool, is_valid: bool
) -> None:
    token = service("HS256").sign() if is_valid else "x"

    reply = login.request(
        target.replace("TOKEN", token), headers=bearer(token) if has_header else {}
    )

    assert refused(reply) == (400, "AmbiguousLogin")
    assert reply.headers["www-authenticate"] == INVALID_REQUEST
    assert sts.received == 0


def test_two_authorization_headers_are_a_bad_request(
    login: RunningServer, sts: StsStandIn
) -> None:
    line = f"Authorization: Bearer {service('HS256').sign()}\r\n"
    head = f"GET / HTTP/1.1\r\nHost: h\r\n{line}{line}\r\n"

    received = exchange_anyhow(login.port, head.encode())

    assert received.startswith(b"HTTP/1.1 400 ")
    assert sts.received == 0


def test_a_login_in_a_body_or_a_cookie_is_none(
    login: RunningServer, sts: StsStandIn
) -> None:
    token = service("HS256").sign()
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    in_body = login.request("/", "POST", form, f"access_token={token}".encode())
    in_cookie = login.request(headers={"Cookie": f"access_token={token}"})

    assert refused(in_body) == refused(in_cookie) == (401, "Unauthenticated")
    assert sts.received == 0


@pytest.mark.parametrize("target", ["/healthz", "/favicon.ico"])
def test_what_has_no_token_needs_no_login(login: RunningServer, target: str) -> None:
    assert login.request(target).status != 401


def percent_encoded(text: str, times: int) -> str:
    """Return *text* with each of its characters encoded so many times."""
    for _ in range(times):
        text = "".join(f"%{ord(character):02X}" for character in text)
    return text


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda token: token, id="as it is"),
        pytest.param(lambda token: token.replace(".", "%2E"), id="dots encoded"),
        pytest.param(lambda token: token.replace(".", "%252e"), id="dots twice"),
        pytest.param(lambda token: token.replace("y", "%79", 1), id="one letter"),
        pytest.param(lambda token: token.replace("y", "%2579", 1), id="a letter twice"),
        pytest.param(lambda token: "e%25%37%39" + token[2:], id="parts of an encoding"),
        pytest.param(lambda token: "%2%35" + "65" + token[1:], id="a digit of one"),
        pytest.param(lambda token: percent_encoded(token, 1), id="all"),
        pytest.param(lambda token: percent_encoded(token, 2), id="all twice"),
        pytest.param(lambda token: percent_encoded(token, 3), id="all three times"),
    ],
)
def test_a_login_in_the_path_by_mistake_is_not_logged(
    login: RunningServer, caplog: pytest.LogCaptureFixture, write: Callable[[str], str]
) -> None:
    token = service("HS256").sign()

    reply = login.request(f"/credentials&access_token={write(token)}")

    assert refused(reply) == (401, "Unauthenticated")
    assert " /credentials&access_token=eyJ... 401 " in caplog.messages[-1]


@pytest.mark.parametrize("path", ["/a%20b", "/100%", "/%zz/%e", "/%25", "/e%79/J"])
def test_a_path_without_a_login_is_logged_as_it_came(
    login: RunningServer, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    login.request(path)

    assert f" {path} 401 " in caplog.messages[-1]


def test_a_preflight_needs_no_login(login: RunningServer) -> None:
    reply = login.request("/", "OPTIONS", {"Origin": "https://app.example.com"})

    assert reply.status == 204
    assert "Authorization" in reply.headers["access-control-allow-headers"]


def test_a_user_that_cannot_be_used_is_forbidden(
    login: RunningServer, sts: StsStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    token = service("HS256").sign(claims_now(sub="../bob"))

    reply = login.request(headers=bearer(token))

    assert refused(reply) == (403, "UserNotAllowed")
    assert "bob" not in reply.body.decode()
    assert sts.received == 0
    assert "user '../bob' has U+002F in it" in caplog.messages[-1]


def test_a_refusal_does_not_say_why_but_the_log_does(
    login: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = [
        service("HS256").sign(claims_now(exp=1)),
        service("HS256").sign(claims_now(iss="https://other.example.com/")),
        attacker("HS256").sign(),
    ]

    replies = [login.request(headers=bearer(token)) for token in tokens]

    assert (
        len({(reply.body, reply.headers["www-authenticate"]) for reply in replies}) == 1
    )
    reasons = [message.partition("(")[2] for message in caplog.messages]
    assert len(set(reasons)) == 3


# --- Attacks --------------------------------------------------------------------
# The verifier refuses each of them in test_login_tokens.py.


@pytest.fixture(scope="module")
def besieged(
    tmp_path_factory: pytest.TempPathFactory, sts_client: StsClient
) -> Iterator[tuple[dict[str, RunningServer], StsStandIn]]:
    """A server for each kind of key, and the STS that none of them may ask."""
    with contextlib.ExitStack() as stack:
        sts = stack.enter_context(StsStandIn())
        servers = {}
        for kind in KINDS:
            folder = tmp_path_factory.mktemp(kind)
            path = write_config(
                folder,
                StsEndpoint=sts.url,
                ObjectPrefix="users/$USER_ID/",
                Authentication=authentication(folder, kind),
            )
            servers[kind] = RunningServer(LiveConfig(path), sts_client)
            stack.callback(servers[kind].close)
        yield servers, sts


@pytest.mark.parametrize("attack", OVER_HTTP, ids=attrgetter("id"))
def test_an_attack_gets_no_token(
    attack: Attack,
    besieged: tuple[dict[str, RunningServer], StsStandIn],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tokenserver")
    servers, sts = besieged
    statuses = {401 if attack.refusal is NotAuthenticated else 403}
    for kind in {attack.kinds[0], attack.kinds[-1]}:
        token = attack.make(service(kind))
        url = in_url(token)
        in_header = b"Bearer " + token.encode("utf-8", "surrogatepass")
        head = b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n" % in_header
        heads = {
            head: statuses | ({431, 414} if len(head) > 16000 else set()),
            f"GET {url} HTTP/1.1\r\nHost: h\r\n\r\n".encode(): statuses
            | ({431, 414} if len(url) > 16000 else set()),
        }
        if any(byte < 0x20 or byte == 0x7F for byte in in_header):
            heads[head] = {400}  # is no header of HTTP
        elif token != token.strip(" "):
            del heads[head]  # blanks around a value are no part of it
        if not token:
            heads[head] = {401}
        for sent, expected in heads.items():
            received = exchange_anyhow(servers[kind].port, sent)
            status, _, rest = received.partition(b"\r\n")
            assert int(status.split()[1]) in expected, (kind, received)
            document = json.loads(rest.partition(b"\r\n\r\n")[2])
            assert list(document) == ["StatusCode", "ErrorCode", "ErrorMessage"]

    assert sts.received == 0
    assert "Traceback" not in caplog.text
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


@pytest.mark.parametrize(
    ("kind", "status"),
    [(NotAuthenticated, 401), (UserNotAllowed, 403), (KeysUnavailable, 503)],
)
def test_the_status_is_that_of_the_kind_of_error(
    kind: type[LoginError], status: int
) -> None:
    refusal = login_refusal(kind("because of this"))

    assert refusal.status == status
    assert refusal.detail == "because of this"
    assert "because" not in f"{refusal.message} {refusal.fields}"
    assert ("WWW-Authenticate" in refusal.fields) == (status == 401)


def test_each_kind_of_error_has_a_status_of_its_own() -> None:
    kinds = LoginError.__subclasses__()

    assert len({login_refusal(kind("")).status for kind in kinds}) == len(kinds)


def test_a_million_bytes_of_authorization_are_too_many(
    login: RunningServer, sts: StsStandIn
) -> None:
    head = b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + b"a" * 1_000_000

    received = exchange_anyhow(login.port, head + b"\r\n\r\n")

    assert received.startswith(b"HTTP/1.1 431 ")
    assert sts.received == 0
    assert login.request(headers=bearer(service("HS256").sign())).status == 200


@pytest.mark.parametrize("in_url", [False, True], ids=["header", "URL"])
def test_a_login_is_as_large_as_a_request_may_be(
    login: RunningServer, in_url: bool
) -> None:
    token = service("HS256").sign(claims_now(x="x" * 11_000))
    assert 14_000 < len(token) < 16_000

    if in_url:
        reply = login.request(f"/?access_token={token}")
    else:
        reply = login.request(headers={"Authorization": f"Bearer {token}"})

    assert reply.status == 200


def test_a_defect_in_checking_lets_nobody_in(
    login: RunningServer, sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr(login_verifier, "header_problem", broken)

    reply = login.request(headers=bearer(service("HS256").sign()))

    assert refused(reply) == (401, "Unauthenticated")
    assert sts.received == 0


# --- A JWKS URL in trouble ------------------------------------------------------


@pytest.fixture
def url() -> Iterator[JwksServer]:
    """A JWKS URL with the key of a login service."""
    with jwks_server(jwks(service("RS256").jwk())) as server:
        yield server


def test_without_keys_nobody_is_let_in_and_told_to_come_back(
    make_server: MakeServer, url: JwksServer, sts: StsStandIn
) -> None:
    url.answer = answering(b"", 500)
    server = make_server(Authentication=jwks_authentication(url.url))

    reply = server.request(headers=bearer(service("RS256").sign()))

    assert refused(reply) == (503, "LoginUnavailable")
    assert reply.headers["retry-after"] == "5"
    assert "jwks" not in reply.body.decode()
    assert sts.received == 0
    assert server.request("/healthz").status == 200


def test_a_jwks_url_that_stalls_holds_up_those_who_need_it_and_nobody_else(
    make_server: MakeServer,
    url: JwksServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(login_jwks, "FETCH_SECONDS", 0.5)
    monkeypatch.setattr(login_jwks, "FETCH_PAUSE_SECONDS", PATIENCE_SECONDS)

    def stall(_: object) -> None:
        url.closing.wait(PATIENCE_SECONDS)

    url.answer = stall
    server = make_server(Authentication=jwks_authentication(url.url))
    with ThreadPoolExecutor(8) as pool:
        waiting = [
            pool.submit(server.request, headers=bearer(service("RS256").sign()))
            for _ in range(8)
        ]

        assert server.request("/").status == 401
        assert server.request("/healthz").status == 200
        assert {one.result().status for one in waiting} == {503}
    wait_until(lambda: len(url.requests) == 1)


def test_the_last_good_keys_let_users_in_through_an_outage(
    make_server: MakeServer, url: JwksServer
) -> None:
    server = make_server(Authentication=jwks_authentication(url.url))
    headers = bearer(service("RS256").sign())
    assert server.request(headers=headers).status == 200

    url.answer = answering(b"", 500)
    stranger = service("RS256").sign(header=service("RS256").header(kid="new"))

    assert server.request(headers=bearer(stranger)).status == 401
    assert server.request(headers=headers).status == 200


def test_keys_fetched_before_an_edit_are_kept(
    make_server: MakeServer, url: JwksServer, tmp_path: Path
) -> None:
    server = make_server(Authentication=jwks_authentication(url.url))
    headers = bearer(service("RS256").sign())
    server.request(headers=headers)
    url.answer = answering(b"", 500)
    config = server.server.config
    edited = json.loads((tmp_path / "config.json").read_text())
    edited["TokenExpireTime"] = 1000
    (tmp_path / "config.json").write_text(json.dumps(edited))
    server.look()

    assert server.request(headers=headers).status == 200
    assert config.generation == 2
    assert len(url.requests) == 1


# --- Keys that change -----------------------------------------------------------


def test_a_new_key_file_is_taken_up_and_the_old_key_is_no_longer_good(
    login: RunningServer, tmp_path: Path
) -> None:
    old = bearer(service("HS256").sign())
    assert login.request(headers=old).status == 200

    new = service("HS256", "a new one")
    fresh = tmp_path / "fresh"
    fresh.write_bytes(new.file)
    fresh.replace(tmp_path / "HS256.key")
    login.look()

    assert login.request(headers=bearer(new.sign())).status == 200
    assert login.request(headers=old).status == 401


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_broken_key_file_changes_nothing(
    login: RunningServer,
    tmp_path: Path,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    headers = bearer(service("HS256").sign())
    if content is None:
        (tmp_path / "HS256.key").unlink()
    else:
        (tmp_path / "HS256.key").write_bytes(content)
    login.look()

    assert login.request(headers=headers).status == 200
    assert login.request().status == 401
    assert "the previous configuration remains in force" in caplog.messages


def test_who_takes_authentication_away_by_mistake_does_not_open_the_server(
    login: RunningServer, tmp_path: Path
) -> None:
    sections: list[Any] = [{}, None, [], "off", {"Issuer": ISSUER}]
    for section in sections:
        path = tmp_path / "config.json"
        values = json.loads(path.read_text()) | {"Authentication": section}
        path.write_text(json.dumps(values))
        login.look()

        assert login.request().status == 401


# --- Settings -------------------------------------------------------------------


def problems(folder: Path, section: Any, **changes: Any) -> list[str]:
    """Return what is wrong with a configuration that has *section*."""
    path = write_config(folder, Authentication=section, **changes)
    with pytest.raises(ConfigError) as caught:
        load_config(path, read_file)
    return [one.removeprefix(f"{path}: ") for one in caught.value.problems]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"Issuer": ...}, "Issuer is empty", id="no Issuer"),
        pytest.param({"Issuer": ""}, "Issuer is empty", id="an empty Issuer"),
        pytest.param({"Issuer": 1}, "Issuer must be a string", id="a number"),
        pytest.param({"Audience": ...}, "Audience is empty", id="no Audience"),
        pytest.param({"Audience": []}, "Audience is empty", id="no audience in it"),
        pytest.param({"Audience": ["a", ""]}, "Audience is empty", id="an empty one"),
        pytest.param({"Audience": [1]}, "Audience must be a string or", id="numbers"),
        pytest.param({"SecretFile": ...}, "SecretFile, PublicKey", id="no key"),
        pytest.param({"SecretFile": ""}, "SecretFile, PublicKey", id="an empty name"),
        pytest.param(
            {"JwksUrl": "https://a.example.com/"}, "SecretFile, Public", id="two keys"
        ),
        pytest.param({"Leeway": -1}, "Leeway is -1; it must be", id="Leeway below 0"),
        pytest.param({"Leeway": 301}, "Leeway is 301; it must", id="Leeway over 300"),
        pytest.param({"UserClaim": ""}, "UserClaim", id="no UserClaim"),
        pytest.param({"Algorithms": ["none"]}, "Algorithms", id="none"),
        pytest.param({"Algorithms": ["RS256"]}, "Algorithms", id="of another key"),
        pytest.param({"Algorithms": "HS512"}, "Algorithms", id="not one of ours"),
        pytest.param({"Audiance": "x"}, "Audiance is not a setting", id="misspelt"),
        pytest.param({"secretfile": "x"}, "secretfile is not a", id="in lower case"),
    ],
)
def test_a_wrong_section_is_named(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    found = problems(tmp_path, authentication(tmp_path, **changes))

    assert any(one.startswith(f"Authentication: {problem}") for one in found), found


@pytest.mark.parametrize("section", [None, [], "on", True, {}])
def test_a_section_that_is_none_does_not_open_the_server(
    tmp_path: Path, section: Any
) -> None:
    path = write_config(tmp_path)
    path.write_text(json.dumps(settings() | {"Authentication": section}))

    with pytest.raises(ConfigError, match="Authentication"):
        load_config(path, read_file)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"short", "has 5 bytes; an HS256 secret has 32", id="short"),
        pytest.param(service("RS256").file, "is a public key", id="a public key"),
        pytest.param(None, "cannot be read: No such file", id="missing"),
    ],
)
def test_a_secret_that_is_none_is_named_by_its_file(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    section = authentication(tmp_path)
    key_file = tmp_path / "HS256.key"
    key_file.unlink() if content is None else key_file.write_bytes(content)

    (found,) = problems(tmp_path, section)

    assert f"{key_file}: {problem}" in found


def test_a_private_key_is_not_taken_for_the_public_one(tmp_path: Path) -> None:
    section = authentication(tmp_path, "ES256")
    (tmp_path / "ES256.key").write_bytes(service("ES256").private_pem)

    (found,) = problems(tmp_path, section)

    assert "is a private key" in found
    assert "BEGIN" not in found


def test_plain_http_for_keys_is_refused(tmp_path: Path) -> None:
    section = jwks_authentication("http://login.example.com/jwks.json")

    (found,) = problems(tmp_path, section)

    assert found.startswith("Authentication: JwksUrl is plain HTTP")


@pytest.mark.process
def test_without_pyjwt_the_operator_is_told_what_to_install(tmp_path: Path) -> None:
    path = write_config(tmp_path, Authentication=authentication(tmp_path))
    script = (
        "import sys; sys.modules['jwt'] = sys.modules['cryptography'] = None\n"
        "sys.argv[0] = 'sts_server.py'\n"
        "from tokenserver import cli\n"
        "sys.exit(cli.main())\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, "--config", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert result.returncode == 2
    assert result.stderr.startswith(f"sts_server.py: {path}: Authentication: PyJWT")
    assert result.stderr.endswith("; run: pip install -U 'PyJWT[crypto]>=2.14.0'\n")


def test_a_secret_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    section = authentication(tmp_path)
    (tmp_path / "HS256.key").chmod(0o644)
    path = write_config(
        tmp_path, Authentication=section, ObjectPrefix="users/$USER_ID/"
    )

    (warning,) = load_config(path, read_file).warnings

    assert warning.startswith(f"{tmp_path}/HS256.key: contains a secret")


def test_a_session_name_that_nobody_gets_is_a_warning(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        Authentication=authentication(tmp_path),
        ObjectPrefix="users/$USER_ID/",
        RoleSessionName="app",
    )

    (warning,) = load_config(path, read_file).warnings

    assert "RoleSessionName is not used" in warning


def test_no_setting_shows_a_secret(tmp_path: Path) -> None:
    path = write_config(tmp_path, Authentication=authentication(tmp_path))

    config = load_config(path, read_file)

    secret = service("HS256").file.decode().strip()
    assert secret not in repr(config)
    assert settings()["AccessKeySecret"] not in repr(config)
