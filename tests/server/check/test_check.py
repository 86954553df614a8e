"""What is said to be wrong when AssumeRole gives no token."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from helpers.clocks import FakeClock
from helpers.machine import PATIENCE_SECONDS, reserved_port
from helpers.server import MakeServer
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, ROLE_ARN

from localcloud import sts as stand_in
from localcloud.clock import Clock
from localcloud.sts import Close, Drip, Fail, Hang, Reply, StsStandIn
from tokenserver.check import hints as check_hints
from tokenserver.check import probe as check_probe
from tokenserver.check import report as check_report
from tokenserver.check.hints import HintLog, hint
from tokenserver.check.probe import probe
from tokenserver.check.report import Sample, diagnose, run_check
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.documents import Credentials, failed
from tokenserver.errors import Cause, Failure, StsError
from tokenserver.sts import client as sts_client_module
from tokenserver.sts.client import CallerIdentity, StsClient

pytestmark = pytest.mark.slow

ACCOUNT = "1234567890123456"
OTHER_ACCOUNT = "9876543210987654"
POLICY = json.dumps(
    {
        "Version": "1",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "oss:PutObject",
                "Resource": "acs:oss:*:*:my-bucket/相片/*",
            }
        ],
    }
)

# A phrase of each diagnosis that no other has.
DIAGNOSES = {
    "root key": "belongs to the root account",
    "no policy": "Attach the policy AliyunSTSAssumeRoleAccess",
    "no trust": "is not named by the trust policy",
    "either": "lacks one of two things",
    "other account": "check first that RoleArn names the right account",
    "no role": "has no role",
    "wrong secret": "AccessKeySecret does not belong to",
    "disabled key": "is disabled. Enable it",
    "unknown key": "STS does not know",
    "clock": "The clock of this machine is",
    "duration": "Max Session Duration",
    "too slow": "takes too long to answer",
    "slow": "is slow from here",
    "breaks off": "breaks off",
    "closed port": "Nothing listens at",
    "not STS": "is not STS. Set StsEndpoint",
    "lifetime": "The token is valid for",
}


def call_of(sts: StsStandIn, **changes: Any) -> AssumeRoleCall:
    """Return a call that succeeds, but for *changes*."""
    values: dict[str, Any] = {
        "protocol": "http",
        "endpoint": sts.endpoint,
        "access_key_id": ACCESS_KEY_ID,
        "access_key_secret": ACCESS_KEY_SECRET,
        "role_arn": ROLE_ARN,
        "role_session_name": "sample",
        "duration_seconds": 900,
        "policy": POLICY,
    }
    return AssumeRoleCall(**(values | changes))


class Recorder:
    """An StsClient that remembers the tokens it got."""

    def __init__(self, client: StsClient) -> None:
        self._client = client
        self.tokens: list[Credentials] = []
        self.calls: list[AssumeRoleCall] = []

    def assume_role(self, call: AssumeRoleCall) -> Credentials:
        self.calls.append(call)
        self.tokens.append(self._client.assume_role(call))
        return self.tokens[-1]

    def caller_identity(self, call: AssumeRoleCall) -> CallerIdentity:
        return self._client.caller_identity(call)


class Report:
    """Runs the check and takes its report apart."""

    def __init__(
        self, client: StsClient, capsys: pytest.CaptureFixture[str], *calls: Any
    ) -> None:
        recorder = Recorder(client)
        grants = [Sample(f"/{n}" if n else "/", call) for n, call in enumerate(calls)]
        settings = {"AccessKeyID": ACCESS_KEY_ID, "AccessKeySecret": ACCESS_KEY_SECRET}
        sts = cast(StsClient, recorder)
        findings = diagnose(grants, sts)
        self.status = run_check(settings, grants, ["config.json: a warning"], findings)
        self.calls = recorder.calls
        self.text = capsys.readouterr().out
        self.probes = [
            line.split(maxsplit=1)
            for line in self.section("Probes")
            if line != "Each grant gets a token."
        ]
        self.remedies = self.section("What to do")
        assert ACCESS_KEY_SECRET not in self.text
        for token in recorder.tokens:
            assert token.access_key_secret not in self.text
            assert token.security_token not in self.text

    def section(self, title: str) -> list[str]:
        """Return the lines below *title*."""
        _, _, rest = self.text.partition(f"\n{title}\n")
        return [line.strip() for line in rest.partition("\n\n")[0].splitlines()]

    @property
    def levels(self) -> str:
        """Return the level of each probe: endpoint, clock, AssumeRole."""
        return " ".join(level for level, _ in self.probes)

    @property
    def diagnoses(self) -> list[str]:
        """Return the names of all that it says is to be changed."""
        text = "\n".join(self.remedies)
        return [name for name, phrase in DIAGNOSES.items() if phrase in text]


MakeReport = Callable[..., Report]


@pytest.fixture
def report(sts_client: StsClient, capsys: pytest.CaptureFixture[str]) -> MakeReport:
    """Return a function that checks the grants of some calls."""
    return lambda *calls: Report(sts_client, capsys, *calls)


@pytest.fixture(autouse=True)
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call nothing slow that a busy machine makes slow."""
    monkeypatch.setattr(check_probe, "PROBE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(check_report, "SLOW_SECONDS", PATIENCE_SECONDS)
    for name in ("DEADLINE_SECONDS", "CONNECT_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(sts_client_module, name, PATIENCE_SECONDS)


def shorten_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for long, where nobody is to answer in time."""
    monkeypatch.setattr(check_probe, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(sts_client_module, "DEADLINE_SECONDS", 0.5)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An endpoint where nothing listens."""
    with reserved_port() as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def listener(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Listen for one connection, and give *answer* to what arrives first there."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):  # it may be gone already
                received.append(connection.recv(65536))
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", received
        thread.join(PATIENCE_SECONDS)


# --- The report


def test_report_of_what_works(sts: StsStandIn, report: MakeReport) -> None:
    found = report(call_of(sts), call_of(sts, policy=None, duration_seconds=1800))

    assert found.status == 0
    assert found.levels == "ok ok ok ok"
    assert found.remedies == []
    assert f"AccessKeyID      {ACCESS_KEY_ID}\n" in found.text
    assert "AccessKeySecret  set\n" in found.text
    assert f"Grant /: {ROLE_ARN}, 900 s\n" in found.text
    assert '        "Resource": "acs:oss:*:*:my-bucket/相片/*"\n' in found.text
    assert "Grant /1:" in found.text
    assert "no session policy: a token may do everything" in found.text
    assert "config.json: a warning\n" in found.text
    assert "Each grant gets a token." in found.text


def test_secret_that_is_not_set_is_shown_as_such(
    sts: StsStandIn, sts_client: StsClient, capsys: pytest.CaptureFixture[str]
) -> None:
    grants = [Sample("/", call_of(sts))]
    run_check({"AccessKeySecret": "not set"}, grants, [], diagnose(grants, sts_client))

    assert "AccessKeySecret  not set\n" in capsys.readouterr().out


def test_report_fits_a_terminal_of_ascii(
    sts: StsStandIn, sts_client: StsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ascii:
        encoding = "ascii"

        def write(self, text: str) -> int:
            return len(text.encode("ascii"))

        def flush(self) -> None: ...

    monkeypatch.setattr(sys, "stdout", Ascii())

    samples = [Sample("/", call_of(sts))]
    assert run_check({}, samples, [], diagnose(samples, sts_client)) == 0


# --- Each broken state

State = Callable[[StsStandIn, Clock], dict[str, Any]]  # returns changes of the call
NOWHERE = "nowhere"  # stands for an endpoint where nothing listens


def root_key(sts: StsStandIn, _clock: Clock) -> dict[str, Any]:
    sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET, arn=f"acs:ram::{ACCOUNT}:root")
    return {}


def no_policy(sts: StsStandIn, _clock: Clock) -> dict[str, Any]:
    sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET, may_assume=())
    return {}


def no_trust(sts: StsStandIn, _clock: Clock) -> dict[str, Any]:
    sts.add_role(ROLE_ARN, trusted=())
    return {}


def no_policy_and_no_detail(sts: StsStandIn, clock: Clock) -> dict[str, Any]:
    sts.says_what_denied = False
    return no_policy(sts, clock)


def no_trust_and_no_detail(sts: StsStandIn, clock: Clock) -> dict[str, Any]:
    sts.says_what_denied = False
    return no_trust(sts, clock)


def other_account(sts: StsStandIn, _clock: Clock) -> dict[str, Any]:
    arn = f"acs:ram::{OTHER_ACCOUNT}:user/alice"
    sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET, arn=arn)
    return {}


def other_account_and_no_detail(sts: StsStandIn, clock: Clock) -> dict[str, Any]:
    sts.says_what_denied = False
    return other_account(sts, clock)


def disabled_key(sts: StsStandIn, _clock: Clock) -> dict[str, Any]:
    sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET, is_enabled=False)
    return {}


