"""The STS stand-in throttles, fails and misbehaves as told, and remembers."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from helpers.machine import PATIENCE_SECONDS, reserved_port
from helpers.sts.calls import (
    POLICY,
    USER,
    Call,
    both_styles,
    business_params,
    call_acs3,
    call_rpc,
    documented,
    issue,
    send,
)

from localcloud.clock import Clock
from localcloud.sts import (
    Behaviour,
    Close,
    Drip,
    Fail,
    Hang,
    Reply,
    Reset,
    StsStandIn,
    calls,
)

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # to linger for zero seconds


# --- Quota, latency, misbehaviour
def test_calls_beyond_the_quota_are_throttled(sts: StsStandIn, clock: Clock) -> None:
    sts.calls_per_second = 2
    other = sts.add_user("LTAI5tOther", "other-secret")

    assert call_acs3(sts).status == 200
    clock.now += 0.5
    assert call_rpc(sts, by=other).status == 200
    answer = call_acs3(sts)
    assert answer.error == documented("Throttling.User")
    clock.now += 0.5
    assert call_acs3(sts).status == 200
    assert call_acs3(sts).status == 400


def test_reply_is_late_by_the_latency(sts: StsStandIn) -> None:
    sts.latency_seconds = 0.05
    started = time.monotonic()

    assert call_acs3(sts).status == 200
    assert time.monotonic() - started >= 0.04


def test_script_is_followed_once(sts: StsStandIn) -> None:
    sts.script(Fail("InternalError"), None, Fail("ServiceUnavailable"))

    assert [call_acs3(sts).status for _ in range(5)] == [500, 200, 503, 200, 200]


def test_script_comes_before_what_is_always_done(sts: StsStandIn) -> None:
    sts.always(Fail("InternalError"))
    sts.script(None)

    assert [call_acs3(sts).status for _ in range(3)] == [200, 500, 500]
    sts.always(None)
    assert call_acs3(sts).status == 200


def test_failure_is_as_told(sts: StsStandIn) -> None:
    sts.script(Fail("Odd.Code", "Odd message.", 418, {"x-odd": "1"}))

    answer = call_rpc(sts, Format="XML")

    assert answer.error == "418 Odd.Code: Odd message."
    assert answer.headers["x-odd"] == "1"


@pytest.mark.parametrize(
    "code", ["InternalError", "ServiceUnavailable", "Throttling", "Throttling.Api"]
)
def test_failure_is_the_documented_one_unless_told(sts: StsStandIn, code: str) -> None:
    sts.script(Fail(code))

    assert call_acs3(sts).error == documented(code)


def test_nonsense_is_sent_as_it_is(sts: StsStandIn) -> None:
    sts.script(Reply(200, b"<html>", "text/html", {"X-Odd": "1"}))

    answer = call_acs3(sts)

    assert (answer.status, answer.body) == (200, b"<html>")
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["x-odd"] == "1"


def test_reply_may_be_cut_short(sts: StsStandIn) -> None:
    headers = {"Content-Length": "100", "Connection": "close"}
    sts.script(Reply(200, b'{"Creden', headers=headers))

    with pytest.raises(http.client.IncompleteRead):
        call_acs3(sts)


def test_connection_is_closed_without_a_reply(sts: StsStandIn) -> None:
    sts.script(Close())

    with pytest.raises(http.client.RemoteDisconnected):
        call_acs3(sts)
    assert call_acs3(sts).status == 200


def test_connection_is_reset(sts: StsStandIn) -> None:
    sts.script(Reset())

    with pytest.raises(ConnectionResetError, match="reset"):
        call_acs3(sts)
    assert call_acs3(sts).status == 200


def test_reply_drips(sts: StsStandIn) -> None:
    sts.script(Drip(seconds_per_byte=0.0001))

    answer = call_acs3(sts)

    assert sts.issued(answer.token) is not None


@pytest.mark.parametrize(
    "release",
    [
        pytest.param(lambda sts: sts.always(None), id="always"),
        pytest.param(lambda sts: sts.script(), id="script"),
    ],
)
def test_hanging_call_is_answered_when_the_behaviour_changes(
    sts: StsStandIn, release: Callable[[StsStandIn], None]
) -> None:
    sts.script(Hang())

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(call_acs3, sts)
        sts.wait_for_requests(1)
        assert call_acs3(sts).status == 200
        assert not call.done()
        release(sts)

        assert call.result(PATIENCE_SECONDS).status == 200


def test_held_calls_are_answered_when_the_block_ends(sts: StsStandIn) -> None:
    with ThreadPoolExecutor(3) as pool:
        with sts.held():
            calls = [pool.submit(call_acs3, sts) for _ in range(3)]
            sts.wait_for_requests(3)
            assert not any(call.done() for call in calls)

        results = [call.result(PATIENCE_SECONDS) for call in calls]
        assert [answer.status for answer in results] == [200] * 3


# --- What was asked
@both_styles
def test_request_is_recorded(sts: StsStandIn, clock: Clock, call: Call) -> None:
    call(sts, Policy=POLICY)

    (request,) = sts.requests
    assert request.action == "AssumeRole"
    assert request.params == business_params({"Policy": POLICY})
    assert request.access_key_id == USER.access_key_id
    assert request.signature_style == ("RPC" if call is call_rpc else "ACS3")
    assert request.headers["host"] == sts.endpoint
    assert request.received_at == clock.now


def test_request_is_recorded_however_it_is_answered(sts: StsStandIn) -> None:
    send(sts, "PUT", "/nowhere?a=b")
    sts.script(Close())
    with pytest.raises(http.client.RemoteDisconnected):
        call_acs3(sts, RoleSessionName="bob")

    first, second = sts.requests
    assert (first.action, first.params, first.access_key_id) == ("", {"a": "b"}, "")
    assert second.params["RoleSessionName"] == "bob"


def test_requests_are_forgotten_when_cleared(sts: StsStandIn) -> None:
    call_acs3(sts)
    sts.clear()

    assert sts.requests == []
    with pytest.raises(TimeoutError, match="0 of 1 requests"):
        sts.wait_for_requests(1, timeout=0.01)


def test_latest_of_many_requests_are_kept(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REQUESTS_KEPT", 2)
    with StsStandIn(clock=clock) as sts:
        for name in ("alice", "bob", "carol"):
            call_acs3(sts, RoleSessionName=name)

        names = [request.params["RoleSessionName"] for request in sts.requests]
        assert names == ["bob", "carol"]
        sts.wait_for_requests(3)


@both_styles
def test_secrets_are_not_shown(sts: StsStandIn, call: Call) -> None:
    token = issue(sts)
    call(sts, by=token)

    shown = repr([sts.requests, token, sts.add_user("LTAI5tOther", "other-secret")])
    assert token.access_key_id in shown
    for secret in (token.access_key_secret, token.security_token, "other-secret"):
        assert secret not in shown


# --- Start and stop
def test_defaults_make_a_call_that_succeeds() -> None:
    with StsStandIn() as sts:
        user, role = sts.add_user(), sts.add_role()

        assert sts.url == f"http://127.0.0.1:{sts.port}"
        assert call_acs3(sts, by=user, RoleArn=role.arn).status == 200


def test_port_may_be_chosen() -> None:
    with reserved_port() as port, StsStandIn(port) as sts:
        assert sts.endpoint == f"127.0.0.1:{port}"
        assert send(sts, "GET", "/").status == 400


@pytest.mark.parametrize(
    ("behaviour", "latency_seconds"),
    [
        pytest.param(Hang(), 0.0, id="hanging"),
        pytest.param(Drip(3 * PATIENCE_SECONDS), 0.0, id="dripping"),
        pytest.param(None, 3 * PATIENCE_SECONDS, id="late"),
    ],
)
def test_close_ends_a_call_at_once(
    behaviour: Behaviour | None, latency_seconds: float
) -> None:
    threads = set(threading.enumerate())
    with ThreadPoolExecutor(1) as pool:
        with StsStandIn(latency_seconds=latency_seconds) as sts:
            sts.always(behaviour)
            call = pool.submit(send, sts, "GET", "/")
            sts.wait_for_requests(1)
            started = time.monotonic()

        assert time.monotonic() - started < PATIENCE_SECONDS
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            call.result(PATIENCE_SECONDS)
    assert set(threading.enumerate()) <= threads


def test_close_ends_idle_connections_and_refuses_new_ones() -> None:
    threads = set(threading.enumerate())
    with ExitStack() as clients:
        with StsStandIn() as sts:
            idle, served, *_ = [
                clients.enter_context(socket.create_connection(("127.0.0.1", sts.port)))
                for _ in range(20)
            ]
            served.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert served.recv(12) == b"HTTP/1.1 400"

        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            send(sts, "GET", "/")
    assert set(threading.enumerate()) <= threads


def test_client_that_goes_away_leaves_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with StsStandIn() as sts:
        address = ("127.0.0.1", sts.port)
        with sts.held(), socket.create_connection(address) as gone:
            gone.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            sts.wait_for_requests(1)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        with socket.create_connection(address) as gone:
            gone.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort")
        sts.wait_for_requests(2)

    assert capfd.readouterr() == ("", "")
