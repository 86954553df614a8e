"""Forms and URLs as clients get them, and as OSS takes them."""

from __future__ import annotations

import itertools
import json
import logging
import re
import select
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from helpers.login.service import bearer
from helpers.oss.client import OK
from helpers.oss.signed import GRANTS, JPEG, Signing, start_signing
from helpers.processes import call
from helpers.server import MakeServer
from helpers.settings import POLICY_DIRECTORY

from localcloud.clock import Clock
from localcloud.oss import OssStandIn
from localcloud.sts import Fail, StsStandIn
from tokenserver.logs import (
    LOGGED_OBJECT,
    LOGGED_PATH,
    JsonFormatter,
    LogFormatter,
    ReplyLine,
    loggable,
)
from tokenserver.oss.bucket import Bucket, default_endpoint
from tokenserver.oss.orders import Folder, InvalidObjectName, order_of
from tokenserver.oss.terms import POST_FORM, PRESIGNED_URL, Terms

pytestmark = pytest.mark.slow

PNG = ("cat.png", "image/png", b"png")
UPLOADS = "users/alice/"

# --- What is handed out ---------------------------------------------------------


def test_a_form_has_the_fields_of_the_official_samples_and_those_of_oss(
    signing: Signing,
) -> None:
    document = signing.ask("/form").json

    assert list(document) == [
        "version",
        "x_oss_signature_version",
        "policy",
        "x_oss_credential",
        "x_oss_date",
        "signature",
        "security_token",
        "dir",
        "host",
        "expire",
        "method",
        "url",
        "fields",
    ]
    assert document["dir"] == UPLOADS
    assert document["host"] == document["url"] == f"{signing.oss.url}/my-bucket"
    assert abs(document["expire"] - time.time() - 300) < 60
    fields = document["fields"]
    assert fields == {
        "success_action_status": "200",
        "x-oss-signature-version": document["version"],
        "x-oss-credential": document["x_oss_credential"],
        "x-oss-date": document["x_oss_date"],
        "x-oss-security-token": document["security_token"],
        "policy": document["policy"],
        "x-oss-signature": document["signature"],
    }


def test_the_policy_of_a_form_pins_each_field_that_it_holds(signing: Signing) -> None:
    form = signing.form("/limited", filename="cat.jpg", content_type="image/jpeg")

    fields = form.document["fields"]
    pinned = {n: t for n, t in fields.items() if n not in ("policy", "x-oss-signature")}
    assert form.policy["conditions"] == [
        *({name: text} for name, text in pinned.items()),
        {"bucket": "my-bucket"},
        ["content-length-range", 4, 8],
    ]
    assert pinned["key"] == "users/alice/cat.jpg"
    assert pinned["x-oss-content-type"] == "image/jpeg"
    assert pinned["x-oss-forbid-overwrite"] == "true"


def test_what_a_client_fills_in_is_limited(signing: Signing) -> None:
    conditions = signing.form("/limited").policy["conditions"]

    assert conditions[-3:] == [
        ["starts-with", "$key", "users/alice/"],
        ["content-length-range", 4, 8],
        ["in", "$x-oss-content-type", ["image/jpeg", "image/png"]],
    ]


def test_a_url_comes_with_all_that_has_to_be_sent(signing: Signing) -> None:
    document = signing.ask("/put-limited", filename="a b/猫.jpg").json

    assert list(document) == ["method", "url", "headers", "object", "expire"]
    assert document["method"] == "PUT"
    assert document["object"] == "users/alice/a b/猫.jpg"
    assert document["headers"] == {
        "Content-Type": "image/jpeg",
        "x-oss-forbid-overwrite": "true",
    }
    assert document["url"].startswith(
        f"{signing.oss.url}/my-bucket/users/alice/a%20b/%E7%8C%AB.jpg?"
    )


