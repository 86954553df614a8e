"""Forms and URLs that the server signs have the callback in them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from helpers.login.service import authentication, bearer
from helpers.server import MakeServer, RunningServer
from helpers.settings import POLICY_DIRECTORY
from helpers.uploads import PATH, callback, post, records, report, ticket_of

GRANTS = {
    "/form": {"Type": "PostForm"},
    "/silent": {"Type": "PostForm", "Callback": False},
    "/put": {"Type": "PresignedUrl"},
    "/get": {
        "Type": "PresignedUrl",
        "Method": "GET",
        "PolicyFile": str(POLICY_DIRECTORY / "bucket_read_policy.txt"),
    },
}


@pytest.fixture
def server(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A server that signs, and that OSS reports to."""
    return make_server(
        Region="cn-hangzhou",
        ObjectPrefix="users/$USER_ID/",
        Authentication=authentication(tmp_path),
        Callback=callback(tmp_path),
        Grants=GRANTS,
    )


def ask(server: RunningServer, target: str) -> Any:
    reply = server.request(target, headers=bearer("alice"))
    assert reply.status == 200, reply
    return reply.json


def check_counts(server: RunningServer, folder: Path, ticket: str, grant: str) -> None:
    """Check that a report with *ticket* counts for alice, in her folder alone."""
    other = post(server.port, report(ticket, "users/bob/cat.jpg"))
    own = post(server.port, report(ticket, "users/alice/cat.jpg"))

    assert (other.status, own.status) == (403, 200)
    (record,) = records(folder)
    assert (record["grant"], record["user"]) == (grant, "alice")


def test_a_form_has_the_callback_and_its_policy_wants_it(
    server: RunningServer, tmp_path: Path
) -> None:
    document = ask(server, "/form?filename=cat.jpg")

    fields = document["fields"]
    told = json.loads(base64.b64decode(fields["callback"]))
    assert told["callbackUrl"] == f"https://app.example.com{PATH}"
    assert document["callback"] == fields["callback"]
    policy = json.loads(base64.b64decode(fields["policy"]))
    for name in ("callback", "x:ticket"):
        assert {name: fields[name]} in policy["conditions"]
    check_counts(server, tmp_path, fields["x:ticket"], "/form")


def test_a_url_for_an_upload_has_the_callback(
    server: RunningServer, tmp_path: Path
) -> None:
    url = ask(server, "/put?filename=cat.jpg")["url"]

    query = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
    told = json.loads(base64.b64decode(query["callback"]))
    assert told["callbackUrl"] == f"https://app.example.com{PATH}"
    check_counts(server, tmp_path, ticket_of(query), "/put")


def test_a_download_and_a_grant_that_reports_nothing_have_none(
    server: RunningServer,
) -> None:
    url = ask(server, "/get?object=users/alice/cat.jpg")["url"]
    form = ask(server, "/silent?filename=cat.jpg")

    assert "callback" not in url
    assert "callback" not in form
    assert "x:ticket" not in form["fields"]
