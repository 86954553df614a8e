"""The scan that each test runs within finds what it is for."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest
from helpers.client import Reply
from helpers.login.service import authentication, bearer, login_token, service
from helpers.secret_scan import SecretShown, check_reply, check_text, watched_logs
from helpers.server import MakeServer, RunningServer
from helpers.settings import ACCESS_KEY_SECRET

from localcloud.sts import StsStandIn

OURS = {"server": "sts-server"}


@pytest.fixture
def secrets(make_server: MakeServer, tmp_path: Path, sts: StsStandIn) -> dict[str, str]:
    """The secrets of a server that has handed out one token."""
    server: RunningServer = make_server(
        Authentication=authentication(tmp_path), ObjectPrefix="users/$USER_ID/"
    )
    token = server.request("/", headers=bearer("alice")).json
    login = login_token("alice")
    return {
        "AccessKeySecret of the server": ACCESS_KEY_SECRET,
        "AccessKeySecret of a token": token["AccessKeySecret"],
        "SecurityToken": token["SecurityToken"],
        "login token": login,
        "claims of a login token": login.split(".")[1],
        "secret of logins": service("HS256").file.decode().strip(),
        "the same in base64": base64.b64encode(service("HS256").file).decode(),
    }


def log(text: str, is_raised: bool) -> None:
    """Log *text* as a test would that is watched."""
    logger = logging.getLogger("sts_server.scanned")
    logger.propagate = False
    with watched_logs("sts_server.scanned"):
        try:
            if is_raised:
                raise ValueError(text)
            logger.warning("it is %s, they say", text)
        except ValueError:
            logger.exception("failed")


@pytest.mark.parametrize("is_raised", [False, True])
def test_a_secret_in_the_log_is_found(secrets: dict[str, str], is_raised: bool) -> None:
    for secret in secrets.values():
        with pytest.raises(SecretShown):
            log(secret, is_raised)
    log("something else", is_raised)


def test_a_secret_in_output_or_a_reply_is_found(secrets: dict[str, str]) -> None:
    for secret in secrets.values():
        body = json.dumps({"ErrorMessage": secret}).encode()
        with pytest.raises(SecretShown):
            check_text("the output", f"AccessKeySecret  {secret}\n")
        with pytest.raises(SecretShown):
            Reply(200, OURS, body)
        with pytest.raises(SecretShown):
            check_reply(401, OURS | {"www-authenticate": secret}, b"")


def test_what_is_no_secret_is_not_found(secrets: dict[str, str]) -> None:
    token = {"SecurityToken": secrets["SecurityToken"], "AccessKeyId": "STS.x"}

    Reply(200, OURS, json.dumps(token).encode())
    check_text("the log", "127.0.0.1 GET /sts 200 STS.887648ef22477c0761d43ecf alice")
