"""Forms and URLs of each setting of a grant, as OSS takes them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers.login.service import bearer
from helpers.oss.client import DENIED, OK
from helpers.oss.signed import JPEG, READ_POLICY, Signing, start_signing
from helpers.server import MakeServer
from hypothesis import given
from hypothesis import strategies as st

from localcloud.oss import OssStandIn
from localcloud.sts import StsStandIn
from tokenserver import signed
from tokenserver.documents import Credentials
from tokenserver.httpd.request import RequestError
from tokenserver.oss.bucket import Bucket, default_endpoint
from tokenserver.oss.names import name_problem
from tokenserver.oss.orders import Folder, Order, order_of
from tokenserver.oss.terms import POST_FORM, PRESIGNED_URL, Terms
from tokenserver.sts.tokens import TokenCache

pytestmark = pytest.mark.slow

MakeSigning = Callable[..., Signing]


@pytest.fixture
def make_signing(
    make_server: MakeServer, sts: StsStandIn, own_oss: OssStandIn, tmp_path: Path
) -> MakeSigning:
    """Return a function that starts a server with one grant, at /a."""

    def make(grant: dict[str, Any], **settings: Any) -> Signing:
        grants = {"/a": grant}
        return start_signing(make_server, sts, own_oss, tmp_path, grants, **settings)

    return make


FORM: dict[str, Any] = {"Type": "PostForm"}
PUT: dict[str, Any] = {"Type": "PresignedUrl"}
NAMED = {"filename": "cat.jpg"}
JPEG_ASKED = {**NAMED, "content_type": "image/jpeg"}
TYPE = {"x-oss-content-type": "image/jpeg"}


@pytest.mark.parametrize(
    ("grant", "query", "fields"),
    [
        pytest.param({}, NAMED, {}, id="nothing set"),
        pytest.param({"MinSize": 4, "MaxSize": 4}, NAMED, {}, id="one size"),
        pytest.param({"MinSize": "4", "MaxSize": "5368709120"}, NAMED, {}, id="quoted"),
        pytest.param({"ContentTypes": "image/jpeg"}, NAMED, {}, id="one type"),
        pytest.param({"ContentTypes": "image/*"}, NAMED, TYPE, id="any image"),
        pytest.param(
            {"ContentTypes": "image/*"}, JPEG_ASKED, {}, id="any image, asked"
        ),
        pytest.param(
            {"ContentTypes": ["a/b", "image/*"]}, JPEG_ASKED, {}, id="types, asked"
        ),
        pytest.param({"ContentTypes": ["a/b", "image/jpeg"]}, NAMED, TYPE, id="types"),
        pytest.param(
            {"ContentTypes": "text/plain; charset=utf-8"}, NAMED, {}, id="charset"
        ),
        pytest.param({"ForbidOverwrite": True}, NAMED, {}, id="no overwriting"),
        pytest.param({"ObjectName": "avatar"}, {}, {}, id="one name"),
        pytest.param({"ObjectName": "$DATE/$FILENAME"}, NAMED, {}, id="date"),
        pytest.param({"ObjectName": "$USER_ID/$UUID"}, {}, {}, id="user in the name"),
        pytest.param({"SignatureExpireTime": 60}, NAMED, {}, id="a minute"),
        pytest.param({"ObjectPrefix": "照片/$USER_ID/"}, NAMED, {}, id="prefix"),
        pytest.param({"ObjectPrefix": ""}, NAMED, {}, id="no prefix"),
        pytest.param({"PolicyFile": ""}, NAMED, {}, id="no policy"),
    ],
)
def test_oss_takes_a_form_of_each_setting(
    make_signing: MakeSigning,
    grant: dict[str, Any],
    query: dict[str, str],
    fields: dict[str, str],
) -> None:
    if grant.get("ObjectPrefix") == "":
        grant = grant | {"PolicyFile": ""}
    signing = make_signing({**FORM, **grant})

    form = signing.form("/a", "张三", **query)
    reply = form.post_with(fields)

    assert reply.outcome == OK, reply.body
    (stored,) = signing.bucket.objects()
    assert stored == form.document["fields"]["key"]
    assert stored.startswith(form.document["dir"])


@pytest.mark.parametrize(
    ("grant", "query"),
    [
        pytest.param({}, NAMED, id="nothing set"),
        pytest.param({}, JPEG_ASKED, id="type asked"),
        pytest.param({"ContentTypes": "image/jpeg"}, NAMED, id="one type"),
        pytest.param({"ContentTypes": "image/*"}, JPEG_ASKED, id="any image"),
        pytest.param({"ContentTypes": ["a/b", "image/jpeg"]}, JPEG_ASKED, id="types"),
        pytest.param({"ForbidOverwrite": True}, NAMED, id="no overwriting"),
        pytest.param({"ObjectName": "$UUID$EXTENSION"}, NAMED, id="name"),
        pytest.param({"SignatureExpireTime": 600}, NAMED, id="ten minutes"),
        pytest.param({"UrlOnly": True}, NAMED, id="bare, but for who wants JSON"),
        pytest.param({"ObjectPrefix": "照片/$USER_ID/"}, NAMED, id="prefix"),
    ],
)
def test_oss_takes_a_url_of_each_setting(
    make_signing: MakeSigning, grant: dict[str, Any], query: dict[str, str]
) -> None:
    signing = make_signing({**PUT, **grant})

    url = signing.url("/a", "张三", accept="application/json", **query)

    assert url.send().outcome == OK
    assert list(signing.bucket.objects()) == [url.document["object"]]


@pytest.mark.parametrize("accept", ["", "*/*", "text/html"])
def test_url_only_is_a_bare_url(make_signing: MakeSigning, accept: str) -> None:
    signing = make_signing({**PUT, "UrlOnly": True})

    reply = signing.ask("/a", accept=accept, **NAMED)

    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert re.fullmatch(rf"{signing.oss.url}/\S+", reply.body.decode())


@pytest.mark.parametrize(
    ("types", "path"),
    [
        (["image/*", "text/plain"], FORM),
        (["image/*"], PUT),
        (["image/png", "image/jpeg"], PUT),
    ],
)
def test_a_type_that_no_signature_can_leave_open_has_to_be_said(
    make_signing: MakeSigning, types: list[str], path: dict[str, Any]
) -> None:
    signing = make_signing({**path, "ContentTypes": types})

    reply = signing.ask("/a", **NAMED)

    assert (reply.status, reply.json["ErrorCode"]) == (400, "ContentTypeNotAllowed")
    allowed = " or ".join(types)
    assert reply.json["ErrorMessage"] == (
        f"Say with ?content_type=... which type it is: {allowed}."
    )


@pytest.mark.parametrize("kind", ["image/", "imag", "text/plain", ""])
def test_a_wildcard_is_for_what_is_before_the_slash(
    make_signing: MakeSigning, kind: str
) -> None:
    signing = make_signing({**FORM, "ContentTypes": "image/*"})

    reply = signing.form("/a", **NAMED).post_with({"x-oss-content-type": kind})

    assert reply.outcome == (OK if kind == "image/" else DENIED)


@pytest.mark.parametrize("grant", [FORM, PUT], ids=["form", "URL"])
def test_a_custom_domain_is_where_it_goes(
    make_signing: MakeSigning, grant: dict[str, Any]
) -> None:
    signing = make_signing(grant, Host="http://img.example.com")

    reply = signing.ask("/a", **NAMED).json

    assert reply["url"].startswith("http://img.example.com")
    sent = (
        signing.form("/a", **NAMED).post()
        if grant is FORM
        else signing.url("/a", **NAMED).send()
    )
    assert sent.outcome == OK
    assert list(signing.bucket.objects()) == ["users/alice/cat.jpg"]


def test_nobody_has_to_log_in_where_nobody_does(make_signing: MakeSigning) -> None:
    signing = make_signing(FORM, Authentication=None, ObjectPrefix="photos/")

    reply = signing.ask("/a", user=None, **NAMED)

    assert reply.json["fields"]["key"] == "photos/cat.jpg"


def test_a_user_who_is_shut_out_gets_no_more(
    make_signing: MakeSigning, tmp_path: Path
) -> None:
    (tmp_path / "denied").write_text("bob\n", encoding="utf-8")
    signing = make_signing(FORM, DeniedUsersFile=str(tmp_path / "denied"))

    assert signing.ask("/a", "bob").json["ErrorCode"] == "UserNotAllowed"
    assert signing.form("/a").post(key="users/alice/a").outcome == OK


def test_a_grant_becomes_one_that_signs_while_the_server_runs(
    make_signing: MakeSigning, tmp_path: Path
) -> None:
    signing = make_signing({})
    config = tmp_path / "config.json"
    before = signing.ask("/a").json

    text = config.read_text("utf-8").replace(
        '{"/a": {}}', '{"/a": {"Type": "PostForm"}}'
    )
    config.write_text(text, "utf-8")
    signing.server.look()

    assert "AccessKeySecret" in before
    assert signing.ask("/a").json["method"] == "POST"


# --- The token behind them ------------------------------------------------------


def test_a_hundred_thousand_users_cost_one_call(make_signing: MakeSigning) -> None:
    signing = make_signing(FORM)
    grant = signing.server.server.config.current().grants["/a"]
    calls = itertools.count()
    token = Credentials("STS.a", "b" * 16, "c", "2037-01-01T00:00:00Z", "")

    def assume_role(_call: object) -> Credentials:
        next(calls)
        return token

    cache = TokenCache(assume_role)
    for number in range(100_000):
        call = grant.call_for(f"user{number}")
        cache.get(call, grant.token_reuse_seconds, grant.needed_seconds)

    assert next(calls) == 1
    assert len(cache._entries) == 1


def test_the_token_of_the_forms_is_handed_out_beside_them_to_nobody(
    make_server: MakeServer, sts: StsStandIn, own_oss: OssStandIn, tmp_path: Path
) -> None:
    """Without users a token for the same folder is asked for with the same call."""
    grants = {"/form": FORM, "/sts": {}, "/put": PUT}
    settings: dict[str, Any] = {"Authentication": None, "ObjectPrefix": "photos/"}
    signing = start_signing(make_server, sts, own_oss, tmp_path, grants, **settings)

    form = signing.ask("/form", user=None).json["security_token"]
    token = signing.ask("/sts", user=None).json["SecurityToken"]
    url = signing.ask("/put", user=None, **NAMED).json["url"]

    first, second = sts.requests
    assert first.params["Policy"] == second.params["Policy"]
    assert form != token
    assert quote(form, safe="") in url


def test_a_defect_shows_neither_the_secret_nor_what_it_is(
    make_signing: MakeSigning,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signing = make_signing(FORM)

    def fail(order: Order, credentials: Credentials, now: float) -> None:
        raise ValueError(f"{order} {credentials} {now}")

    monkeypatch.setattr(signed, "sign", fail)
    reply = signing.ask("/a")

    (token,) = signing.sts._tokens.values()
    assert (reply.status, reply.json["ErrorCode"]) == (502, "InternalError")
    assert "Traceback" in caplog.text
    for secret in (token.access_key_secret, token.security_token):
        assert secret not in caplog.text
        assert secret not in reply.body.decode()


def test_the_secret_is_in_no_reply_and_no_line(
    make_signing: MakeSigning, caplog: pytest.LogCaptureFixture
) -> None:
    signing = make_signing({**PUT, "Method": "GET", "PolicyFile": READ_POLICY})
    asked = {"object": "users/alice/a"}

    replies = [
        signing.ask("/a", accept=accept, **asked, **more)
        for accept in ("", "text/plain")
        for more in ({}, {"callback": "show"}, {"process": "x"})
    ]
    replies += [signing.ask(f"/upload-config/a{end}") for end in ("", "?callback=f")]
    replies += [signing.server.request("/a", m, bearer("alice")) for m in ("HEAD", "X")]

    (token,) = signing.sts._tokens.values()
    shown = caplog.text + "".join(f"{r.headers}{r.body.decode()}" for r in replies)
    assert token.access_key_id in shown
    assert token.access_key_secret not in shown
    assert token.security_token not in caplog.text


# --- Whatever a client sends ----------------------------------------------------

BUCKET = Bucket("my-bucket", "cn-hangzhou", default_endpoint("cn-hangzhou"), None)
ALICE = Folder(BUCKET, "users/alice/", "alice")
ALL_TERMS = [
    Terms(POST_FORM, "POST", 300, 4, 8, ("image/*", "a/b"), True, "$FILENAME"),
    Terms(POST_FORM, "POST", 300),
    Terms(PRESIGNED_URL, "PUT", 300, object_name="$UUID$EXTENSION"),
    Terms(PRESIGNED_URL, "GET", 300, processes=("style/a",)),
]
VALUES = st.one_of(
    st.text("ab/.%25CFE2+\\${}=;\xff\x80 ", max_size=20),
    st.text(st.characters(max_codepoint=255), max_size=20),
)


@given(
    terms=st.sampled_from(ALL_TERMS),
    pairs=st.lists(
        st.tuples(
            st.sampled_from(
                ["filename", "content_type", "size", "object", "process", "x", "%66"]
            ),
            VALUES,
        ),
        max_size=5,
    ),
)
def test_any_query_is_an_order_within_the_folder_or_a_refusal(
    terms: Terms, pairs: list[tuple[str, str]]
) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    refused = order = None
    try:
        order = order_of(terms, ALICE, query, 0.0)
    except RequestError as error:
        refused = error

    if refused or not order:
        assert refused
        assert refused.status == 400
        assert all(v not in refused.message for _, v in pairs if len(v) > 9)
        return
    if order.object_name:
        assert order.object_name.startswith("users/alice/")
        assert not name_problem(order.object_name)
    assert order.content_type == "" or terms.allows_type(order.content_type)
    assert all(" " <= character <= "~" for character in order.content_type)


def test_what_a_file_is_called_does_not_matter_beside_its_form(
    make_signing: MakeSigning,
) -> None:
    signing = make_signing(FORM)

    reply = signing.form("/a", **NAMED).post(("../../x.exe", *JPEG[1:]))

    assert reply.outcome == OK
    assert list(signing.bucket.objects()) == ["users/alice/cat.jpg"]
