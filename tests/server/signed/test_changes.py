"""What a client may try with a form or a URL: OSS refuses each change.

The stand-in judges them with a verifier of its own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from helpers.oss.client import (
    DENIED,
    INVALID,
    MALFORMED,
    MISMATCH,
    OK,
    OssReply,
)
from helpers.oss.cloud import OTHER_BUCKET
from helpers.oss.forms import part
from helpers.oss.signed import JPEG, Form, Signing, Url, swap

from tokenserver.config.grants import Grant
from tokenserver.oss.callback import CallbackStrings, variables_of

TOO_LARGE, TOO_SMALL = (400, "EntityTooLarge"), (400, "EntityTooSmall")
NO_KEY = (403, "InvalidAccessKeyId")
NO_TOKEN = (403, "InvalidSecurityToken")
OTHER_TOKEN = (403, "AccessKeyIdAndSecurityTokenNotMatch")
ENDED = (403, "SecurityTokenExpired")
FILES = (400, "IncorrectNumberOfFilesInPOSTRequest")

BEFORE = {"users/alice/cat.jpg": b"mine", "users/bob/cat.jpg": b"his"}


@pytest.fixture
def signing(shared_signing: Signing) -> Iterator[Signing]:
    """A server and OSS with an object of each of two users."""
    shared_signing.bucket.clear()
    for name, data in BEFORE.items():
        shared_signing.bucket.put(name, data)
    yield shared_signing
    shared_signing.sts.clock.offset_seconds = 0.0  # type: ignore[attr-defined]


def contents(signing: Signing) -> dict[str, bytes]:
    return {name: signing.bucket.read(name) for name in signing.bucket.objects()}


def later(signing: Signing, seconds: float) -> None:
    signing.sts.clock.offset_seconds += seconds  # type: ignore[attr-defined]


# --- Forms ----------------------------------------------------------------------

OPEN: dict[str, str] = {"path": "/form"}  # the key is the client's to fill in
LIMITED = {"path": "/limited"}  # and the type
PINNED = {"path": "/limited", "filename": "new.jpg", "content_type": "image/jpeg"}
FILLED = {"key": "users/alice/new", "x_oss_content_type": "image/jpeg"}

Fields = dict[str, str | None]
Change = Callable[[Signing, Form], OssReply]


def fields(**changes: str | None) -> Change:
    """Post it with these fields."""
    return lambda _signing, form: form.post_with(changes)


def filled(**changes: str | None) -> Change:
    """Post it with all filled in, and these fields."""
    return fields(**{**FILLED, **changes})


def data(content: bytes) -> Change:
    """Post it with this file."""
    file = ("a.jpg", "image/jpeg", content)
    return lambda _signing, form: form.post_with(FILLED, file)


def more(*pairs: tuple[str, str]) -> Change:
    """Post it with more fields, before the file."""
    return lambda _signing, form: form.post_with(FILLED, JPEG, *pairs)


def edit(change: Callable[[Any], object]) -> Change:
    """Post it with another policy, and the old signature."""

    def post(_signing: Signing, form: Form) -> OssReply:
        policy = form.policy
        change(policy)
        text = base64.b64encode(json.dumps(policy).encode()).decode()
        return form.post_with({**FILLED, "policy": text})

    return post


def edit_field(name: str, change: Callable[[str], str]) -> Change:
    """Post it with a field changed that the server has filled in."""
    return lambda _signing, form: form.post_with(
        {**FILLED, name: change(form.document["fields"][name])}
    )


def at(path: str, host: str = "") -> Change:
    """Post it to another place."""

    def post(_signing: Signing, form: Form) -> OssReply:
        form.path = path
        form.headers = {"host": host} if host else {}
        return form.post_with(FILLED)

    return post


def after(seconds: float) -> Change:
    """Post it at another time."""

    def post(signing: Signing, form: Form) -> OssReply:
        later(signing, seconds)
        return form.post_with(FILLED)

    return post


def with_parts_of_another(*names: str) -> Change:
    """Post it with fields of a form of bob."""

    def post(signing: Signing, form: Form) -> OssReply:
        other = signing.form("/limited", "bob").document["fields"]
        return form.post_with({**FILLED, **{name: other[name] for name in names}})

    return post


def with_token_of_another(signing: Signing, form: Form) -> OssReply:
    other = signing.url("/get", object="users/alice/cat.jpg")
    (token,) = parse_qs(other.target.partition("?")[2])["x-oss-security-token"]
    return form.post_with({**FILLED, "x-oss-security-token": token})


def two_files(_signing: Signing, form: Form) -> OssReply:
    values = form.document["fields"] | {"key": FILLED["key"]}
    parts = [part(name, text.encode()) for name, text in values.items()]
    file = part("file", b"meow", "a.jpg", "image/jpeg")
    return form.post_parts(*parts, file, file)


def no_file(_signing: Signing, form: Form) -> OssReply:
    values = form.document["fields"] | {"key": FILLED["key"]}
    return form.post_parts(*(part(n, text.encode()) for n, text in values.items()))


def field_behind_the_file(_signing: Signing, form: Form) -> OssReply:
    values = form.document["fields"]
    parts = [part(name, text.encode()) for name, text in values.items()]
    file = part("file", b"meow", "a.jpg", "image/jpeg")
    return form.post_parts(*parts, file, part("key", FILLED["key"].encode()))


def as_version_1(_signing: Signing, form: Form) -> OssReply:
    values = form.document["fields"]
    key_id = values["x-oss-credential"].partition("/")[0]
    return form.post(
        JPEG,
        ("OSSAccessKeyId", key_id),
        ("Signature", values["x-oss-signature"]),
        **{**FILLED, "x-oss-signature-version": None, "x-oss-signature": None},
    )


def other_digit(text: str) -> str:
    return text[:-1] + ("1" if text[-1] == "0" else "0")


FORMS = {
    "another user's folder": (OPEN, fields(key="users/bob/cat.jpg"), DENIED),
    "a user whose name begins so": (OPEN, fields(key="users/alicex/a"), DENIED),
    "beside the folder": (OPEN, fields(key="users/alice"), DENIED),
    "the folder's case": (OPEN, fields(key="Users/alice/a"), DENIED),
    "the user's case": (OPEN, fields(key="users/Alice/a"), DENIED),
    "a look-alike of the user": (OPEN, fields(key="users/\u0430lice/a"), DENIED),
    "a leading slash": (OPEN, fields(key="/users/alice/a"), DENIED),
    "a leading backslash": (OPEN, fields(key="\\users/alice/a"), DENIED),
    "a leading dot": (OPEN, fields(key="./users/alice/a"), DENIED),
    "a leading space": (OPEN, fields(key=" users/alice/a"), DENIED),
    "dots before the folder": (OPEN, fields(key="users/bob/../alice/a"), DENIED),
    "encoded slashes": (OPEN, fields(key="users%2Falice%2Fa"), DENIED),
    "an encoded letter": (OPEN, fields(key="users/%61lice/a"), DENIED),
    "the key left to the file": (OPEN, fields(key="${filename}"), DENIED),
    "no key": (OPEN, fields(), DENIED),
    "an empty key": (OPEN, fields(key=""), DENIED),
    "two keys": (OPEN, more(("key", "users/bob/a")), MALFORMED),
    "two keys, one in capitals": (OPEN, more(("KEY", "users/bob/a")), MALFORMED),
    "a key behind the file": (OPEN, field_behind_the_file, DENIED),
    "another name of one's own": (PINNED, fields(key="users/alice/other"), DENIED),
    "the pinned key left to the file": (
        PINNED,
        fields(key="users/alice/${filename}"),
        DENIED,
    ),
    "the pinned key left out": (PINNED, fields(key=None), DENIED),
    "the pinned key twice": (PINNED, more(("Key", "users/alice/new.jpg")), MALFORMED),
    "another bucket": (LIMITED, at(f"/{OTHER_BUCKET}/"), DENIED),
    "a bucket that is not there": (LIMITED, at("/no-such-bucket/"), DENIED),
    "another host": (
        LIMITED,
        at("/", f"{OTHER_BUCKET}.oss-cn-hangzhou.aliyuncs.com"),
        DENIED,
    ),
    "the status left out": (LIMITED, filled(success_action_status=None), DENIED),
    "another status": (LIMITED, filled(success_action_status="201"), DENIED),
    "overwriting not forbidden": (
        LIMITED,
        filled(x_oss_forbid_overwrite=None),
        DENIED,
    ),
    "overwriting allowed": (LIMITED, filled(x_oss_forbid_overwrite="false"), DENIED),
    "overwriting, in other words": (
        LIMITED,
        filled(x_oss_forbid_overwrite="TRUE"),
        DENIED,
    ),
    "overwriting, both": (
        LIMITED,
        more(("x-oss-forbid-overwrite", "false")),
        MALFORMED,
    ),
    "what is there already": (
        LIMITED,
        filled(key="users/alice/cat.jpg"),
        (409, "FileAlreadyExists"),
    ),
    "a type that is not allowed": (LIMITED, filled(x_oss_content_type="a/b"), DENIED),
    "a type of the file alone": (LIMITED, filled(x_oss_content_type=None), DENIED),
    "a type in the older field": (
        LIMITED,
        fields(key="users/alice/new", Content_Type="image/jpeg"),
        DENIED,
    ),
    "an empty type": (LIMITED, filled(x_oss_content_type=""), DENIED),
    "a type in capitals": (LIMITED, filled(x_oss_content_type="IMAGE/JPEG"), DENIED),
    "a type and a space": (LIMITED, filled(x_oss_content_type="image/jpeg "), DENIED),
    "a type with a parameter": (
        LIMITED,
        filled(x_oss_content_type="image/jpeg;a=b"),
        DENIED,
    ),
    "two types": (LIMITED, more(("x-oss-content-type", "text/html")), MALFORMED),
    "another type than was asked for": (
        PINNED,
        fields(x_oss_content_type="image/png"),
        DENIED,
    ),
    "one byte too many": (LIMITED, data(b"9 letters"), TOO_LARGE),
    "very many bytes": (LIMITED, data(b"x" * 3_000_000), TOO_LARGE),
    "one byte too few": (LIMITED, data(b"cat"), TOO_SMALL),
    "no bytes": (LIMITED, data(b""), TOO_SMALL),
    "two files": (OPEN, two_files, FILES),
    "no file": (OPEN, no_file, FILES),
    "no policy": (LIMITED, filled(policy=None), INVALID),
    "an empty policy": (LIMITED, filled(policy=""), INVALID),
    "another expiration": (
        LIMITED,
        edit(lambda policy: policy.update(expiration="2037-01-01T00:00:00.000Z")),
        MISMATCH,
    ),
    "a policy without sizes": (
        LIMITED,
        edit(
            lambda policy: policy["conditions"].remove(["content-length-range", 4, 8])
        ),
        MISMATCH,
    ),
    "a policy for another user": (
        LIMITED,
        edit(
            lambda policy: policy["conditions"].append(
                ["starts-with", "$key", "users/bob/"]
            )
        ),
        MISMATCH,
    ),
    "the same policy, written differently": (LIMITED, edit(lambda _: None), MISMATCH),
    "another user's policy": (LIMITED, with_parts_of_another("policy"), MISMATCH),
    "another user's signature": (
        LIMITED,
        with_parts_of_another("x-oss-signature"),
        MISMATCH,
    ),
    "another user's policy and signature": (
        LIMITED,
        with_parts_of_another("policy", "x-oss-signature"),
        DENIED,
    ),
    "no signature": (LIMITED, filled(x_oss_signature=None), INVALID),
    "an empty signature": (LIMITED, filled(x_oss_signature=""), INVALID),
    "another digit": (LIMITED, edit_field("x-oss-signature", other_digit), MISMATCH),
    "a signature in capitals": (
        LIMITED,
        edit_field("x-oss-signature", str.upper),
        MISMATCH,
    ),
    "no version": (LIMITED, filled(x_oss_signature_version=None), INVALID),
    "another version": (LIMITED, filled(x_oss_signature_version="OSS5"), INVALID),
    "as version 1": (LIMITED, as_version_1, MISMATCH),
    "no date": (LIMITED, filled(x_oss_date=None), INVALID),
    "another day": (LIMITED, filled(x_oss_date="20260102T030405Z"), INVALID),
    "another second": (
        LIMITED,
        edit_field("x-oss-date", lambda date: f"{date[:-3]}{int(date[-3:-1]) ^ 1:02}Z"),
        DENIED,
    ),
    "no credential": (LIMITED, filled(x_oss_credential=None), INVALID),
    "another key": (
        LIMITED,
        edit_field("x-oss-credential", lambda text: text.replace("STS.", "STS.x")),
        NO_KEY,
    ),
    "another region": (
        LIMITED,
        edit_field("x-oss-credential", swap("cn-hangzhou", "cn-beijing")),
        INVALID,
    ),
    "another product": (
        LIMITED,
        edit_field("x-oss-credential", swap("/oss/", "/sts/")),
        INVALID,
    ),
    "no token": (LIMITED, filled(x_oss_security_token=None), NO_TOKEN),
    "another token": (LIMITED, filled(x_oss_security_token="x"), NO_TOKEN),
    "the token of other forms": (LIMITED, with_token_of_another, OTHER_TOKEN),
    "an ACL": (LIMITED, filled(x_oss_object_acl="public-read"), DENIED),
    "tags": (LIMITED, filled(x_oss_tagging="a=b"), DENIED),
    "after its end": (LIMITED, after(301), DENIED),
    "after the end of its token": (LIMITED, after(901), ENDED),
    "long before its beginning": (LIMITED, after(-1000), INVALID),
}


@pytest.mark.parametrize(
    ("query", "change", "expected"), FORMS.values(), ids=FORMS.keys()
)
def test_a_form_that_was_changed_is_refused(
    signing: Signing,
    query: dict[str, str],
    change: Change,
    expected: tuple[int, str],
) -> None:
    form = signing.form(**query)

    reply = change(signing, form)

    assert reply.outcome == expected, reply.body
    assert contents(signing) == BEFORE


def test_as_it_is_each_of_these_forms_is_taken(signing: Signing) -> None:
    assert signing.form(**OPEN).post(key="users/alice/a").outcome == OK
    assert signing.form(**LIMITED).post_with(FILLED).outcome == OK
    assert signing.form(**PINNED).post().outcome == OK


@pytest.mark.parametrize("content", [b"four", b"12345678"])
def test_sizes_at_the_bounds_are_taken(signing: Signing, content: bytes) -> None:
    file = ("a.jpg", "image/jpeg", content)

    assert signing.form(**LIMITED).post_with(FILLED, file).outcome == OK


def test_the_type_of_the_file_does_not_count_beside_that_of_the_form(
    signing: Signing,
) -> None:
    file = ("a.html", "text/html", b"<br>")

    reply = signing.form(**PINNED).post(file)

    assert reply.outcome == OK
    url = signing.url("/get", object="users/alice/new.jpg")
    assert url.send().headers["content-type"] == "image/jpeg"


def test_dots_and_the_name_of_the_file_stay_in_the_folder(signing: Signing) -> None:
    """To OSS a name is a text; users/alice/../bob/a is none of bob's objects."""
    form = signing.form(**OPEN)

    form.post(key="users/alice/../bob/a")
    form.post(("../../bob/b", "", b"x"), key="users/alice/${filename}")

    assert {name for name in contents(signing) if not name.startswith("users/alice/")}
    assert contents(signing)["users/bob/cat.jpg"] == b"his"
    assert not {
        n for n in contents(signing).keys() - BEFORE.keys() if "/bob/" in n[:10]
    }


