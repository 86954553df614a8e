"""What OSS is told of a callback, what it signs, and what it posts."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tokenserver.oss.callback import (
    OSS_KEY,
    REPORTED,
    Ticket,
    callback_of,
    is_key_of_oss,
    is_signed,
    open_ticket,
    public_key,
    read_report,
    variables_of,
)

# Two reports that OSS really sent, from public questions about them
REAL = [
    pytest.param(
        "/index.php?id=1&index=2",
        b"bucket=yonghu-test",
        "kKQeGTRccDKyHB3H9vF+xYMSrmhMZjzzl2/kdD1ktNVgbWEfYTQG0G2SU/RaHBovRCE8OkQDjC3u"
        "G33esH2txA==",
        id="with a query",
    ),
    pytest.param(
        "/api/File/15/upload_notify/",
        b"filename=zmaplex%2F20210407_14%3A31%3A41_286180%2F20200130021612_pnfqp.jpg"
        b"&size=112595",
        "aMYUW1arI/qpU7cp/DCGXS56iFJPxwe7K3QIFVvbtSgiE6vwuu4/HuBxyDDX5IKU8vSJg/BI956S"
        "zVsRQt969g==",
        id="with an encoded name",
    ),
]


@pytest.mark.parametrize(("target", "body", "signature"), REAL)
def test_a_report_that_oss_signed_is_verified(
    target: str, body: bytes, signature: str
) -> None:
    assert is_signed([OSS_KEY], signature, target, body)


@pytest.mark.parametrize(("target", "body", "signature"), REAL)
def test_any_change_to_what_oss_signed_is_noticed(
    target: str, body: bytes, signature: str
) -> None:
    sign = base64.b64decode(signature)
    other = base64.b64encode(sign[:-1] + bytes([sign[-1] ^ 1])).decode()

    for changed_target, changed_body, changed_signature in [
        (f"{target}x", body, signature),
        (target, body + b"&size=1", signature),
        (target, body, other),
        (target, body, base64.b64encode(b"\0" + sign).decode()),
        (target, body, base64.b64encode(sign[1:]).decode()),
        (target, body, base64.b64encode(bytes(64)).decode()),
        (target, body, base64.b64encode(b"\xff" * 64).decode()),
        (target, body, signature + "\n"),
        (target, body, ""),
        (target, body, "é"),
    ]:
        assert not is_signed(
            [OSS_KEY], changed_signature, changed_target, changed_body
        ), (changed_target, changed_body, changed_signature)


def key_pair(bits: int = 1024) -> RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(key: RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        .decode()
    )


def test_a_key_of_ones_own_verifies_what_it_signed() -> None:
    key = key_pair()
    message = b"/callback path\nbody"
    signature = key.sign(message, padding.PKCS1v15(), hashes.MD5())
    text = base64.b64encode(signature).decode()

    assert is_signed([OSS_KEY, public_key(pem(key))], text, "/callback%20path", b"body")
    assert not is_signed(
        [public_key(pem(key_pair()))], text, "/callback%20path", b"body"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(key_pair()).replace("MI", "MJ", 1),
    ],
)
def test_what_is_not_an_rsa_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a(n RSA key| public key in PEM)"):
        public_key(text)


@pytest.mark.parametrize(
    ("url", "is_its"),
    [
        ("http://gosspublic.alicdn.com/callback_pub_key_v1.pem", True),
        ("https://gosspublic.alicdn.com/callback_pub_key_v1.pem", True),
        ("https://gosspublic.alicdn.com.example.com/key.pem", False),
        ("https://gosspublic.alicdn.com@example.com/key.pem", False),
        ("https://example.com/https://gosspublic.alicdn.com/", False),
        ("", False),
    ],
)
def test_a_key_of_oss_is_at_one_host(url: str, is_its: bool) -> None:
    assert is_key_of_oss(base64.b64encode(url.encode()).decode()) is is_its


# --- Tickets --------------------------------------------------------------------

TICKET = Ticket("/avatars", "alicé", "my-bucket", "avatars/alicé/", 1_800_000_000)
SECRET, OTHER = b"s" * 32, b"o" * 32


def test_a_ticket_says_what_it_was_given_for() -> None:
    assert open_ticket([OTHER, SECRET], TICKET.sealed(SECRET)) == TICKET


def test_a_ticket_that_was_changed_is_refused() -> None:
    text, _, proof = TICKET.sealed(SECRET).partition(".")
    others = replace(TICKET, user="bob").sealed(SECRET).partition(".")[0]

    for sealed in (
        f"{others}.{proof}",
        f"{text}.{proof[:-1]}",
        f"{text}.{'A' * len(proof)}",
        f"{text}.é",
        f"{text}",
        f".{proof}",
        "",
        TICKET.sealed(OTHER),
    ):
        with pytest.raises(ValueError, match="not issued by this server"):
            open_ticket([SECRET], sealed)


# --- Texts ----------------------------------------------------------------------


def decoded(text: str) -> dict[str, str]:
    return dict(json.loads(base64.b64decode(text)))


def test_oss_is_told_what_to_post_and_with_which_ticket() -> None:
    callback = decoded(callback_of("https://app.example.com/uploaded", ["x:album"]))

    assert callback["callbackUrl"] == "https://app.example.com/uploaded"
    assert callback["callbackBodyType"] == "application/x-www-form-urlencoded"
    assert callback["callbackBody"].startswith("bucket=${bucket}&object=${object}&")
    assert callback["callbackBody"].endswith("&x:ticket=${x:ticket}&x:album=${x:album}")
    assert decoded(variables_of("a.b")) == {"x:ticket": "a.b"}


BODY = "&".join(f"{name}=1" for name in REPORTED).encode() + b"&x:ticket=a.b"


def test_a_report_is_read_as_oss_encodes_it() -> None:
    report = read_report(BODY.replace(b"object=1", b"object=a%2Fb+%E7%9B%AE%2B"))

    assert report["object"] == "a/b 目+"
    assert report["x:ticket"] == "a.b"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(BODY + b"&size=2", id="a name twice"),
        pytest.param(BODY.replace(b"&size=1", b""), id="a name missing"),
        pytest.param(BODY.replace(b"object=1", b"object=%FF"), id="not UTF-8"),
        pytest.param(BODY.replace(b"object=1", b"object=\xe7"), id="not encoded"),
        pytest.param(b"{}", id="JSON"),
        pytest.param(BODY + b"&a" * 200, id="many names"),
    ],
)
def test_a_report_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(it|a name) "):
        read_report(body)