@pytest.mark.parametrize(
    ("accept", "is_text"),
    [
        pytest.param("text/plain", True, id="text"),
        pytest.param("", False, id="nothing"),
        pytest.param("*/*", False, id="anything"),
        pytest.param("application/json, text/plain, */*", False, id="axios"),
    ],
)
def test_a_url_comes_alone_for_who_accepts_text(
    signing: Signing, accept: str, is_text: bool
) -> None:
    reply = signing.ask("/put", accept=accept, filename="a.txt")

    assert reply.headers["content-type"].startswith("text/plain") == is_text
    assert reply.body.startswith(signing.oss.url.encode()) == is_text


def test_a_script_is_json_and_not_text(signing: Signing) -> None:
    reply = signing.ask("/put", accept="text/plain", filename="a", callback="show")

    assert reply.body.startswith(b'show( {"method":"PUT",')


# --- OSS takes them -------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "fields", "key"),
    [
        pytest.param("/form", {}, {"key": "users/alice/a"}, "users/alice/a", id="any"),
        pytest.param("/form", {"filename": "a/猫 +&=%.jpg"}, {}, "", id="named"),
        pytest.param("/form", {"content_type": "a/b"}, {"key": "users/alice/t"}, "",
                     id="with a type"),
        pytest.param("/limited", {"filename": "a", "content_type": "image/png"}, {},
                     "users/alice/a", id="limited, all said"),
        pytest.param("/limited", {}, {"key": "users/alice/a",
                                      "x-oss-content-type": "image/png"}, "",
                     id="limited, filled in"),
        pytest.param("/limited", {"size": "4"},
                     {"key": "users/alice/a", "x-oss-content-type": "image/png"}, "",
                     id="limited, size said"),
        pytest.param("/chosen", {"filename": "x.jpeg"}, {}, "", id="chosen"),
    ],
)  # fmt: skip
def test_oss_takes_a_form(
    signing: Signing,
    path: str,
    query: dict[str, str],
    fields: dict[str, str],
    key: str,
) -> None:
    form = signing.form(path, **query)

    reply = form.post(JPEG, **fields)

    assert reply.outcome == OK, reply.body
    (stored,) = signing.bucket.keys()
    assert stored.startswith(UPLOADS)
    assert key in ("", stored)
    assert signing.bucket.read(stored) == JPEG[2]
    if "filename" in query and path != "/chosen":
        assert stored == UPLOADS + query["filename"]


def test_the_server_chooses_the_name(signing: Signing) -> None:
    names = {
        signing.form("/chosen", filename=name).document["fields"]["key"]
        for name in ("a.jpg", "b.c.JPG", "noext", "x.t?x", "x." + "y" * 17)
    }

    assert len(names) == 5
    ends = sorted(re.sub(r"^users/alice/in/[0-9a-f-]{36}", "", name) for name in names)
    assert ends == ["", "", "", ".JPG", ".jpg"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        pytest.param("/put", {"filename": "a.txt"}, id="named"),
        pytest.param("/put", {"filename": "a/猫 +&=?#%2F.jpg"}, id="odd name"),
        pytest.param(
            "/put", {"filename": "a", "content_type": "text/plain"}, id="type"
        ),
        pytest.param("/put-limited", {"filename": "a"}, id="limited"),
    ],
)
def test_oss_takes_a_url(signing: Signing, path: str, query: dict[str, str]) -> None:
    url = signing.url(path, **query)

    reply = url.send(b"meow")

    assert reply.outcome == OK, reply.body
    name = UPLOADS + query["filename"]
    assert url.document["object"] == name
    assert signing.bucket.read(name) == b"meow"


def test_a_download_is_signed(signing: Signing) -> None:
    signing.bucket.put("users/alice/猫.jpg", b"meow")

    url = signing.url("/get", object="users/alice/猫.jpg")
    reply = url.send()

    assert (reply.status, reply.body) == (200, b"meow")
    assert url.document["headers"] == {}


@pytest.mark.parametrize("process", GRANTS["/get"]["Processes"])
def test_a_download_is_signed_with_how_it_is_processed(
    signing: Signing, process: str
) -> None:
    signing.bucket.put("users/alice/a.jpg", b"meow")

    url = signing.url("/get", object="users/alice/a.jpg", process=process)
    reply = url.send()

    # Signature and policies are judged before the picture, which is none.
    assert reply.status != 403
    assert url.with_query(x_oss_process="image/resize,w_9").send().outcome == (
        403,
        "SignatureDoesNotMatch",
    )