CALLBACK = CallbackStrings.of("https://app.example.com/oss", [], "sealed")


@pytest.fixture
def _with_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each form and URL carry a callback."""
    monkeypatch.setattr(Grant, "callback_strings", lambda *_: CALLBACK)


@pytest.mark.usefixtures("_with_callback")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"callback": None}, id="left out"),
        pytest.param({"callback": "e30="}, id="another"),
        pytest.param({"x:ticket": None}, id="ticket left out"),
        pytest.param({"x:ticket": "mine"}, id="another ticket"),
    ],
)
def test_a_callback_of_a_form_cannot_be_changed(
    signing: Signing, changes: Fields
) -> None:
    form = signing.form(**OPEN)

    assert form.document["callback"] == CALLBACK.callback
    assert form.document["fields"]["x:ticket"] == "sealed"
    assert form.post_with({"key": "users/alice/a", **changes}).outcome == DENIED
    assert contents(signing) == BEFORE


@pytest.mark.usefixtures("_with_callback")
@pytest.mark.parametrize("name", ["callback", "callback_var"])
@pytest.mark.parametrize("value", [None, "e30="], ids=["left out", "another"])
def test_a_callback_of_a_url_cannot_be_changed(
    signing: Signing, name: str, value: str | None
) -> None:
    url = signing.url("/put", filename="a")

    texts = f"callback={quote(CALLBACK.callback, '')}", variables_of("sealed")
    assert texts[0] in url.target
    assert f"callback-var={quote(texts[1], '')}" in url.target
    assert url.with_query(**{name: value}).send().outcome == MISMATCH
    assert contents(signing) == BEFORE


@pytest.mark.usefixtures("_with_callback")
def test_a_download_reports_nothing(signing: Signing) -> None:
    url = signing.url("/get", object="users/alice/cat.jpg")

    assert url.send().body == b"mine"
    assert "callback" not in url.target


# --- URLs -----------------------------------------------------------------------

UPLOAD = {"path": "/put-limited", "filename": "new.jpg"}
DOWNLOAD = {"path": "/get", "object": "users/alice/cat.jpg"}
PROCESSED = {**DOWNLOAD, "process": "image/resize,w_200"}

UrlChange = Callable[[Signing, Url], OssReply]


def target(old: str, new: str) -> UrlChange:
    """Send it to another place."""
    return lambda _signing, url: url.send(change=swap(old, new))


def method(name: str) -> UrlChange:
    """Send it with another method."""
    return lambda _signing, url: url.send(method=name)


def headers(**changes: str | None) -> UrlChange:
    """Send it with these headers."""
    return lambda _signing, url: url.send(headers=changes)


def query(**changes: str | None) -> UrlChange:
    """Send it with these parameters."""
    return lambda _signing, url: url.with_query(**changes).send()


def at_another_time(seconds: float) -> UrlChange:
    """Send it later, or before."""

    def send(signing: Signing, url: Url) -> OssReply:
        later(signing, seconds)
        return url.send()

    return send


def signature_of_another(signing: Signing, url: Url) -> OssReply:
    other = signing.url("/put-limited", "bob", filename="new.jpg")
    (signature,) = parse_qs(other.target.partition("?")[2])["x-oss-signature"]
    return url.with_query(x_oss_signature=signature).send()


OTHER_HOST = f"{OTHER_BUCKET}.oss-cn-hangzhou.aliyuncs.com"
URLS = {
    "another user's folder": (UPLOAD, target("/alice/", "/bob/"), MISMATCH),
    "another name": (UPLOAD, target("new.jpg", "other.jpg"), MISMATCH),
    "a longer name": (UPLOAD, target("new.jpg", "new.jpg/a"), MISMATCH),
    "dots": (UPLOAD, target("new.jpg", "../bob/cat.jpg"), MISMATCH),
    "encoded dots": (UPLOAD, target("new.jpg", "..%2Fbob%2Fcat.jpg"), MISMATCH),
    "slashes encoded twice": (UPLOAD, target("alice/", "alice%252F"), MISMATCH),
    "two slashes": (UPLOAD, target("/alice/", "//alice/"), MISMATCH),
    "another case": (UPLOAD, target("new.jpg", "NEW.jpg"), MISMATCH),
    "another bucket": (UPLOAD, target("/my-bucket/", f"/{OTHER_BUCKET}/"), MISMATCH),
    "another host": (
        UPLOAD,
        lambda _signing, url: url.send(
            change=swap("/my-bucket/", "/"), headers={"host": OTHER_HOST}
        ),
        MISMATCH,
    ),
    "an upload used to download": (UPLOAD, method("GET"), MISMATCH),
    "an upload used to delete": (UPLOAD, method("DELETE"), MISMATCH),
    "an upload used to post": (UPLOAD, method("POST"), MISMATCH),
    "a download used to upload": (DOWNLOAD, method("PUT"), MISMATCH),
    "a download used to delete": (DOWNLOAD, method("DELETE"), MISMATCH),
    "no type": (UPLOAD, headers(content_type=None), MISMATCH),
    "another type": (UPLOAD, headers(content_type="text/html"), MISMATCH),
    "a type in capitals": (UPLOAD, headers(content_type="IMAGE/JPEG"), MISMATCH),
    "overwriting not forbidden": (
        UPLOAD,
        headers(x_oss_forbid_overwrite=None),
        MISMATCH,
    ),
    "overwriting allowed": (UPLOAD, headers(x_oss_forbid_overwrite="false"), MISMATCH),
    "metadata": (UPLOAD, headers(x_oss_meta_a="1"), MISMATCH),
    "an ACL": (UPLOAD, headers(x_oss_object_acl="public-read"), MISMATCH),
    "a storage class": (UPLOAD, headers(x_oss_storage_class="IA"), MISMATCH),
    "a copy": (
        UPLOAD,
        headers(x_oss_copy_source="/my-bucket/users/bob/cat.jpg"),
        MISMATCH,
    ),
    "a callback in a header": (UPLOAD, headers(x_oss_callback="e30="), MISMATCH),
    "a callback in the query": (UPLOAD, query(callback="e30="), MISMATCH),
    "a checksum": (
        UPLOAD,
        headers(content_md5="Sjh6ghUn4nqUF8wlgNIVQQ=="),
        MISMATCH,
    ),
    "a signature in a header too": (
        UPLOAD,
        headers(authorization="OSS LTAIx:aGVsbG8="),
        INVALID,
    ),
    "a longer life": (UPLOAD, query(x_oss_expires="3600"), MISMATCH),
    "an endless life": (UPLOAD, query(x_oss_expires="604801"), INVALID),
    "no life": (UPLOAD, query(x_oss_expires=None), DENIED),
    "another date": (UPLOAD, query(x_oss_date="20260102T030405Z"), DENIED),
    "another key": (
        UPLOAD,
        lambda _signing, url: url.send(change=swap("STS.", "STS.x")),
        NO_KEY,
    ),
    "another region": (UPLOAD, target("cn-hangzhou", "cn-beijing"), INVALID),
    "no token": (UPLOAD, query(x_oss_security_token=None), NO_TOKEN),
    "another token": (UPLOAD, query(x_oss_security_token="x"), NO_TOKEN),
    "no signature": (UPLOAD, query(x_oss_signature=None), DENIED),
    "another signature": (UPLOAD, query(x_oss_signature="0" * 64), MISMATCH),
    "another user's signature": (UPLOAD, signature_of_another, MISMATCH),
    "another version": (UPLOAD, query(x_oss_signature_version="OSS5"), INVALID),
    "more headers": (UPLOAD, query(x_oss_additional_headers="host"), MISMATCH),
    "any parameter": (UPLOAD, query(a="1"), MISMATCH),
    "a parameter twice": (
        UPLOAD,
        target("x-oss-expires", "x-oss-expires=300&x-oss-expires"),
        INVALID,
    ),
    "a name in capitals": (UPLOAD, target("x-oss-expires", "X-OSS-EXPIRES"), DENIED),
    "the ACL of the object": (UPLOAD, query(acl=""), MISMATCH),
    "tags": (UPLOAD, query(tagging=""), MISMATCH),
    "a part": (UPLOAD, query(partNumber="1", uploadId="A"), MISMATCH),
    "a process": (DOWNLOAD, query(x_oss_process="image/info"), MISMATCH),
    "another process": (PROCESSED, query(x_oss_process="image/info"), MISMATCH),
    "no process": (PROCESSED, query(x_oss_process=None), MISMATCH),
    "another type of the reply": (
        DOWNLOAD,
        query(response_content_type="text/html"),
        MISMATCH,
    ),
    "a version": (DOWNLOAD, query(versionId="1"), MISMATCH),
    "another user's object": (DOWNLOAD, target("/alice/", "/bob/"), MISMATCH),
    "a list": (DOWNLOAD, target("/users/alice/cat.jpg", "/"), MISMATCH),
    "after its end": (UPLOAD, at_another_time(301), DENIED),
    "a download after its end": (DOWNLOAD, at_another_time(301), DENIED),
    "long before its beginning": (UPLOAD, at_another_time(-1000), INVALID),
}


@pytest.mark.parametrize(
    ("asked", "change", "expected"), URLS.values(), ids=URLS.keys()
)
def test_a_url_that_was_changed_is_refused(
    signing: Signing,
    asked: dict[str, str],
    change: UrlChange,
    expected: tuple[int, str],
) -> None:
    url = signing.url(**asked)

    reply = change(signing, url)

    assert reply.outcome == expected, reply.body
    assert contents(signing) == BEFORE


def test_as_it_is_each_of_these_urls_is_taken(signing: Signing) -> None:
    assert signing.url(**UPLOAD).send().outcome == OK
    assert signing.url(**DOWNLOAD).send().body == b"mine"


def test_a_url_for_a_new_object_does_not_replace_one(signing: Signing) -> None:
    url = signing.url("/put-limited", filename="cat.jpg")

    assert url.send().outcome == (409, "FileAlreadyExists")
    assert contents(signing) == BEFORE


def test_a_url_is_for_the_same_object_however_its_path_is_encoded(
    signing: Signing,
) -> None:
    url = signing.url(**UPLOAD)

    reply = url.send(b"new", change=swap("users/alice/", "users%2F%61lice%2F"))

    assert reply.outcome == OK
    assert contents(signing) == BEFORE | {"users/alice/new.jpg": b"new"}