def clock_is_behind(_sts: StsStandIn, clock: Clock) -> dict[str, Any]:
    clock.offset_seconds = 20 * 60
    return {}


def clock_is_ahead(_sts: StsStandIn, clock: Clock) -> dict[str, Any]:
    clock.offset_seconds = -3 * 3600
    return {}


def answering(behaviour: stand_in.Behaviour) -> State:
    """Return the state in which STS behaves so."""

    def state(sts: StsStandIn, _clock: Clock) -> dict[str, Any]:
        sts.always(behaviour)
        return {}

    return state


def with_call(**changes: Any) -> State:
    """Return the state in which the call has *changes*."""
    return lambda _sts, _clock: changes


STATES = [
    pytest.param(root_key, ["root key"], ACCESS_KEY_ID, "ok ok problem", id="root key"),
    pytest.param(
        no_policy,
        ["no policy"],
        f"RAM user app-server of account {ACCOUNT}",
        "ok ok problem",
        id="no policy",
    ),
    pytest.param(
        no_trust,
        ["no trust"],
        f'"acs:ram::{ACCOUNT}:root" to Principal > RAM in RAM console > Identities > '
        "Roles > app-uploader > Trust Policy",
        "ok ok problem",
        id="no trust",
    ),
    pytest.param(
        no_policy_and_no_detail,
        ["either"],
        "1. the policy AliyunSTSAssumeRoleAccess is not attached to it",
        "ok ok problem",
        id="no policy, no detail",
    ),
    pytest.param(
        no_trust_and_no_detail,
        ["either"],
        "2. the trust policy of the role app-uploader",
        "ok ok problem",
        id="no trust, no detail",
    ),
    pytest.param(
        other_account,
        ["no trust", "other account"],
        f"RAM user alice of account {OTHER_ACCOUNT} is not named by the trust policy "
        f'of the role app-uploader. Add "acs:ram::{OTHER_ACCOUNT}:root"',
        "ok ok problem",
        id="other account",
    ),
    pytest.param(
        other_account_and_no_detail,
        ["either", "other account"],
        "1. the trust policy of the role app-uploader",
        "ok ok problem",
        id="other account, no detail",
    ),
    pytest.param(
        with_call(role_arn=f"acs:ram::{ACCOUNT}:role/nobody"),
        ["no role"],
        f"Account {ACCOUNT} has no role nobody. Copy the ARN",
        "ok ok problem",
        id="no role",
    ),
    pytest.param(
        with_call(role_arn=f"acs:ram::{OTHER_ACCOUNT}:role/nobody"),
        ["no role"],
        f"The key is that of RAM user app-server of account {ACCOUNT}",
        "ok ok problem",
        id="no role, other account",
    ),
    pytest.param(
        with_call(access_key_secret="another"),
        ["wrong secret"],
        f"AccessKeyID {ACCESS_KEY_ID}",
        "ok ok problem",
        id="wrong secret",
    ),
    pytest.param(
        disabled_key, ["disabled key"], ACCESS_KEY_ID, "ok ok problem", id="disabled"
    ),
    pytest.param(
        with_call(access_key_id="LTAIother"),
        ["unknown key"],
        "AccessKeyID LTAIother",
        "ok ok problem",
        id="unknown key",
    ),
    pytest.param(
        clock_is_behind,
        ["clock"],
        "20 minutes behind that of STS",
        "ok problem problem",
        id="clock behind",
    ),
    pytest.param(
        clock_is_ahead,
        ["clock"],
        "3 hours ahead of that of STS",
        "ok problem problem",
        id="clock ahead",
    ),
    pytest.param(
        with_call(duration_seconds=7200),
        ["duration"],
        "TokenExpireTime is 7200, which is more than the role app-uploader allows",
        "ok ok problem",
        id="duration",
    ),
    pytest.param(
        answering(Hang()),
        ["too slow"],
        "sts-vpc.<region>.aliyuncs.com inside a VPC",
        "problem problem",
        id="stalled",
    ),
    pytest.param(
        answering(Drip(0.05)),
        ["too slow"],
        "takes too long",
        "problem problem",
        id="dripping",
    ),
    pytest.param(
        answering(Close()), ["breaks off"], "firewall", "problem problem", id="closing"
    ),
    pytest.param(
        with_call(endpoint=NOWHERE),
        ["closed port"],
        "Correct host and port of StsEndpoint",
        "problem problem",
        id="closed port",
    ),
    pytest.param(
        answering(Reply(200, b"<html>Log in</html>", "text/html")),
        ["not STS"],
        "login page",
        "ok ok problem",
        id="garbage",
    ),
    pytest.param(
        answering(Fail("InvalidVersion")), ["not STS"], "", "ok ok problem", id="other"
    ),
]