# --- What is not signed ---------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "code", "message"),
    [
        pytest.param("/limited", {"size": "9"}, "EntityTooLarge",
                     "At most 8 bytes are allowed.", id="too large"),
        pytest.param("/limited", {"size": "3"}, "EntityTooSmall",
                     "At least 4 bytes are needed.", id="too small"),
        pytest.param("/limited", {"size": "x"}, "InvalidParameter",
                     "size must be a number of bytes.", id="size is a word"),
        pytest.param("/limited", {"size": "-1"}, "InvalidParameter",
                     "size must be a number of bytes.", id="size is negative"),
        pytest.param("/limited", {"size": "9" * 16}, "InvalidParameter",
                     "size must be a number of bytes.", id="size is endless"),
        pytest.param("/limited", {"content_type": "image/gif"}, "ContentTypeNotAllowed",
                     "content_type must be image/jpeg or image/png.", id="type"),
        pytest.param("/limited", {"content_type": "image/jpeg\r\nx: y"},
                     "InvalidParameter",
                     "content_type must be a type such as image/jpeg.", id="no type"),
        pytest.param("/put-limited", {"filename": "a", "content_type": "image/png"},
                     "ContentTypeNotAllowed", "content_type must be image/jpeg.",
                     id="type of a URL"),
        pytest.param("/put", {}, "InvalidObjectName",
                     "Say which object, with ?filename=...", id="no name"),
        pytest.param("/chosen", {}, "InvalidObjectName",
                     "Say which object, with ?filename=...", id="no extension"),
        pytest.param("/get", {}, "InvalidObjectName",
                     "Say which object, with ?object=...", id="no object"),
        pytest.param("/get", {"object": "users/bob/a"}, "InvalidObjectName",
                     'object must begin with the "dir" of /upload-config.',
                     id="another's object"),
        pytest.param("/get", {"object": "users/alice/../bob/a"}, "InvalidObjectName",
                     "object begins or ends with a slash, or contains //, /./ or "
                     "/../.", id="another's object, by .."),
        pytest.param("/get", {"object": "users/alice/a", "process": "image/info"},
                     "ProcessNotAllowed",
                     "process must be image/resize,w_200 or style/thumb.",
                     id="process"),
    ],
)  # fmt: skip
def test_what_the_limits_forbid_is_refused_and_the_limit_named(
    signing: Signing, path: str, query: dict[str, str], code: str, message: str
) -> None:
    reply = signing.ask(path, **query)

    assert (reply.status, reply.json) == (
        400,
        {"StatusCode": 400, "ErrorCode": code, "ErrorMessage": message},
    )
    assert signing.sts.received == 0


