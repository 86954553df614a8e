"""The upload page over HTTP, and what it signs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from helpers.client import request
from helpers.machine import reserved_port
from helpers.page.visit import Visit
from helpers.server import RunningServer
from helpers.settings import call_of

from localcloud.page import UploadPage, read_settings

# --- Signatures -----------------------------------------------------------------
# Computed with the signer of alibabacloud-oss-v2, and by hand from its documentation.
SIGNED_REQUEST = {
    "method": "PUT",
    "path": "/bkt-1/dir/a%20b%2B%E7%9B%AE.txt",
    "query": {"acl": ""},
    "headers": {
        "content-type": "text/plain",
        "content-md5": "eB5eJF1ptWaXm4bijSPyxw==",
        "x-oss-meta-k": "v",
    },
}
SIGNING_TOKEN = {
    "AccessKeyId": "STS.example",
    "AccessKeySecret": "secretexample",
    "SecurityToken": "TOK/+=",
}
SIGNED_AT = "2026-01-02T03:04:05Z"


@pytest.mark.browser
def test_the_signature_in_a_header_is_that_of_the_sdk(visit: Visit) -> None:
    visit.open()

    headers = visit.resolved(
        "signedHeaders(a[0], 'cn-hangzhou', a[1], new Date(a[2]))",
        SIGNING_TOKEN,
        SIGNED_REQUEST,
        SIGNED_AT,
    )

    assert headers == {
        **SIGNED_REQUEST["headers"],  # type: ignore[dict-item]
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": "20260102T030405Z",
        "x-oss-security-token": "TOK/+=",
        "authorization": "OSS4-HMAC-SHA256 "
        "Credential=STS.example/20260102/cn-hangzhou/oss/aliyun_v4_request,"
        "Signature=40058d2200fe6add3455cbcb7a8b96f2"
        "9e710b6c7bb5cb9f8f121c9ec58dbb9d",
    }


@pytest.mark.browser
def test_the_signature_in_a_url_is_that_of_the_sdk(visit: Visit) -> None:
    visit.open()

    query = visit.resolved(
        "signedQuery(a[0], 'cn-hangzhou', a[1], 600, new Date(a[2]))",
        SIGNING_TOKEN,
        SIGNED_REQUEST,
        SIGNED_AT,
    )

    assert query == (
        "acl"
        "&x-oss-credential=STS.example%2F20260102%2Fcn-hangzhou%2Foss%2Faliyun_v4_request"
        "&x-oss-date=20260102T030405Z"
        "&x-oss-expires=600"
        "&x-oss-security-token=TOK%2F%2B%3D"
        "&x-oss-signature=55d771201599dc184c5e974c6fc82301"
        "2f99a294cdeb5bb251149f015383951e"
        "&x-oss-signature-version=OSS4-HMAC-SHA256"
    )


@pytest.mark.browser
def test_a_key_is_encoded_as_rfc_3986_has_it(visit: Visit) -> None:
    visit.open()

    path = visit.js("return pathOf('b', arguments[0])", "d/a b+~%#?&'()*!-_.目")

    assert path == "/b/d/a%20b%2B~%25%23%3F%26%27%28%29%2A%21-_.%E7%9B%AE"


BLANK_SETTINGS = {
    "appServer": "",
    "bucket": "",
    "region": "",
    "endpoint": "",
    "cname": False,
    "pattern": "",
    "way": "size",
    "formPath": "",
    "urlPath": "",
    "untold": False,
}


# --- The page over HTTP ---------------------------------------------------------
def test_the_page_may_run_only_what_is_its_own() -> None:
    with UploadPage({"appServer": "https://t.example/sts?a=b"}) as page:
        reply = request(page.port, "/")
        head = request(page.port, "/?x", method="HEAD")

    hashed = r"'sha256-[A-Za-z0-9+/]{43}='"
    assert re.fullmatch(
        rf"default-src 'none'; script-src {hashed}; style-src {hashed}; "
        r"connect-src http: https:; img-src blob: data: http: https:; "
        r"base-uri 'none'; form-action 'none'; "
        r"frame-ancestors 'none'; require-trusted-types-for 'script'; "
        r"trusted-types 'none'",
        reply.headers.pop("content-security-policy"),
    )
    del reply.headers["date"]
    assert (reply.status, reply.headers) == (
        200,
        {
            "server": "upload-page",
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(reply.body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        },
    )
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(reply.body))


@pytest.mark.browser
def test_a_setting_cannot_break_out_of_its_block(visit: Visit) -> None:
    pattern = "</script><script>document.title = 'harm'</script><!-- \u2028é"
    with reserved_port() as port, UploadPage() as page:
        changes = {"appServer": f"http://127.0.0.1:{port}/", "pattern": pattern}
        page.show(changes)
        body = request(page.port, "/").body.decode()
        visit.browser.get(page.url)
        visit.expects_complaints = True  # there is no app server

        assert visit.js("return OWN.pattern") == pattern
        assert visit.browser.title == "Upload to OSS"
    assert "harm'</script>" not in body
    assert read_settings(body) == BLANK_SETTINGS | changes


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no setting tokenUrl"):
        UploadPage({"tokenUrl": "http://t.example"})


def test_one_file_is_printed_for_other_web_servers() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "localcloud.page", "https://app.example/sts"],
        capture_output=True,
        check=True,
    )
    page = result.stdout.decode()

    assert read_settings(page) == BLANK_SETTINGS | {
        "appServer": "https://app.example/sts"
    }
    assert not re.search(r"<link rel=.stylesheet|<script src", page)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/favicon.ico", 404),
        ("HEAD", "/upload.html", 404),
        ("POST", "/", 405),
        ("PUT", "/upload.html", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/", 405),
        ("BREW", "/", 501),
    ],
)
def test_nothing_else_is_served(method: str, target: str, status: int) -> None:
    with UploadPage({}) as page:
        body = b"x" * 1000 if method in ("POST", "PUT") else None
        reply = request(page.port, target, method=method, body=body)

    assert reply.status == status
    assert reply.headers.get("allow") == ("GET, HEAD" if status == 405 else None)


def test_the_policy_of_the_page_fits_its_prefix(token_server: RunningServer) -> None:
    policy = call_of(token_server.server.config.current()).policy

    assert policy
    statements = json.loads(policy)["Statement"]
    assert statements[0]["Resource"] == ["acs:oss:*:*:demo-bucket/photos/*"]
    assert statements[1]["Condition"] == {"StringLike": {"oss:Prefix": "photos/*"}}