@pytest.mark.parametrize(("state", "diagnoses", "phrase", "levels"), STATES)
def test_broken_state_is_diagnosed(
    sts: StsStandIn,
    clock: Clock,
    report: MakeReport,
    nowhere: str,
    monkeypatch: pytest.MonkeyPatch,
    state: State,
    diagnoses: list[str],
    phrase: str,
    levels: str,
) -> None:
    call = call_of(sts, **state(sts, clock))
    if call.endpoint == NOWHERE:
        call = replace(call, endpoint=nowhere)
    if diagnoses == ["too slow"]:
        shorten_waits(monkeypatch)

    found = report(call)

    assert found.status == 1
    assert found.diagnoses == diagnoses
    assert len(found.remedies) == 1
    assert phrase in found.remedies[0]
    assert found.levels == levels
    assert "There are problems." in found.text


@pytest.mark.parametrize(
    ("offset_seconds", "words"),
    [
        pytest.param(90, "(8|9)[0-9] seconds behind", id="behind"),
        pytest.param(-300, "5 minutes ahead of", id="ahead"),
    ],
)
def test_clock_that_is_a_little_off_is_a_warning(
    sts: StsStandIn,
    clock: Clock,
    report: MakeReport,
    offset_seconds: float,
    words: str,
) -> None:
    clock.offset_seconds = offset_seconds

    found = report(call_of(sts))

    assert found.status == 0
    assert found.levels == "ok warning ok"
    assert found.diagnoses == ["clock"]
    assert re.search(words, found.remedies[0])