NAMES_REFUSED = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../bob/a",
    "a/../../bob/a",
    "a/..",
    "./a",
    "a/./b",
    "..\\bob\\a",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "a\x85b",
    "${filename}",
    "a/${filename}",
    "x" * 1012,
    "猫" * 338,
]
TERMS = {
    "form": Terms(POST_FORM, "POST", 300),
    "URL": Terms(PRESIGNED_URL, "PUT", 300),
    "chosen": Terms(POST_FORM, "POST", 300, object_name="$FILENAME"),
    "download": Terms(PRESIGNED_URL, "GET", 300),
}


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS.keys())
@pytest.mark.parametrize("name", NAMES_REFUSED)
def test_a_name_that_some_read_differently_is_not_signed(
    terms: Terms, name: str
) -> None:
    bucket = Bucket("my-bucket", "cn-hangzhou", default_endpoint("cn-hangzhou"), None)
    asked = {"filename": name}
    if terms.method == "GET":
        asked = {"object": f"{UPLOADS}{name}"}

    with pytest.raises(InvalidObjectName):
        order_of(terms, Folder(bucket, UPLOADS, "alice"), urlencode(asked), 0.0)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("filename=%FF", id="not UTF-8"),
        pytest.param("filename=%ED%A0%80", id="half of a pair"),
        pytest.param("filename=%C0%AE%C0%AE/a", id="overlong"),
        pytest.param("filename=a&filename=b", id="twice"),
        pytest.param("filename=a&%66ilename=b", id="twice, encoded"),
    ],
)
def test_a_query_that_some_read_differently_is_refused(
    signing: Signing, query: str
) -> None:
    reply = signing.ask(f"/put?{query}")

    assert (reply.status, reply.json["ErrorCode"]) == (400, "InvalidParameter")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        pytest.param("filename=%2e%2e%2fa", None, id="encoded dots"),
        pytest.param("filename=%252e%252e%252fa", "%2e%2e%2fa", id="encoded twice"),
        pytest.param("filename=a+b", "a b", id="plus"),
        pytest.param("filename=a%2Bb", "a+b", id="encoded plus"),
        pytest.param("filename=a;b", "a;b", id="semicolon"),
        pytest.param("filename=a=b", "a=b", id="equal sign"),
        pytest.param("x=1&filename=a&y", "a", id="among others"),
    ],
)
def test_a_name_is_read_as_oss_reads_it(
    signing: Signing, query: str, name: str | None
) -> None:
    reply = signing.ask(f"/put?{query}")

    assert reply.json.get("object") == (name and f"{UPLOADS}{name}")


# --- One token for all ----------------------------------------------------------


def test_all_users_of_a_grant_cost_one_call(signing: Signing) -> None:
    with ThreadPoolExecutor(8) as pool:
        users = [f"user{number}" for number in range(100)]
        replies = list(pool.map(lambda user: signing.form(user=user), users))

    assert {reply.document["dir"] for reply in replies} == {
        f"users/{user}/" for user in users
    }
    assert signing.sts.received == 1
    (request,) = signing.sts.requests
    (statement,) = json.loads(request.params["Policy"])["Statement"]
    assert statement["Resource"] == ["acs:oss:*:*:my-bucket/users/*/*"]
    assert request.params["RoleSessionName"] == "client_name"


def test_each_form_is_valid_for_as_long_as_promised(
    make_server: MakeServer,
    sts: StsStandIn,
    own_oss: OssStandIn,
    clock: Clock,
    tmp_path: Path,
) -> None:
    grants = {"/form": {"Type": "PostForm", "SignatureExpireTime": 600}}
    signing = start_signing(make_server, sts, own_oss, tmp_path, grants)
    tokens = signing.server.server.tokens
    monotonic = Clock()
    clock.freeze()
    monotonic.freeze()
    tokens.clock, tokens._monotonic = clock, monotonic

    calls = []
    for _ in range(28):  # half a minute each, less than STS lets clocks differ
        form = signing.form()
        token = sts.issued(form.document["security_token"])
        assert token
        assert form.document["expire"] - clock() == 600
        assert form.document["expire"] <= token.expiration
        calls.append(sts.received)
        clock.advance(30)
        monotonic.advance(30)

    assert 2 < calls[-1] <= 4  # one in 300 s, a little before their end, behind it


def test_a_token_that_ends_before_a_form_would_is_not_signed_with(
    make_server: MakeServer,
    sts: StsStandIn,
    own_oss: OssStandIn,
    clock: Clock,
    tmp_path: Path,
) -> None:
    grants = {"/form": {"Type": "PostForm", "SignatureExpireTime": 600}}
    signing = start_signing(make_server, sts, own_oss, tmp_path, grants)
    clock.freeze()
    signing.server.server.tokens.clock = clock
    signing.form()
    sts.always(Fail("ServiceUnavailable", "Down.", 503))

    clock.advance(290)
    in_time = signing.ask("/form")
    clock.advance(20)
    late = signing.ask("/form")

    assert in_time.json["expire"] - clock() == 580
    assert late.status == 502
    assert late.json["ErrorCode"] == "ServiceUnavailable"


