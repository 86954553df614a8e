"""The arithmetic of OSS signatures, without a server: known values, and properties."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from urllib.parse import quote, unquote

import pytest
from alibabacloud_oss_v2.credentials import StaticCredentialsProvider
from alibabacloud_oss_v2.signer import SignerV1, SignerV4
from alibabacloud_oss_v2.types import HttpRequest, SigningContext
from hypothesis import given
from hypothesis import strategies as st
from oss2 import ProviderAuth

from localcloud.oss.errors import OssError
from localcloud.oss.signature import read_signature
from localcloud.oss.signed import SIGNED_SUBRESOURCES, Signable, Signature
from localcloud.oss.times import read_date

SECRET = "secretexample"
TOKEN = "TOK/+="
REGION = "cn-hangzhou"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()
DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
ISO_DATE = "20260102T030405Z"
SCOPE = f"20260102/{REGION}/oss/aliyun_v4_request"
CREDENTIAL = f"STS.example/{SCOPE}"
RESOURCE = "/bkt-1/dir/a b+目.txt"

# --- Known values -----------------------------------------------------------------

HEADERS = {
    "content-type": "text/plain",
    "content-md5": "eB5eJF1ptWaXm4bijSPyxw==",
    "x-oss-meta-k": "v",
}
V1_HEADER = Signable(
    "PUT",
    {"acl": ""},
    {
        **HEADERS,
        "date": DATE,
        "security-token": TOKEN,
        "authorization": "OSS STS.example:fde7caGToaaMwzZYcLVG3lKkvUw=",
    },
)
V1_URL = Signable(
    "PUT",
    {
        "acl": "",
        "OSSAccessKeyId": "STS.example",
        "Expires": "1767323645",
        "Signature": "ET+zOfE/9TiQvsFIzlGpdDqvPH0=",
        "security-token": TOKEN,
    },
    HEADERS,
)
V4_HEADER = Signable(
    "PUT",
    {"acl": ""},
    {
        **HEADERS,
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": ISO_DATE,
        "x-oss-security-token": TOKEN,
        "authorization": f"OSS4-HMAC-SHA256 Credential={CREDENTIAL},Signature="
        "40058d2200fe6add3455cbcb7a8b96f29e710b6c7bb5cb9f8f121c9ec58dbb9d",
    },
)
V4_URL = Signable(
    "PUT",
    {
        "acl": "",
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": CREDENTIAL,
        "x-oss-date": ISO_DATE,
        "x-oss-expires": "600",
        "x-oss-security-token": TOKEN,
        "x-oss-signature": "55d771201599dc184c5e974c6fc82301"
        "2f99a294cdeb5bb251149f015383951e",
    },
    HEADERS,
)
each_way = pytest.mark.parametrize(
    "request_",
    [
        pytest.param(V1_HEADER, id="V1 header"),
        pytest.param(V1_URL, id="V1 URL"),
        pytest.param(V4_HEADER, id="V4 header"),
        pytest.param(V4_URL, id="V4 URL"),
    ],
)


def read(request: Signable) -> Signature:
    signature = read_signature(request, NOW, REGION, allow_v1=True)
    assert signature
    return signature


@each_way
def test_a_known_signature_is_right(request_: Signable) -> None:
    signature = read(request_)

    assert signature.matches(SECRET, RESOURCE)
    assert signature.access_key_id == "STS.example"
    assert signature.security_token == TOKEN


@each_way
def test_a_known_signature_is_wrong_for_another_secret_or_resource(
    request_: Signable,
) -> None:
    signature = read(request_)

    assert not signature.matches(SECRET + "x", RESOURCE)
    assert not signature.matches("", RESOURCE)
    assert not signature.matches(SECRET, RESOURCE + "x")
    assert not signature.matches(SECRET, RESOURCE.upper())
    assert not signature.matches(SECRET, quote(RESOURCE))
    assert not signature.matches(SECRET, "/")


def test_v1_signs_these_lines() -> None:
    assert read(V1_HEADER).string_to_sign(RESOURCE).split("\n") == [
        "PUT",
        "eB5eJF1ptWaXm4bijSPyxw==",
        "text/plain",
        DATE,
        "x-oss-meta-k:v",
        f"{RESOURCE}?acl",
    ]
    assert read(V1_URL).string_to_sign(RESOURCE).split("\n")[3:] == [
        "1767323645",
        "x-oss-meta-k:v",
        f"{RESOURCE}?acl&security-token={TOKEN}",
    ]


def test_v4_signs_these_lines() -> None:
    signature = read(V4_HEADER)
    assert signature.canonical_request
    canonical_request = signature.canonical_request(RESOURCE)

    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    assert digest == "97c599e482cbc0ed8139277c7d45bba317bcb073e3ddb0bb6e7c676a86a497f4"
    assert signature.string_to_sign(RESOURCE).split("\n") == [
        "OSS4-HMAC-SHA256",
        ISO_DATE,
        SCOPE,
        digest,
    ]
    assert canonical_request.split("\n") == [
        "PUT",
        "/bkt-1/dir/a%20b%2B%E7%9B%AE.txt",
        "acl",
        "content-md5:eB5eJF1ptWaXm4bijSPyxw==",
        "content-type:text/plain",
        "x-oss-content-sha256:UNSIGNED-PAYLOAD",
        f"x-oss-date:{ISO_DATE}",
        "x-oss-meta-k:v",
        f"x-oss-security-token:{TOKEN}",
        "",
        "",
        "UNSIGNED-PAYLOAD",
    ]


@each_way
def test_no_part_of_a_signature_shows_its_secrets(request_: Signable) -> None:
    signature = read(request_)
    shown = f"{request_!r} {signature!r}"

    assert TOKEN not in shown
    assert signature.given not in shown


# --- Properties -------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
NAMES = st.one_of(TEXT, st.sampled_from(sorted(SIGNED_SUBRESOURCES)))
QUERIES = st.dictionaries(NAMES.filter(bool), TEXT, max_size=4)
SDK_SUBRESOURCES = sorted(
    ProviderAuth._subresource_key_set | SignerV1._subresource_key_set
)
META = st.dictionaries(
    st.from_regex(r"x-oss-meta-[a-z-]{1,5}", fullmatch=True), VISIBLE
)


OTHER_SCHEMES = {
    "awsaccesskeyid",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-signature",
    "x-oss-access-key-id",
}


def without_signature(query: Mapping[str, str]) -> dict[str, str]:
    """Return *query* without what a signed URL has in it, of whatever scheme."""
    return {
        name: value
        for name, value in query.items()
        if name not in V1_URL.query
        and name not in V4_URL.query
        and name.lower() not in OTHER_SCHEMES
    }


@st.composite
def signables(draw: st.DrawFn) -> tuple[Signable, str]:
    """Return a request that is signed, somehow, and its resource."""
    resource = "/bkt-1/" + draw(st.sampled_from(["a", "a b", "目", "a?acl", "a\nb"]))
    query = without_signature(draw(st.one_of(st.just({"acl": ""}), QUERIES)))
    headers = {**V4_HEADER.headers, **draw(META)}
    method = draw(st.sampled_from(["GET", "PUT"]))
    return Signable(method, query, headers), resource


@given(signables(), signables())
def test_v4_signs_two_requests_alike_only_if_they_are_the_same(
    one: tuple[Signable, str], other: tuple[Signable, str]
) -> None:
    strings = [
        read(request).string_to_sign(resource) for request, resource in (one, other)
    ]

    assert (strings[0] == strings[1]) == (one == other)


@given(st.dictionaries(st.sampled_from(sorted(SIGNED_SUBRESOURCES)), TEXT), QUERIES)
def test_v1_signs_no_parameters_but_subresources(
    signed: dict[str, str], others: dict[str, str]
) -> None:
    others = {n: v for n, v in others.items() if n not in SIGNED_SUBRESOURCES}
    plain = replace(V1_HEADER, query=without_signature(signed))
    more = replace(V1_HEADER, query=without_signature({**signed, **others}))

    assert read(plain).string_to_sign("/b/k") == read(more).string_to_sign("/b/k")


@pytest.mark.parametrize("name", SDK_SUBRESOURCES)
def test_v1_signs_what_the_sdks_sign(name: str) -> None:
    request = replace(V1_HEADER, query={"max-keys": "1", name: "2", "prefix": "3"})

    assert read(request).string_to_sign("/b/k").endswith(f"/b/k?{name}=2")


@given(key=TEXT.filter(bool), query=QUERIES, meta=META, in_url=st.booleans())
@pytest.mark.parametrize("version", ["V1", "V4"])
def test_what_the_sdk_signs_is_right(
    version: str, key: str, query: dict[str, str], meta: dict[str, str], in_url: bool
) -> None:
    query = without_signature(query)
    if version == "V1":  # of which the SDK knows fewer subresources
        known = SignerV1._subresource_key_set
        query = {
            n: v for n, v in query.items() if n in known or n not in SIGNED_SUBRESOURCES
        }
    pairs = [f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in query.items()]
    request = HttpRequest(
        "GET", f"http://host/bkt-1/{quote(key)}?{'&'.join(pairs)}", headers=meta
    )
    context = SigningContext(
        product="oss",
        region=REGION,
        bucket="bkt-1",
        key=key,
        request=request,
        credentials=StaticCredentialsProvider(
            "STS.example", SECRET, TOKEN
        ).get_credentials(),
        signing_time=datetime.fromtimestamp(NOW, timezone.utc),
    )
    context.expiration_time = datetime.fromtimestamp(NOW + 60, timezone.utc)
    context.auth_method_query = in_url
    {"V1": SignerV1, "V4": SignerV4}[version]().sign(context)
    sent = [
        pair.partition("=")[::2] for pair in request.url.partition("?")[2].split("&")
    ]

    signature = read(
        Signable(
            "GET",
            {unquote(name): unquote(value) for name, value in sent if name},
            {name.lower(): value for name, value in request.headers.items()},
        )
    )

    assert signature.matches(SECRET, f"/bkt-1/{key}")
    assert signature.security_token == TOKEN


# --- What is no signature -----------------------------------------------------------

AUTHORIZATIONS = st.one_of(
    TEXT,
    TEXT.map("OSS {}".format),
    st.lists(
        st.one_of(
            TEXT,
            st.sampled_from(
                [f"Credential={CREDENTIAL}", "Signature=0", "AdditionalHeaders=;host;"]
            ),
            st.tuples(st.sampled_from(["Credential", "Signature"]), TEXT).map("=".join),
            TEXT.map(lambda scope: f"Credential=a/{scope}/oss/aliyun_v4_request"),
        )
    ).map(lambda fields: "OSS4-HMAC-SHA256 " + ",".join(fields)),
)
DATES = st.one_of(
    TEXT,
    st.sampled_from(
        [
            DATE,
            ISO_DATE,
            "Fri, 02 Jan 2026 03:04:05 +99999999999999999",
            "99999999999 Jan 2026 03:04:05 GMT",
            "Fri, 31 Dec 9999 23:59:59 -2359",
            "99999999T999999Z",
            "00010101T000000Z",
        ]
    ),
    st.from_regex(
        r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]?\d{0,9}"
    ),
    st.from_regex(r"\d{8}T\d{6}Z", fullmatch=True),
)


@given(
    AUTHORIZATIONS,
    DATES,
    st.dictionaries(
        st.sampled_from([*V1_URL.query, *V4_URL.query]),
        st.one_of(TEXT, DATES, st.just(CREDENTIAL), st.integers().map(str)),
    ),
    st.sampled_from(["date", "x-oss-date"]),
)
def test_nonsense_is_refused_or_wrong(
    authorization: str, date: str, query: dict[str, str], date_header: str
) -> None:
    headers = {
        "authorization": authorization,
        date_header: date,
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
    }
    for request in (
        Signable("GET", {}, headers),
        Signable("GET", query, {}),
        Signable("GET", query, headers),
    ):
        with contextlib.suppress(OssError):
            signature = read_signature(request, NOW, REGION, allow_v1=True)
            assert not signature or not signature.matches(SECRET, "/bkt-1/key")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param(DATE, NOW, id="RFC 1123"),
        pytest.param("Fri, 02 Jan 2026 03:04:05 +0000", NOW, id="offset"),
        pytest.param("Fri, 02 Jan 2026 11:04:05 +0800", NOW, id="other offset"),
        pytest.param("Fri, 02 Jan 2026 03:04:05", NOW, id="no zone"),
        pytest.param(ISO_DATE, NOW, id="form of V4"),
        pytest.param("2026-01-02T03:04:05Z", None, id="other ISO form"),
        pytest.param("20260230T030405Z", None, id="form of V4, no such day"),
        pytest.param("20260102T030460Z", None, id="form of V4, no such second"),
        pytest.param(ISO_DATE.replace("5", "\u0665"), None, id="other digits"),
        pytest.param("Fri, 30 Feb 2026 03:04:05 GMT", None, id="no such day"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -0001", None, id="year 10000"),
        pytest.param("Fri, 02 Jan 2026 03:04:05 +" + "9" * 20, None, id="no offset"),
        pytest.param("9" * 20 + " Jan 2026 03:04:05 GMT", None, id="no day at all"),
        pytest.param("1767323045", None, id="unix seconds"),
        pytest.param("", None, id="empty"),
    ],
)
def test_a_date_is_read_or_is_none(text: str, seconds: float | None) -> None:
    assert read_date(text) == seconds


@given(DATES)
def test_no_text_is_too_much_for_the_reader_of_dates(text: str) -> None:
    seconds = read_date(text)

    assert seconds is None or datetime.fromtimestamp(seconds, timezone.utc)