@pytest.mark.parametrize("offset_seconds", [-50, 50])  # and some for the round trip
def test_clock_within_a_minute_is_right(
    sts: StsStandIn, clock: Clock, report: MakeReport, offset_seconds: float
) -> None:
    clock.offset_seconds = offset_seconds

    assert report(call_of(sts)).levels == "ok ok ok"


def test_clock_is_compared_at_half_of_the_round_trip(sts: StsStandIn) -> None:
    sts.latency_seconds = 0.4
    sts.clock = lambda: 1_000_000_000.0

    answer = probe(call_of(sts), lambda: 1_000_000_000.0)

    # Half a second is what a Date leaves out on average.
    assert answer.clock_offset_seconds == pytest.approx(answer.seconds / 2 - 0.5)
    assert answer.seconds >= 0.4


def test_answer_without_a_date_leaves_the_clock_alone(
    sts: StsStandIn, report: MakeReport
) -> None:
    sts.script(Reply(400, b"", headers={"Date": "yesterday"}))

    found = report(call_of(sts))

    assert found.status == 0
    assert found.levels == "ok warning ok"
    assert found.remedies == []


def test_slow_endpoint_is_a_warning(
    sts: StsStandIn, report: MakeReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_report, "SLOW_SECONDS", 0.1)
    sts.latency_seconds = 0.15

    found = report(call_of(sts))

    assert found.status == 0
    assert found.levels == "warning ok ok"
    assert found.diagnoses == ["slow"]
    assert "sts.<region>.aliyuncs.com" in found.remedies[0]


@pytest.mark.parametrize(
    ("seconds", "level", "status"),
    [
        pytest.param(100, "problem", 1, id="useless"),
        pytest.param(600, "warning", 0, id="short"),
        pytest.param(7200, "warning", 0, id="long"),
        pytest.param(930, "ok", 0, id="right"),
    ],
)
def test_token_must_last_as_long_as_was_asked_for(
    sts: StsStandIn, report: MakeReport, seconds: int, level: str, status: int
) -> None:
    expiration = stand_in.format_timestamp(int(time.time()) + seconds)
    fields = {
        "AccessKeyId": "STS.x",
        "AccessKeySecret": "se.cret",
        "SecurityToken": "to.ken",
    }
    document = {"Credentials": {**fields, "Expiration": expiration}}
    sts.script(None, Reply(200, json.dumps(document).encode()))

    found = report(replace(call_of(sts)))

    assert found.status == status
    assert found.levels == f"ok ok {level}"
    assert found.diagnoses == ([] if level == "ok" else ["lifetime"])


# --- Several grants


