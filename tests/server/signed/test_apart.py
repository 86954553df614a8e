"""No form or URL of one user is good for an object of another, whatever the settings.

The stand-in's own checker of signatures and policies judges them here, without HTTP, so
that many are judged.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import unquote, urlencode

from helpers.configuration import OBJECTS, load, policy
from helpers.examples import examples
from helpers.login.users import USERS
from hypothesis import assume, given
from hypothesis import strategies as st

from localcloud import ram
from localcloud.oss.errors import OssError
from localcloud.oss.form import Form, allowed_sizes, read_form_signature
from localcloud.oss.request import decode_path, read_query
from localcloud.oss.signature import read_signature
from localcloud.oss.signed import Signable
from localcloud.sts import ALLOW_ALL
from tokenserver.config.grants import Grant
from tokenserver.config.policy import fill_in
from tokenserver.documents import Credentials
from tokenserver.httpd.request import RequestError
from tokenserver.signed import order_of_grant, sign

NOW = 1_800_000_000.0
SECRET = "thesecretofthesigningtoken"
CREDENTIALS = Credentials(
    "STS.id", SECRET, "token", "2027-01-15T09:00:00Z", "2027-01-15T08:00:00Z"
)
POLICIES = {
    "own": policy(OBJECTS + "$OBJECT_PREFIX*", "oss:*Object"),
    "all": policy(OBJECTS + "*", "oss:*Object"),
}
ROLE = [ram.parse(ALLOW_ALL)]

PREFIXES = st.sampled_from(
    ["users/$USER_ID/", "$USER_ID/", "照片/$USER_ID/in/", "u/$USER_ID/$USER_ID/x"]
)
SHARED = st.sampled_from(["", "all/", "all/of/"])
UPLOADS: dict[str, st.SearchStrategy[Any]] = {
    "MaxSize": st.integers(1, 9),
    "ContentTypes": st.sampled_from(["image/png", "image/*", ["a/b", "c/d"]]),
    "ForbidOverwrite": st.booleans(),
}
NAMES = st.sampled_from(
    ["$FILENAME", "$UUID$EXTENSION", "$DATE/$FILENAME", "me", "in/$USER_ID/$FILENAME"]
)
OF_USERS = st.sampled_from(["$USER_ID/$FILENAME", "in/$USER_ID/$UUID", "$USER_ID/a"])


@st.composite
def grants(
    draw: st.DrawFn, *, kinds: tuple[str, ...] = ("form", "upload", "download")
) -> Grant:
    """Return a grant with any settings that give each user a folder."""
    values: dict[str, Any] = {"PolicyFile": draw(st.sampled_from(["own", "all"]))}
    values["ObjectPrefix"] = draw(PREFIXES)
    kind = draw(st.sampled_from(kinds))
    values["Type"] = "PostForm" if kind == "form" else "PresignedUrl"
    if kind == "download":
        values["Method"] = "GET"
    else:
        optional = {
            n: v for n, v in UPLOADS.items() if (kind, n) != ("upload", "MaxSize")
        }
        values |= draw(st.fixed_dictionaries({}, optional=optional))
        if draw(st.booleans()):
            values["ObjectName"] = draw(NAMES)
        if draw(st.booleans()):
            values["ObjectPrefix"] = draw(SHARED)
            values["PolicyFile"] = "all"
            values["ObjectName"] = draw(OF_USERS)
    config = load(POLICIES, Grants={"/a": values}, Region="cn-hangzhou")
    return config.grants["/a"]


def folder_of(grant: Grant, user: str) -> str:
    """Return what begins the names of all objects of *user*, and no other name."""
    resource = grant.signed_place
    mark = resource.partition("my-bucket/")[2]
    return fill_in_name(mark.partition("*")[0], user)


def fill_in_name(text: str, user: str) -> str:
    return str(json.loads(fill_in(json.dumps(text), user)))


def may_reach(grant: Grant, name: str) -> bool:
    """Return whether the policies of the signing token allow it on an object."""
    call = grant.call_for(None).complete()
    assert call.policy
    assert grant.terms
    resource = f"acs:oss:oss-cn-hangzhou:1234567890123456:my-bucket/{name}"
    decision = ram.decide(
        ROLE, ram.parse(call.policy), grant.terms.action, resource, {}
    )
    return decision is ram.Decision.ALLOWED


def is_taken_form(fields: dict[str, str], key: str) -> bool:
    """Return whether OSS takes a form with *key*, as its own checker sees it."""
    form = Form({**fields, "key": key}, "file.png", "image/png", iter(()))
    try:
        signature = read_form_signature(form, NOW, "cn-hangzhou", allow_v1=False)
        assert signature
        if not signature.matches(SECRET, "/my-bucket/"):
            return False
        allowed_sizes(form, "my-bucket", NOW)
    except OssError:
        return False
    return True


def is_taken_url(method: str, url: str, headers: dict[str, str], name: str) -> bool:
    """Return whether OSS takes *url* with the object *name* in its place."""
    query = read_query(url.partition("?")[2])
    names = {header.lower(): text for header, text in headers.items()}
    signable = Signable(method, query, names)
    signature = read_signature(signable, NOW, "cn-hangzhou", allow_v1=False)
    assert signature
    return signature.matches(SECRET, f"/my-bucket/{name}")


LIKE = st.sampled_from(["al", "alice", "alice.", "Alice", "in", "users", "u", "all"])
TAILS = st.one_of(
    st.sampled_from(["a", "a/b", "", "../x", "${filename}", "/", "."]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12),
)


@examples(300)
@given(
    grant=grants(),
    users=st.lists(st.one_of(USERS, LIKE), min_size=2, max_size=2, unique=True),
    filename=st.none() | TAILS,
    tail=TAILS,
    kind=st.sampled_from(["", "image/png", "a/b"]),
)
def test_what_is_signed_for_one_user_is_not_good_for_another(
    grant: Grant, users: list[str], filename: str | None, tail: str, kind: str
) -> None:
    one, other = users
    theirs = folder_of(grant, other)
    assert grant.terms
    asked = {"content_type": kind} if kind else {}
    if filename is not None:
        asked["filename"] = filename
    if grant.terms.method == "GET":
        asked = {"object": f"{folder_of(grant, one)}{filename}"}
    try:
        order = order_of_grant(grant, one, urlencode(asked), NOW)
    except RequestError:
        asked = {"object": f"{theirs}{filename}"}
        if grant.terms.method != "GET":
            return
        try:
            order_of_grant(grant, one, urlencode(asked), NOW)
        except RequestError:
            return
        raise AssertionError("one was given another's object") from None
    document = json.loads(sign(order, CREDENTIALS, NOW).document)

    name = f"{theirs}{tail}"
    if grant.terms.type == "PostForm":
        fields = document["fields"]
        own = fields.get("key", f"{grant.folder(one)}a")
        types = {"x-oss-content-type": kind} if kind else {}
        assert not is_taken_form({**types, **fields}, name)
        assert may_reach(grant, own)
        conditions = json.loads(base64.b64decode(fields["policy"]))["conditions"]
        assert {"key": fields["key"]} in conditions if "key" in fields else True
    else:
        own = document["object"]
        path = document["url"].partition("?")[0].partition("aliyuncs.com/")[2]
        assert decode_path(path) == unquote(path) == own
        headers = document["headers"]
        assert is_taken_url(document["method"], document["url"], headers, own)
        assert not is_taken_url(document["method"], document["url"], headers, name)
        assert may_reach(grant, own)
    assert own.startswith(folder_of(grant, one))
    assert not own.startswith(theirs)


@given(
    grant=grants(kinds=("form",)),
    user=USERS,
    kind=st.sampled_from(["image/png", "a/b", "c/d"]),
)
def test_what_is_signed_is_good_for_the_user_it_is_signed_for(
    grant: Grant, user: str, kind: str
) -> None:
    """Or the test above would show nothing."""
    assert grant.terms
    assume(grant.terms.allows_type(kind))

    order = order_of_grant(grant, user, f"filename=a&content_type={kind}", NOW)
    fields = json.loads(sign(order, CREDENTIALS, NOW).document)["fields"]

    assert is_taken_form(fields, fields["key"])
