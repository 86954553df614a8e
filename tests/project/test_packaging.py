"""The package in an environment of its own, and the ways to start what is in it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.client import exchange
from helpers.processes import command, running
from helpers.settings import settings
from helpers.sts.answers import NOT_FOUND, STS_ANSWER
from helpers.wheel import shared_environment

from localcloud.sts import StsStandIn

pytestmark = [pytest.mark.slow, pytest.mark.process]

REQUESTS = (
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD /any?callback=f HTTP/1.0\r\n\r\n",
    b"OPTIONS / HTTP/1.0\r\nOrigin: https://app.example\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"GET /credentials HTTP/1.0\r\n\r\n",
    b"DELETE / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
)
NOW = re.compile(rb'(?<=Date: )[^\r]+|(?<="LastUpdated":")[^"]+')


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command sts-server of the wheel."""
    return shared_environment(tmp_path_factory).with_name("sts-server")


def test_each_way_to_start_it_serves_the_same_bytes(
    installed: Path, tmp_path: Path, sts: StsStandIn
) -> None:
    subprocess.run([installed, "--init"], cwd=tmp_path, check=True)
    config = tmp_path / "config.json"
    own = settings(
        PolicyFile="policy/bucket_read_write_policy.txt", StsEndpoint=sts.url
    )
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    ways = ([str(installed)], [sys.executable, "-m", "tokenserver"], command())

    with contextlib.ExitStack() as stack:
        ports = [
            stack.enter_context(running(beginning=way, folder=tmp_path))[1]
            for way in ways
        ]
        served = []
        for port in ports:
            replies = []
            for answer in (STS_ANSWER, NOT_FOUND):
                sts.always(answer)
                replies += [exchange(port, request) for request in REQUESTS]
            served.append(NOW.sub(b"", b"\n".join(replies)))

    assert b'"StatusCode":200' in served[0]
    assert served == [served[0]] * len(ways)