def test_equal_calls_are_made_once(sts: StsStandIn, report: MakeReport) -> None:
    call = call_of(sts)

    found = report(call, replace(call, role_session_name="other"))

    assert found.calls == [call]
    assert "AssumeRole for /, /1: " in found.text


def test_equal_failures_are_told_once(sts: StsStandIn, report: MakeReport) -> None:
    sts.add_role(ROLE_ARN, trusted=())
    good = f"acs:ram::{ACCOUNT}:role/good"
    sts.add_role(good)
    call = call_of(sts)

    found = report(call, replace(call, policy=None), replace(call, role_arn=good))

    assert len(found.calls) == 3
    assert found.status == 1
    assert found.levels == "ok ok ok problem"
    assert "AssumeRole for /, /1: NoPermission" in found.text
    assert found.diagnoses == ["no trust"]
    assert len(found.remedies) == 1


def test_failures_of_their_own_are_all_told(
    sts: StsStandIn, report: MakeReport
) -> None:
    call = call_of(sts)

    found = report(
        replace(call, duration_seconds=7200),
        replace(call, role_arn=f"acs:ram::{ACCOUNT}:role/nobody"),
        call,
    )

    assert found.status == 1
    assert found.levels == "ok ok ok problem problem"
    assert found.diagnoses == ["no role", "duration"]


