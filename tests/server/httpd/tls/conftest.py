"""A server that speaks TLS, for all tests here."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.certificates import Pair, issue
from helpers.server import RunningServer
from helpers.settings import write_config
from helpers.tls import Files, client_context

from localcloud.sts import StsStandIn
from tokenserver.config.load import LiveConfig
from tokenserver.config.tls import LiveTls
from tokenserver.sts.client import StsClient


@pytest.fixture(scope="session")
def authority() -> Pair:
    """Who signs the certificates, and is trusted by clients."""
    return issue("authority", is_authority=True)


@pytest.fixture(scope="session")
def pairs(authority: Pair) -> tuple[Pair, Pair]:
    """A certificate, and the one that it is renewed with."""
    return issue("first", authority), issue("second", authority)


@pytest.fixture
def files(tmp_path: Path, pairs: tuple[Pair, Pair]) -> Files:
    """The files of a server, with the first certificate."""
    found = Files(tmp_path)
    found.write(pairs[0])
    return found


@pytest.fixture
def server(
    tmp_path: Path,
    files: Files,
    sts: StsStandIn,
    sts_client: StsClient,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[RunningServer]:
    """A token server that speaks TLS, and reuses tokens."""
    caplog.set_level(logging.INFO, "tokenserver")
    path = write_config(tmp_path, StsEndpoint=sts.url, TokenReuseTime=600)
    tls = LiveTls(files.certificate, files.key)
    running = RunningServer(LiveConfig(path), sts_client, tls)
    with contextlib.closing(running):
        yield running


@pytest.fixture
def context(authority: Pair) -> ssl.SSLContext:
    """What clients are set up with."""
    return client_context(authority)
