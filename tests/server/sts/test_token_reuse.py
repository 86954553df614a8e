"""Tokens are handed out again: for whom, for how long, and through an outage of STS.

Most tests have clocks of their own, and an STS that is a function.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from helpers.client import connect
from helpers.examples import examples
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.server import MakeServer, RunningServer
from helpers.settings import (
    POLICY_DIRECTORY,
    ROLE_ARN,
    ROOT,
    asking,
    call_of,
    write_config,
)
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from localcloud.clock import Clock
from localcloud.sts import Close, Fail, Hang, StsStandIn
from tokenserver import background as background_module
from tokenserver.config import settings as config_settings
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.documents import Credentials, failed
from tokenserver.errors import Cause, Failure, StsError
from tokenserver.sts import client as sts_client_module
from tokenserver.sts import gate as sts_gate
from tokenserver.sts import tokens as sts_tokens
from tokenserver.sts.client import StsClient
from tokenserver.sts.gate import CallGate
from tokenserver.sts.tokens import TokenCache

pytestmark = pytest.mark.slow

CALL = AssumeRoleCall(
    protocol="http",
    endpoint="sts.example",
    access_key_id="id",
    access_key_secret="secret",
    role_arn=ROLE_ARN,
    role_session_name="client_name",
    duration_seconds=900,
    policy="{}",
)
OTHER_CALL = replace(CALL, policy='{"other":"policy"}')
DOWN = failed(Cause.CONNECTION_REFUSED)
THROTTLED = StsError(
    Failure(Cause.REFUSED, "Throttling.User", "", "RequestId 1", is_temporary=True)
)
FORBIDDEN = StsError(Failure(Cause.REFUSED, "NoPermission", "", "RequestId 2"))
REUSE_SECONDS = 300
AHEAD_SECONDS = 30  # of the end of the reuse time a new token is fetched


class World:
    """Time, an STS, and what is done in the background, all under a test's control."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0  # true time
        self.clock_error = 0.0  # of the wall clock
        self.failure: StsError | None = None
        self.defect: Exception | None = None
        self.calls: list[tuple[float, AssumeRoleCall]] = []
        self.issued: dict[str, tuple[AssumeRoleCall, float]] = {}  # and until when
        self.background: list[Callable[[], None]] = []
        self.works_at_once = False  # in the background, while a caller waits
        self.tokens = TokenCache(self.assume_role, self.wall_clock, self.monotonic)

    def wall_clock(self) -> float:
        return self.seconds + self.clock_error

    def monotonic(self) -> float:
        return self.seconds - 999_000.0

    def assume_role(self, call: AssumeRoleCall) -> Credentials:
        self.calls.append((self.seconds, call))
        if self.failure:
            raise StsError(self.failure.failure)
        if self.defect:
            raise self.defect
        name = f"STS.{len(self.calls)}"
        expiration = int(self.seconds) + call.duration_seconds
        self.issued[name] = call, expiration
        moment = datetime.fromtimestamp(expiration, timezone.utc)
        return Credentials(name, "secret", "token", f"{moment:%Y-%m-%dT%H:%M:%SZ}", "")

    def get(self, call: AssumeRoleCall = CALL, reuse: int = REUSE_SECONDS) -> str:
        """Return the AccessKeyId of the token that a caller gets."""
        return self.tokens.get(asking(call), reuse).access_key_id

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    def work(self) -> None:
        """Do what was left to the background."""
        while self.background:
            self.background.pop(0)()

    def in_background(self, _name: str, work: Callable[[], None]) -> None:
        if self.works_at_once:
            threading.Thread(target=work).start()
        else:
            self.background.append(work)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(sts_tokens, "in_background", world.in_background)
    return world