def test_what_fails_for_one_as_for_all_is_tried_once(
    sts: StsStandIn, report: MakeReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_waits(monkeypatch)
    sts.always(Hang())
    calls = [call_of(sts, duration_seconds=900 + n) for n in range(8)]

    found = report(*calls)

    assert len(found.calls) == 1
    assert "AssumeRole for /, /1, /2, /3, /4 and 3 more: SDK.Server" in found.text


def test_defect_is_no_diagnosis(sts: StsStandIn) -> None:
    class Broken:
        def assume_role(self, call: AssumeRoleCall) -> None:
            raise KeyError("a defect")

    with pytest.raises(KeyError):
        list(diagnose([Sample("/", call_of(sts))], cast(StsClient, Broken())))


# --- The probe


def test_probe_goes_through_the_proxy_of_the_sdk(
    sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:pass%20word@{sts.endpoint}")
    monkeypatch.setenv("NO_PROXY", "*")

    answer = probe(call_of(sts, endpoint="sts.example.invalid"), time.time)

    (request,) = sts.requests
    assert answer.status == 404
    assert request.path == "http://sts.example.invalid/"
    assert request.headers["host"] == "sts.example.invalid"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="


def test_probe_of_tls_asks_the_proxy_for_a_tunnel(
    sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_of(sts, protocol="https", endpoint="sts.example.invalid")
    with listener(b"HTTP/1.1 407 Who are you?\r\n\r\n") as (address, received):
        monkeypatch.setenv("https_proxy", f"http://user:password@{address}")
        with pytest.raises(check_probe.Unanswered) as info:
            probe(call, time.time)

    assert received[0].startswith(b"CONNECT sts.example.invalid:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==" in received[0]
    assert str(info.value) == f"the proxy failed (through the proxy at {address})"


@pytest.mark.parametrize(
    "proxy", ["https://127.0.0.1:1", "http://127.0.0.1:70000", "http://"]
)
def test_proxy_that_cannot_be_used_is_told(
    sts: StsStandIn,
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)

    with pytest.raises(check_probe.Unanswered, match="the proxy failed"):
        probe(call_of(sts), time.time)


def test_endpoint_without_tls_is_told(sts: StsStandIn) -> None:
    with (
        listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (address, _),
        pytest.raises(check_probe.Unanswered, match="TLS failed"),
    ):
        probe(call_of(sts, protocol="https", endpoint=address), time.time)


def test_endpoint_of_another_protocol_is_told(sts: StsStandIn) -> None:
    with (
        listener(b"SSH-2.0-OpenSSH\r\n") as (address, _),
        pytest.raises(check_probe.Unanswered, match="not the JSON of an answer"),
    ):
        probe(call_of(sts, endpoint=address), time.time)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name is not known"),
        (OSError(101, "Network is unreachable"), "no route to it"),
        (OSError(113, "No route to host"), "no route to it"),
        (OSError(24, "Too many open files"), "connection failed"),
    ],
)
def test_reason_is_in_plain_words(
    sts: StsStandIn, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    with pytest.raises(check_probe.Unanswered, match=reason):
        probe(call_of(sts), time.time)


def test_name_that_is_too_long_is_not_known(sts: StsStandIn) -> None:
    with pytest.raises(check_probe.Unanswered, match="its name is not known"):
        probe(call_of(sts, endpoint=f"{'a' * 64}.example"), time.time)


def test_probe_ends_even_if_the_name_is_looked_up_for_ever(
    sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(check_probe, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_o: released.wait())

    with pytest.raises(check_probe.Unanswered, match=r"no answer within 0\.1 s"):
        probe(call_of(sts), time.time)

    released.set()


# --- Hints

EXAMPLE = AssumeRoleCall(
    protocol="https",
    endpoint="sts.aliyuncs.com",
    access_key_id=ACCESS_KEY_ID,
    access_key_secret=ACCESS_KEY_SECRET,
    role_arn=ROLE_ARN,
    role_session_name="sample",
    duration_seconds=900,
    policy=POLICY,
)


def refused(code: str, message: str = "", denied_by: str = "") -> Failure:
    """Return an error as STS gives it."""
    return Failure(Cause.REFUSED, code, message, "RequestId 1", denied_by=denied_by)


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        ("AuthenticationFail.ApiUsername", ""),
        ("ContentMD5NotMatched", "proxy"),
        ("EntityNotExist.Role", "RoleArn"),
        ("IncompleteSignature", "proxy"),
        ("InternalError", "StsEndpoint RequestId"),
        ("InvalidAccessKeyId.Inactive", "AccessKeyID AccessKeySecret Identities"),
        ("InvalidAccessKeyId.NotFound", "AccessKeyID Identities"),
        ("InvalidAction.NotFound", "StsEndpoint"),
        ("InvalidApi.NotFound", "StsEndpoint"),
        ("InvalidParameter", "RoleArn RoleSessionName TokenExpireTime PolicyFile"),
        ("InvalidParameter.ContentType", "StsEndpoint"),
        ("InvalidParameter.DurationSeconds", "TokenExpireTime Identities"),
        ("InvalidParameter.Format", "StsEndpoint"),
        ("InvalidParameter.PolicyGrammar", "PolicyFile"),
        ("InvalidParameter.PolicySize", "PolicyFile"),
        ("InvalidParameter.RoleArn", "RoleArn Identities"),
        ("InvalidParameter.RoleSessionName", "RoleSessionName"),
        ("InvalidProduct.NotFound", "StsEndpoint"),
        ("InvalidSecurityToken.Expired", "AccessKeyID chain"),
        ("InvalidSecurityToken.Malformed", "AccessKeyID chain"),
        ("InvalidSecurityToken.MismatchWithAccessKey", "AccessKeyID chain"),
        ("InvalidSignatureMethod", "proxy"),
        ("InvalidTimeStamp.Expired", "clock NTP"),
        ("InvalidTimeStamp.Format", "proxy"),
        ("InvalidVersion", "StsEndpoint"),
        ("MissingSecurityToken", "AccessKeyID AccessKeySecret"),
        ("NoPermission", "AliyunSTSAssumeRoleAccess Trust"),
        ("ServiceUnavailable", "StsEndpoint"),
        ("SignatureDoesNotMatch", "AccessKeySecret AccessKeyID"),
        ("SignatureNonceUsed", "proxy"),
        ("Throttling", "TokenReuseTime StsCallsPerSecond"),
        ("Throttling.Api", "TokenReuseTime StsCallsPerSecond"),
        ("Throttling.User", "TokenReuseTime StsCallsPerSecond"),
        ("UnsupportedHTTPMethod", "StsEndpoint"),
        ("Whatever.{Else}", ""),
    ],
)
def test_hint_names_what_to_change(code: str, keys: str) -> None:
    text = hint(refused(code), EXAMPLE)

    assert bool(text) == bool(keys)
    for key in keys.split():
        assert key in text
    assert not re.search(r"[{}]", text)
    assert ACCESS_KEY_SECRET not in text
    assert len(text) < 480
    assert "\n" not in text


def test_each_error_of_the_stand_in_has_a_hint() -> None:
    for code in stand_in.ERRORS:
        assert hint(refused(code), EXAMPLE), code


def test_hint_shows_no_secret_in_the_place_of_an_id() -> None:
    call = replace(EXAMPLE, access_key_id=ACCESS_KEY_SECRET)

    for code in ("InvalidAccessKeyId.NotFound", "SignatureDoesNotMatch"):
        assert ACCESS_KEY_SECRET not in hint(refused(code), call)
        assert "the AccessKeyID that is set" in hint(refused(code), call)


PHRASES = {
    Cause.NO_NAME: "cannot be resolved",
    Cause.NO_CONNECTION: "does not take connections",
    Cause.NO_ANSWER: "takes too long",
    Cause.BUSY: "takes too long",
    Cause.PROXY: "HTTPS_PROXY",
    Cause.TLS: "SSL_CERT_FILE",
    Cause.CONNECTION_REFUSED: "Nothing listens at",
    Cause.NO_ROUTE: "no route",
    Cause.CONNECTION_FAILED: "breaks off",
    Cause.NOT_STS: "is not STS",
    Cause.NO_CREDENTIALS: "is not STS",
    Cause.PAST_EXPIRATION: "clock",
    Cause.OWN_RATE: "than StsCallsPerSecond lets through",
    Cause.NO_KEY_PAIR: "ALIBABA_CLOUD_ACCESS_KEY_ID",
    Cause.DEFECT: "",
}


@pytest.mark.parametrize("cause", PHRASES, ids=lambda cause: cause.name)
def test_hint_for_each_cause_but_a_refusal(cause: Cause) -> None:
    text = hint(failed(cause).failure, EXAMPLE)

    assert PHRASES[cause] in text
    assert bool(text) == bool(PHRASES[cause])


def test_own_throttling_is_told_from_that_of_sts() -> None:
    ours, theirs = failed(Cause.OWN_RATE).failure, refused("Throttling.User")

    assert ours.code == theirs.code
    assert PHRASES[Cause.OWN_RATE] in hint(ours, EXAMPLE)
    assert "STS allows 100" in hint(theirs, EXAMPLE)


@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId.NotFound", "SignatureDoesNotMatch", "NoPermission"]
)
def test_key_of_the_default_chain_is_called_so(code: str) -> None:
    call = replace(EXAMPLE, access_key_id="", access_key_secret="")

    text = hint(refused(code, "Roles may not be assumed by root accounts."), call)

    assert "he key that the default credential chain found" in text


USER = CallerIdentity(ACCOUNT, f"acs:ram::{ACCOUNT}:user/alice", "RAMUser")
SESSION = CallerIdentity(ACCOUNT, f"acs:ram::{ACCOUNT}:role/ecs/i-1", "AssumedRoleUser")


@pytest.mark.parametrize(
    ("denied_by", "owner", "phrase"),
    [
        ("AssumeRolePolicy ImplicitDeny", USER, "is not named by the trust policy"),
        ("AssumeRolePolicy ExplicitDeny", USER, "Effect Deny in RAM console > Iden"),
        ("AssumeRolePolicy ExplicitDeny", USER, "Roles > app-uploader > Trust Policy"),
        ("AssumeRolePolicy ImplicitDeny", None, "acs:ram::<its account>:root"),
        ("AccountLevelIdentityBasedPolicy ImplicitDeny", USER, "Attach the policy"),
        ("AccountLevelIdentityBasedPolicy ImplicitDeny", USER, "RAM user alice of"),
        ("AccountLevelIdentityBasedPolicy ImplicitDeny", SESSION, "RAM role ecs of"),
        ("AccountLevelIdentityBasedPolicy ImplicitDeny", SESSION, "Identities > Roles"),
        ("AccountLevelIdentityBasedPolicy ImplicitDeny", None, "The RAM user or role"),
        ("AccountLevelIdentityBasedPolicy ExplicitDeny", USER, "Remove that statement"),
        ("ResourceGroupLevelIdentityBasedPolicy ImplicitDeny", USER, "whole account"),
        ("ControlPolicy ImplicitDeny", USER, "resource directory"),
        ("SessionPolicy ImplicitDeny", SESSION, "temporary token"),
        ("Unheard", USER, "lacks one of two things"),
        ("", None, "lacks one of two things"),
    ],
)
def test_hint_for_each_kind_of_policy(
    denied_by: str, owner: CallerIdentity | None, phrase: str
) -> None:
    error = refused("NoPermission", denied_by=denied_by)

    assert phrase in hint(error, EXAMPLE, owner)


def test_hint_knows_a_root_key_by_its_owner() -> None:
    owner = CallerIdentity(ACCOUNT, f"acs:ram::{ACCOUNT}:root", "Account")

    text = hint(refused("NoPermission"), EXAMPLE, owner)

    assert "belongs to the root account" in text


# --- Hints in the log of a running server


def test_hint_is_logged_once_a_minute() -> None:
    now = FakeClock()
    hints = HintLog(now)
    error, other = refused("SignatureDoesNotMatch"), refused("NoPermission")

    first = hints.hint(error, EXAMPLE)
    now.now += 59.9
    too_early, of_another = hints.hint(error, EXAMPLE), hints.hint(other, EXAMPLE)
    now.now += 0.1
    again, too_early_again = hints.hint(error, EXAMPLE), hints.hint(error, EXAMPLE)

    assert first == again == hint(error, EXAMPLE)
    assert of_another == hint(other, EXAMPLE)
    assert too_early == too_early_again == ""


def test_error_without_a_hint_is_not_remembered() -> None:
    hints = HintLog(FakeClock())

    assert [hints.hint(refused("Other"), EXAMPLE) for _ in range(2)] == ["", ""]


def test_codes_that_had_a_hint_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_hints, "HINTS_KEPT", 3)
    now = FakeClock()
    hints = HintLog(now)
    errors = [refused(f"Throttling.{n}") for n in range(4)]

    told = [bool(hints.hint(error, EXAMPLE)) for error in errors]
    now.now += 60
    told_later = [bool(hints.hint(error, EXAMPLE)) for error in reversed(errors)]

    assert told == [True, True, True, False]
    assert told_later == [True, True, True, False]


