"""Fixtures: an STS stand-in and a token server that calls it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import secret_scan
from helpers.examples import load_profiles
from helpers.machine import PROXY_VARIABLES
from helpers.server import MakeServer, RunningServer
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, ROLE_ARN, write_config

from localcloud.clock import Clock
from localcloud.sts import StsStandIn
from tokenserver.config.load import LiveConfig
from tokenserver.sts.client import StsClient

pytest_plugins = ["helpers.oss.fixtures", "helpers.page.fixtures"]

LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")


load_profiles()


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes run tests: many tests wait more than they work."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Fail a test instead of skipping it where CI says that nothing is missing."""
    report = yield
    if report.skipped and os.environ.get("STS_SERVER_NO_SKIP"):
        report.outcome = "failed"
    return report


@pytest.fixture(autouse=True)
def _nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects anywhere else, and keep the SDK from a proxy."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        assert address[0] in ("127.0.0.1", "::1"), f"a test connects to {address[0]}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _everybody_speaks_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let --check say what to do in English, whatever the developer's language is."""
    for name in LOCALE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")


@pytest.fixture(scope="session", autouse=True)
def _secrets_are_remembered() -> Iterator[None]:
    """Know the secrets that tests make."""
    with secret_scan.remember_secrets():
        yield


@pytest.fixture(autouse=True)
def _no_secret_is_logged() -> Iterator[None]:
    """Fail a test that has a secret in the log."""
    with secret_scan.watched_logs():
        yield


@pytest.fixture
def clock() -> Clock:
    """The clock of the stand-ins; a test may turn it."""
    return Clock()


@pytest.fixture
def sts(clock: Clock) -> Iterator[StsStandIn]:
    """An STS stand-in with one RAM user that may assume one role."""
    with StsStandIn(clock=clock) as stand_in:
        stand_in.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
        stand_in.add_role(ROLE_ARN)
        yield stand_in


@pytest.fixture(scope="session")
def sts_client() -> StsClient:
    """The server's STS client, without a limit; importing the SDK takes a while."""
    return StsClient(lambda: 10_000)


@pytest.fixture
def make_server(
    tmp_path: Path,
    sts: StsStandIn,
    sts_client: StsClient,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[MakeServer]:
    """Return a function that starts a token server with some settings changed."""
    caplog.set_level(logging.INFO, "tokenserver")
    servers: list[RunningServer] = []

    def make(**changes: object) -> RunningServer:
        path = write_config(tmp_path, **{"StsEndpoint": sts.url} | changes)
        servers.append(RunningServer(LiveConfig(path), sts_client))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(make_server: MakeServer) -> RunningServer:
    """A token server as a reference server would be set up."""
    return make_server()


@pytest.fixture
def _clean_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that leaves a traceback in the log, or a character that forges it."""
    caplog.set_level(logging.INFO, "tokenserver")
    yield
    for record in caplog.get_records("call"):
        message = record.getMessage()
        assert record.exc_info is None, message
        assert message.isascii(), message
        assert message.isprintable(), message