@pytest.fixture
def working_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which who waits for a new token gets it, however long it takes."""
    monkeypatch.setattr(sts_tokens, "STALE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(sts_client_module, "DEADLINE_SECONDS", PATIENCE_SECONDS)
    return world


# --- For how long ---------------------------------------------------------------


def test_a_token_is_handed_out_again_until_shortly_before_its_reuse_time(
    world: World,
) -> None:
    first = world.get()
    world.pass_time(REUSE_SECONDS - AHEAD_SECONDS - 1)

    assert world.get() == first
    assert len(world.calls) == 1
    assert world.background == []


def test_the_next_token_is_fetched_in_the_background_and_nobody_waits(
    world: World,
) -> None:
    first = world.get()
    world.pass_time(REUSE_SECONDS - AHEAD_SECONDS)

    assert [world.get(), world.get()] == [first, first]
    assert len(world.background) == 1  # and not one for each caller
    world.work()
    assert world.get() == "STS.2"
    assert len(world.calls) == 2


def test_a_token_past_its_reuse_time_is_not_handed_out(working_world: World) -> None:
    world = working_world
    world.get()
    world.pass_time(REUSE_SECONDS)
    world.works_at_once = True

    assert world.get() == "STS.2"


def test_the_longest_reuse_time_leaves_the_sdks_their_300_seconds(world: World) -> None:
    first = world.get(reuse=600)
    world.pass_time(599)
    assert world.get(reuse=600) == first
    world.pass_time(1)
    world.work()

    assert world.get(reuse=600) == "STS.2"


def test_without_reuse_each_request_asks_sts(world: World) -> None:
    assert [world.get(reuse=0) for _ in range(3)] == ["STS.1", "STS.2", "STS.3"]
    world.failure = FORBIDDEN
    for _ in range(3):
        with pytest.raises(StsError):
            world.get(reuse=0)
    assert len(world.calls) == 6


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "https"},
        {"endpoint": "sts.other"},
        {"access_key_id": "other"},
        {"access_key_secret": "other"},
        {"role_arn": ROLE_ARN + "2"},
        {"role_session_name": "other"},
        {"duration_seconds": 901},
        {"policy": "{ }"},
        {"policy": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_token_is_for_one_grant_alone(world: World, change: dict[str, Any]) -> None:
    assert world.get() == "STS.1"
    assert world.get(replace(CALL, **change)) == "STS.2"
    assert world.get() == "STS.1"


def test_of_too_many_the_longest_unused_makes_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts_tokens, "TOKENS_KEPT", 3)
    calls = [replace(CALL, role_session_name=f"user{n}") for n in range(4)]
    for call in [*calls[:3], calls[0], calls[3]]:  # which leaves 1 the longest unused
        world.get(call)
    world.calls.clear()

    for call in (calls[0], calls[2], calls[3]):
        world.get(call)

    assert world.calls == []
    world.get(calls[1])
    assert len(world.calls) == 1


# --- Clocks ---------------------------------------------------------------------


@pytest.mark.parametrize("jump", [3600, 600, -600, -3600])
def test_a_clock_that_jumps_makes_nobody_get_a_dead_token(
    world: World, jump: float
) -> None:
    world.get()
    world.clock_error = jump
    for _ in range(100):
        world.pass_time(20)
        world.work()
        name = world.get()
        assert world.issued[name][1] - world.seconds > 300


@pytest.mark.parametrize("seconds", [301, 1000], ids=["past its reuse", "dead"])
def test_a_machine_that_slept_hands_out_no_old_token(
    working_world: World, seconds: float
) -> None:
    """The monotonic clock stands still meanwhile, the wall clock goes on."""
    world = working_world
    first = world.get()
    monotonic = world.monotonic()
    world.tokens._monotonic = lambda: monotonic + 1
    world.pass_time(seconds)
    world.works_at_once = True

    assert world.get() != first


def test_a_clock_that_was_wrong_when_the_token_came_does_not_lengthen_its_life(
    world: World,
) -> None:
    world.clock_error = -3600.0  # so the token seems to be valid for 75 minutes
    world.get()
    world.failure = DOWN
    world.pass_time(601)

    with pytest.raises(StsError):
        world.get()


# --- Failures -------------------------------------------------------------------


def test_a_failure_is_remembered_for_about_a_second(world: World) -> None:
    world.failure = DOWN
    for _ in range(5):
        with pytest.raises(StsError) as failure:
            world.get()
        assert failure.value.failure.code == "SDK.ServerUnreachable"
    assert len(world.calls) == 1
    world.pass_time(0.8)
    with pytest.raises(StsError):
        world.get()
    assert len(world.calls) == 1
    world.failure = None
    world.pass_time(0.2)

    assert world.get() == "STS.2"


def test_the_memory_of_a_failure_holds_on_to_none_of_its_callers(world: World) -> None:
    world.failure = DOWN
    for _ in range(3):
        with pytest.raises(StsError):
            world.get()

    (entry,) = world.tokens._entries.values()
    assert entry.failure == DOWN.failure  # and no exception, which has frames


def test_a_failure_of_one_grant_is_none_of_another(world: World) -> None:
    world.failure = FORBIDDEN
    with pytest.raises(StsError):
        world.get(OTHER_CALL)
    world.failure = None

    assert world.get() == "STS.2"


@pytest.mark.parametrize("failure", [DOWN, THROTTLED], ids=["down", "throttling"])
def test_the_old_token_is_handed_out_through_an_outage_while_it_lasts(
    world: World, failure: StsError
) -> None:
    first = world.get()
    world.failure = failure
    names = set()
    for _ in range(599):  # of 900 s, less the 300 below which the SDKs want another
        world.pass_time(1)
        world.work()
        names.add(world.get())
    assert names == {first}

    world.pass_time(1)
    with pytest.raises(StsError) as raised:
        world.get()
    assert raised.value.failure.code == failure.failure.code
    world.failure = None
    world.pass_time(1)
    assert world.get() != first


def test_an_outage_that_begins_unnoticed_costs_a_second_not_an_error(
    world: World,
) -> None:
    """Nobody asked for a while, so nothing was fetched ahead; and now STS stalls."""
    first = world.get()
    world.pass_time(REUSE_SECONDS + 1)
    begin = time.monotonic()

    assert world.get() == first  # the flight is in the background, and stays there
    assert time.monotonic() - begin >= sts_tokens.STALE_SECONDS
    assert len(world.background) == 1


def test_what_sts_refuses_for_good_is_not_hidden_by_an_old_token(
    working_world: World,
) -> None:
    world = working_world
    world.get()
    world.failure = FORBIDDEN
    world.pass_time(REUSE_SECONDS)
    world.works_at_once = True

    with pytest.raises(StsError) as failure:
        world.get()

    assert failure.value.failure.code == "NoPermission"


def test_the_log_says_once_that_sts_fails_and_once_that_it_is_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.get()
    world.failure = DOWN
    for _ in range(700):
        world.pass_time(1)
        world.work()
        with contextlib.suppress(StsError):
            world.get()
    world.failure = None
    world.pass_time(1)
    world.get()

    failed, back = caplog.messages
    assert failed.startswith("STS gives no tokens: SDK.ServerUnreachable (connection")
    assert back == "STS gives tokens again"


def test_a_defect_in_the_background_does_not_wedge_the_grant(
    working_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = working_world
    first = world.get()
    world.defect = AssertionError("a defect")
    world.pass_time(REUSE_SECONDS - 1)
    assert world.get() == first
    world.work()
    assert "a defect" in caplog.text
    world.defect = None
    world.pass_time(1)
    world.works_at_once = True

    assert world.get() == "STS.3"


def test_a_background_without_threads_is_the_foreground(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    done: list[bool] = []

    background_module.in_background("test", lambda: done.append(True))

    assert done == [True]


# --- The quota ------------------------------------------------------------------


class Turns:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_calls_leave_evenly() -> None:
    turns = Turns()
    gate = CallGate(lambda: 10, turns.clock, turns.sleep)

    for _ in range(4):
        gate.enter(deadline=108.0)
    turns.now += 5.0
    gate.enter(deadline=113.0)

    assert turns.slept == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.0])


def test_a_retry_waits_for_its_turn_too(
    sts: StsStandIn, make_server: MakeServer
) -> None:
    turns = Turns()
    client = StsClient()
    client._gate = CallGate(lambda: 10, turns.clock, turns.sleep)
    turns.now = time.monotonic()  # so that the deadlines are the same
    sts.script(Fail("ServiceUnavailable"))

    client.assume_role(call_of(make_server().server.config.current()))

    assert len(sts.requests) == 2
    assert turns.slept == pytest.approx([0.0, 0.1])


def test_who_would_wait_too_long_is_told_at_once() -> None:
    turns = Turns()
    gate = CallGate(lambda: 1, turns.clock, turns.sleep)
    for _ in range(9):
        gate.enter(deadline=108.0)
        gate.leave()

    with pytest.raises(StsError) as failure:
        gate.enter(deadline=108.0)

    assert failure.value.failure.code == "Throttling.User"
    assert (
        failure.value.failure.message == "Request was denied due to user flow control."
    )
    assert failure.value.failure.is_temporary
    assert len(turns.slept) == 9
    turns.now += 1.0
    gate.enter(deadline=109.0)


def test_those_who_wait_for_a_place_count_for_those_behind_them() -> None:
    rates = [10_000] * 2 * sts_gate.MAX_CALLS
    gate = CallGate(lambda: rates.pop() if rates else 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    for _ in range(sts_gate.MAX_CALLS):
        gate.enter(deadline)
    waiting = threading.Thread(target=gate.enter, args=(deadline,))
    waiting.start()
    while not gate._waiting:
        time.sleep(0.001)

    with pytest.raises(StsError) as failure:
        gate.enter(time.monotonic() + 0.9)  # the other goes first, a second before

    assert failure.value.failure.code == "Throttling.User"
    gate.leave()
    waiting.join()


def test_at_most_32_calls_are_in_flight(
    sts: StsStandIn,
    sts_client: StsClient,
    make_server: MakeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DEADLINE_SECONDS", "READ_SECONDS", "CONNECT_SECONDS"):
        monkeypatch.setattr(sts_client_module, name, PATIENCE_SECONDS)
    call = call_of(make_server().server.config.current())
    calls = [replace(call, role_session_name=f"user{n}") for n in range(40)]
    with ThreadPoolExecutor(40) as pool, sts.held():
        futures = [pool.submit(sts_client.assume_role, c) for c in calls]
        sts.wait_for_requests(32)
        time.sleep(0.2)  # lets others come, if they would
        in_flight = len(sts.requests)

    assert in_flight == 32
    assert len({future.result().access_key_id for future in futures}) == 40


MANY_GRANTS = r"""
import json, re, sys, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tokenserver.config.grants import UserCall
from tokenserver.config.load import LiveConfig
from tokenserver.config.policy import SessionPolicy
from tokenserver.errors import StsError
from tokenserver.sts import client
from tokenserver.sts.tokens import TokenCache