def test_of_errors_at_once_one_has_the_hint() -> None:
    hints, error = HintLog(FakeClock()), refused("NoPermission")
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: hints.hint(error, EXAMPLE), range(64)))

    assert sum(map(bool, told)) == 1


# --- Whose key it is, and which policy denied


def test_client_learns_whose_key_it_is(sts: StsStandIn, sts_client: StsClient) -> None:
    owner = sts_client.caller_identity(call_of(sts))

    arn = f"acs:ram::{ACCOUNT}:user/app-server"
    assert owner == CallerIdentity(ACCOUNT, arn, "RAMUser")


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(Hang(), "SDK.ServerUnreachable", id="stalled"),
        pytest.param(Drip(0.05), "SDK.ServerUnreachable", id="dripping"),
        pytest.param(Close(), "SDK.ServerUnreachable", id="closed"),
        pytest.param(Reply(200, b"{}"), "SDK.UnknownServerError", id="nothing"),
        pytest.param(Reply(200, b"<html>"), "SDK.UnknownServerError", id="garbage"),
        pytest.param(
            Fail("InvalidAccessKeyId.Inactive"), "InvalidAccessKeyId.Inactive", id="no"
        ),
    ],
)
def test_client_fails_in_time_to_learn_whose_key_it_is(
    sts: StsStandIn,
    sts_client: StsClient,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: stand_in.Behaviour,
    code: str,
) -> None:
    if isinstance(behaviour, (Hang, Drip)):
        shorten_waits(monkeypatch)
    sts.always(behaviour)

    with pytest.raises(StsError) as info:
        sts_client.caller_identity(call_of(sts))

    assert info.value.failure.code == code