def test_a_failure_of_sts_has_a_status_of_its_own(signing: Signing) -> None:
    signing.sts.always(Fail("NoPermission", "You are not authorized.", 403))

    for path, query in (("/form", {}), ("/put", {"filename": "a"})):
        reply = signing.ask(path, accept="text/plain", **query)
        assert (reply.status, reply.json) == (
            502,
            {
                "StatusCode": 502,
                "ErrorCode": "NoPermission",
                "ErrorMessage": "You are not authorized.",
            },
        )


# --- The token behind them ------------------------------------------------------


METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT"]
ALIASES = [
    "{}",
    "/credentials{}",
    "/credentials{}/",
    "/credentials",
    "/credentials/",
    "{}/",
    "{}/credentials",
    "{}?callback=show",
    "/upload-config{}",
    "/%63redentials{}",
    "{}?Type=Token",
    "{}?filename=a&object=users/alice/a",
]


@pytest.mark.parametrize("path", GRANTS)
def test_no_path_hands_out_the_token(
    make_server: MakeServer,
    sts: StsStandIn,
    own_oss: OssStandIn,
    tmp_path: Path,
    path: str,
) -> None:
    """Not even where the top of the file wants each grant below /credentials."""
    grants = {path: GRANTS[path], "/": GRANTS["/form"]}
    signing = start_signing(
        make_server, sts, own_oss, tmp_path, grants, CredentialsUri=True
    )
    signing.ask("/")  # so that there is a token

    for alias, method in itertools.product(ALIASES, METHODS):
        headers = {**bearer("alice"), "Accept": "text/plain"}
        reply = signing.server.request(alias.format(path), method, headers)
        text = reply.body.decode()
        assert "AccessKeySecret" not in text
        assert '"SecurityToken"' not in text
        if alias.startswith("/credentials"):
            assert reply.status in (204, 404, 405)
    assert sts.received in (1, 2)  # all of them for any user
    names = {request.params["RoleSessionName"] for request in sts.requests}
    assert names == {"client_name"}


def test_the_command_shows_no_token_that_is_signed_with(
    signing: Signing, tmp_path: Path
) -> None:
    said = call("--config", tmp_path / "config.json", "--once", "/form")

    assert (said.returncode, said.stdout) == (2, "")
    assert "--once /form: hands out forms of 300 s, and no token" in said.stderr
    assert signing.sts.received == 0


# --- What an operator sees ------------------------------------------------------


def test_the_log_says_for_whom_and_for_what(
    signing: Signing, caplog: pytest.LogCaptureFixture
) -> None:
    form = signing.form().document
    signing.form(user="bob", filename="猫.jpg")
    url = signing.url("/put", filename="eyJhbGciOi.jpg").document
    signing.ask("/limited", size="9")

    lines = [
        record.getMessage()
        for record in caplog.records
        if isinstance(record.msg, ReplyLine)
    ]
    shown = [re.sub(r" STS\.\S+| [0-9.]+ms|^\S+ ", "", line) for line in lines]
    assert shown == [
        "GET /form 200 alice (POST users/alice/*)",
        "GET /form 200 bob (POST users/bob/\\u732b.jpg)",
        "GET /put 200 alice (PUT users/alice/eyJ...)",
        "GET /limited 400 EntityTooLarge -",
    ]
    written = "\n".join(lines)
    for secret in (form["policy"], form["signature"], form["security_token"]):
        assert secret not in written
    assert "x-oss-signature" in url["url"]
    assert "x-oss-" not in written