client.DEADLINE_SECONDS = 3.0
config = LiveConfig(Path(sys.argv[1])).current()
tokens = TokenCache(client.StsClient(lambda: 80).assume_role)
template = config.grants["/"].template


def get(number):
    policy = SessionPolicy(template.policy.text.replace("photos", f"user{number}"))
    own = UserCall(replace(template, policy=policy), None)
    try:
        return number, json.loads(tokens.get(own, 300).document)["SecurityToken"]
    except StsError as error:
        return number, error.failure.code


begin = time.monotonic()
with ThreadPoolExecutor(500) as pool:
    results = list(pool.map(get, range(10_000)))
seconds = time.monotonic() - begin
# Not ru_maxrss: that of a new process begins with the peak of the one it came from.
status = Path("/proc/self/status").read_text()
kilobytes = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
print(json.dumps([results, seconds, kilobytes]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
@pytest.mark.process
@pytest.mark.slow
def test_ten_thousand_grants_at_once_stay_within_the_quota_and_each_gets_its_own(
    sts: StsStandIn, tmp_path: Path
) -> None:
    sts.calls_per_second = config_settings.STS_QUOTA
    config = write_config(tmp_path, StsEndpoint=sts.url)
    result = subprocess.run(
        [sys.executable, "-c", MANY_GRANTS, str(config)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
        timeout=5 * PATIENCE_SECONDS,
    )
    results, seconds, kilobytes = json.loads(result.stdout)

    tokens = {number: token for number, token in results if len(token) > 100}
    refused = {code for number, code in results if number not in tokens}
    assert "Throttling.User" in refused <= {"Throttling.User", "SDK.ServerUnreachable"}
    assert 80 < len(tokens) <= len(sts.requests) <= 80 * (seconds + 1)
    for number, token in tokens.items():
        issued = sts.issued(token)
        assert issued
        assert f"my-bucket/user{number}/*" in (issued.policy or "")
    assert kilobytes < 150_000


# --- Over HTTP ------------------------------------------------------------------


@pytest.fixture
def reusing(make_server: MakeServer) -> RunningServer:
    """A server with the settings that most have: none of these two."""
    return make_server(TokenReuseTime=None, StsCallsPerSecond=None)


def ask(server: RunningServer) -> socket.socket:
    """Send a request on a connection of its own, and wait for nothing."""
    connection = connect(server.port)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return connection


def answer(connection: socket.socket) -> Any:
    """Return the document that comes back."""
    with connection, connection.makefile("rb") as file:
        return json.loads(file.read().partition(b"\r\n\r\n")[2])


def test_five_hundred_cold_requests_at_once_cost_one_call(
    reusing: RunningServer, sts: StsStandIn
) -> None:
    with sts.held():
        connections = [ask(reusing) for _ in range(500)]
        sts.wait_for_requests(1)
    tokens = {answer(connection)["SecurityToken"] for connection in connections}

    assert len(tokens) == 1
    assert len(sts.requests) == 1


def test_the_first_to_ask_may_go_away_and_the_others_get_their_token(
    reusing: RunningServer, sts: StsStandIn
) -> None:
    with sts.held():
        first = ask(reusing)
        sts.wait_for_requests(1)
        others = [ask(reusing) for _ in range(10)]
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()  # with a reset

    assert {answer(other)["StatusCode"] for other in others} == {200}
    assert len(sts.requests) == 1


def test_both_forms_are_of_one_token(reusing: RunningServer, sts: StsStandIn) -> None:
    token, uri = reusing.request("/").json, reusing.request("/credentials").json
    wrapped = reusing.request("/?callback=cb").body

    assert token["SecurityToken"] == uri["SecurityToken"]
    assert json.loads(wrapped.removeprefix(b"cb( ").removesuffix(b" )")) == token
    assert len(sts.requests) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"PolicyFile": str(POLICY_DIRECTORY / "bucket_read_policy.txt")},
        {"ObjectPrefix": "other/"},
        {"RoleArn": "acs:ram::1234567890123456:role/other"},
        {"AccessKeyID": "LTAIother", "AccessKeySecret": "otherSecret"},
        {"TokenExpireTime": 901},
        {"RoleSessionName": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_edit_is_never_answered_with_a_token_of_before(
    reusing: RunningServer, sts: StsStandIn, tmp_path: Path, change: dict[str, Any]
) -> None:
    sts.add_role("acs:ram::1234567890123456:role/other")
    sts.add_user("LTAIother", "otherSecret")
    before = reusing.request("/").json["SecurityToken"]
    again = reusing.request("/").json["SecurityToken"]
    settings = {"TokenReuseTime": None, "StsEndpoint": sts.url}
    write_config(tmp_path, **settings | change)
    reusing.look()

    after = reusing.request("/").json["SecurityToken"]

    assert before == again != after
    assert len(sts.requests) == 2


@pytest.mark.parametrize(
    "outage",
    [Close(), Hang(), Fail("Throttling.User")],
    ids=["down", "stalled", "quota"],
)
def test_nobody_notices_an_outage_while_the_token_lasts(
    reusing: RunningServer,
    sts: StsStandIn,
    sts_client: StsClient,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    outage: Close | Hang | Fail,
) -> None:
    begun = time.time()

    def turned() -> float:  # stands still, however long the machine takes
        return begun + clock.offset_seconds

    sts.clock = turned
    reusing.server.tokens = TokenCache(sts_client.assume_role, turned, turned)
    first = reusing.request("/").json
    deadline = sts_client_module.DEADLINE_SECONDS
    monkeypatch.setattr(sts_client_module, "DEADLINE_SECONDS", 0.3)
    monkeypatch.setattr(sts_tokens, "STALE_SECONDS", 0.05)
    sts.always(outage)
    replies = []
    for seconds in range(0, 600, 15):
        clock.offset_seconds = float(seconds)
        replies.append(reusing.request("/").json)
        time.sleep(0.02)  # so that flights take off at different times
    clock.offset_seconds = 600.0
    over = reusing.request("/").json
    lines = [line for line in caplog.messages if line.startswith("STS gives")]
    sts.always(None)
    entries = reusing.server.tokens._entries
    wait_until(lambda: not any(entry.flight for entry in entries.values()))
    monkeypatch.setattr(sts_client_module, "DEADLINE_SECONDS", deadline)
    clock.offset_seconds = 601.0
    back = reusing.request("/").json

    assert replies == [first] * 40
    assert over["StatusCode"] == 500
    assert over["ErrorCode"] in ("SDK.ServerUnreachable", "Throttling.User")
    assert len(lines) == 1
    assert back["StatusCode"] == 200
    assert back != first
    assert caplog.messages[-2] == "STS gives tokens again"


# --- A model --------------------------------------------------------------------


class Reuse(RuleBasedStateMachine):
    """Random arrivals, failures, clock jumps and edits, and what holds through them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.calls = [CALL, OTHER_CALL]
        self.failed_at: dict[AssumeRoleCall, float] = {}
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(sts_tokens, "in_background", self.world.in_background)
        self._patch.setattr(sts_tokens, "STALE_SECONDS", 0.0)

    def teardown(self) -> None:
        self._patch.undo()

    def settle(self) -> None:
        """End the flights under way; each ends within 8 s."""
        while self.world.background:
            before = len(self.world.calls)
            self.world.background.pop(0)()
            if self.world.failure and len(self.world.calls) > before:
                self.failed_at[self.world.calls[-1][1]] = self.world.seconds

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0, 29.0, 100.0, 269.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.settle()
        self.world.pass_time(seconds)

    @rule(jump=st.sampled_from([0.0, 3600.0, -3600.0, 500.0, -500.0, 30.0]))
    def clock_is_set(self, jump: float) -> None:
        self.settle()
        self.world.clock_error = jump

    @rule(failure=st.sampled_from([None, None, DOWN, THROTTLED, FORBIDDEN]))
    def sts_changes(self, failure: StsError | None) -> None:
        self.settle()
        self.world.failure = failure

    @rule(which=st.integers(0, 1), version=st.integers(0, 5))
    def configuration_is_edited(self, which: int, version: int) -> None:
        self.calls[which] = replace(
            self.calls[which], policy=f"{which}", role_session_name=f"v{version}"
        )

    @rule(which=st.integers(0, 1))
    def somebody_asks(self, which: int) -> None:
        world, call = self.world, self.calls[which]
        before, failed_at = len(world.calls), self.failed_at.get(call, -10.0)
        started, error = len(world.background), None
        try:
            name = world.get(call)
        except StsError as failure:
            error = failure
        else:
            grant, expires_at = world.issued[name]
            fetched_at = expires_at - 900
            is_new = len(world.calls) > before
            assert grant == call
            assert world.seconds < expires_at
            assert is_new or expires_at - world.seconds > 300
            is_up = world.failure is None and world.seconds - failed_at >= 1
            if is_up and started == len(world.background) == 0:
                assert is_new or world.seconds - fetched_at <= REUSE_SECONDS
        if error:
            is_news = world.failure and error.failure.code == world.failure.failure.code
            assert is_news or world.seconds - failed_at < 1
            assert not (self.usable(call) and error.failure.is_temporary)
        made = len(world.calls) - before
        assert made <= 1
        if made and world.failure:
            self.failed_at[call] = world.seconds
        if made or len(world.background) > started:
            assert world.seconds - failed_at >= sts_tokens.FAILURE_SECONDS
        assert len(world.background) - started <= 1

    def usable(self, call: AssumeRoleCall) -> bool:
        """Tell whether there is a token that anybody would hand out."""
        return self.world.clock_error == 0 and any(
            grant == call and expires_at - self.world.seconds > 301
            for grant, expires_at in self.world.issued.values()
        )

    @invariant()
    def one_flight_for_each_grant(self) -> None:
        flights = [entry.flight for entry in self.world.tokens._entries.values()]
        assert sum(flight is not None for flight in flights) == len(
            self.world.background
        )


TestReuse = Reuse.TestCase
TestReuse.settings = hypothesis_settings(examples(150), stateful_step_count=40)