def test_diagnosis_does_without_the_owner_of_the_key(
    sts: StsStandIn, report: MakeReport
) -> None:
    no_policy(sts, Clock())
    sts.script(None, None, Fail("NoPermission"))

    found = report(call_of(sts))

    assert found.diagnoses == ["no policy"]
    assert "The RAM user or role that the key belongs to" in found.remedies[0]


@pytest.mark.parametrize(
    ("detail", "denied_by"),
    [
        (
            {"PolicyType": "AssumeRolePolicy", "NoPermissionType": "ImplicitDeny"},
            "AssumeRolePolicy ImplicitDeny",
        ),
        ({"PolicyType": "ControlPolicy"}, "ControlPolicy"),
        ({"PolicyType": "a\nb", "NoPermissionType": ["x"]}, ""),
        ("ControlPolicy", ""),
        (None, ""),
    ],
)
def test_client_reads_which_policy_denied(
    sts: StsStandIn, sts_client: StsClient, detail: Any, denied_by: str
) -> None:
    document = {"Code": "NoPermission", "AccessDeniedDetail": detail}
    sts.always(Reply(403, json.dumps(document).encode()))

    with pytest.raises(StsError) as info:
        sts_client.assume_role(call_of(sts))

    assert info.value.failure.denied_by == denied_by


@pytest.mark.parametrize("path", ["/", "/credentials"])
def test_policy_that_denied_is_not_told_to_clients(
    make_server: MakeServer, sts: StsStandIn, path: str
) -> None:
    no_trust(sts, Clock())

    reply = make_server(TokenReuseTime=300).request(path)

    assert b"NoPermission" in reply.body
    assert b"AssumeRolePolicy" not in reply.body
    assert b"ImplicitDeny" not in reply.body