@pytest.mark.parametrize("letter", ['"', "猫", "é", "\u0301", "𝄞", "a", "%41"])
def test_a_line_of_the_log_is_one_write(letter: str) -> None:
    """Which is so up to PIPE_BUF, however long the name of an object is."""
    name = letter * (1023 // len(letter.encode()))
    line = ReplyLine(
        client="f" * 39,
        method="OPTIONS",
        path="%" * LOGGED_PATH,
        status=200,
        outcome="S" * 64,
        session="_" * 64,
        milliseconds=12345.6,
        detail=loggable(f"POST {name}", LOGGED_OBJECT),
    )

    for formatter in (LogFormatter(), JsonFormatter()):
        assert len(formatter.reply_text(time.time(), line)) < select.PIPE_BUF


def test_forms_and_urls_are_counted(signing: Signing) -> None:
    for name in ("a", "b"):
        signing.form(filename=name)
    signing.url("/put", filename="a")
    signing.ask("/limited", size="9")

    server = signing.server.server
    assert server.signed.counts() == {"PostForm": 2, "PresignedUrl": 1}
    assert server.replies.counts() == {
        "PostForm": 2,
        "PresignedUrl": 1,
        "EntityTooLarge": 1,
    }


def test_upload_config_says_the_type_and_the_limits(signing: Signing) -> None:
    found = {path: signing.ask(f"/upload-config{path}").json for path in GRANTS}

    def own(path: str) -> dict[str, Any]:
        common = ("bucket", "region", "endpoint", "cname", "host", "dir")
        return {n: v for n, v in found[path].items() if n not in common}

    assert found["/form"]["dir"] == UPLOADS
    assert own("/limited") == {
        "type": "PostForm",
        "method": "POST",
        "valid_seconds": 300,
        "min_size": 4,
        "max_size": 8,
        "content_types": ["image/jpeg", "image/png"],
        "forbid_overwrite": True,
        "object_name": "",
    }
    assert own("/chosen")["object_name"] == "in/$UUID$EXTENSION"
    assert own("/put-limited") == {
        "type": "PresignedUrl",
        "method": "PUT",
        "valid_seconds": 300,
        "content_types": ["image/jpeg"],
        "forbid_overwrite": True,
        "object_name": "",
    }
    assert own("/get") == {
        "type": "PresignedUrl",
        "method": "GET",
        "valid_seconds": 300,
        "processes": ["image/resize,w_200", "style/thumb"],
    }
    assert signing.sts.received == 0


def test_a_login_is_needed_and_head_costs_nothing(signing: Signing) -> None:
    for path in GRANTS:
        assert signing.ask(path, user=None).status == 401
        head = signing.server.request(path, "HEAD", bearer("alice"))
        assert (head.status, head.body) == (200, b"")
    assert signing.sts.received == 0


def test_a_token_beside_forms_is_each_users_own(
    make_server: MakeServer, sts: StsStandIn, own_oss: OssStandIn, tmp_path: Path
) -> None:
    grants = {
        "/form": {"Type": "PostForm", "ObjectPrefix": "forms/$USER_ID/"},
        "/sts": {},
    }
    signing = start_signing(make_server, sts, own_oss, tmp_path, grants)

    signing.form()
    token = signing.ask("/sts").json

    assert token["StatusCode"] == 200
    issued = sts.issued(token["SecurityToken"])
    assert issued
    assert issued.policy
    assert "users/alice/*" in issued.policy
    assert issued.role_session_name == "alice"


@pytest.mark.usefixtures("_clean_log")
def test_readiness_is_tried_with_the_token_of_the_forms(signing: Signing) -> None:
    logging.getLogger("tokenserver").setLevel(logging.INFO)

    assert signing.server.request("/readyz").status == 200
    signing.form()

    assert signing.sts.received == 1


def test_policy_templates_of_the_project_fit(
    make_server: MakeServer, sts: StsStandIn, own_oss: OssStandIn, tmp_path: Path
) -> None:
    write = str(POLICY_DIRECTORY / "bucket_read_write_policy.txt")
    grants = {
        "/up": {"Type": "PostForm", "PolicyFile": write},
        "/down": {"Type": "PresignedUrl", "Method": "GET", "PolicyFile": write},
    }
    signing = start_signing(make_server, sts, own_oss, tmp_path, grants)

    assert signing.form("/up", filename="猫").post().outcome == OK
    reply = signing.url("/down", object="users/alice/猫").send()

    assert (reply.status, reply.body) == (200, b"meow")
    assert sts.received == 1  # as both grants ask for the same
