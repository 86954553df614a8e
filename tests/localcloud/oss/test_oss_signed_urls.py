"""Until when a signature is good, in headers and in URLs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from helpers.oss.client import DENIED, INVALID, MISMATCH, OK, send
from helpers.oss.cloud import Cloud
from helpers.oss.signing import (
    BUCKET,
    CAT,
    V1_HEADER,
    V1_URL,
    V4_HEADER,
    V4_URL,
    KeyPair,
    Message,
    Scheme,
    http_date,
    in_headers,
    in_urls,
    iso_time,
)

MINUTES = 60.0
DAY = 24 * 60 * MINUTES

# --- Time -----------------------------------------------------------------------------
DATES = [
    pytest.param(V1_HEADER, "date", http_date, id="V1 Date"),
    pytest.param(V1_HEADER, "x-oss-date", http_date, id="V1 x-oss-date"),
    pytest.param(
        V1_HEADER, "x-oss-date", iso_time, id="V1 x-oss-date in the form of V4"
    ),
    pytest.param(V1_HEADER, "date", iso_time, id="V1 Date in the form of V4"),
    pytest.param(V4_HEADER, "x-oss-date", iso_time, id="V4 x-oss-date"),
    pytest.param(V4_HEADER, "date", iso_time, id="V4 Date"),
    pytest.param(V4_HEADER, "date", http_date, id="V4 Date in the form of V1"),
]


@pytest.mark.parametrize(("scheme", "header", "form"), DATES)
@pytest.mark.parametrize("direction", [-1, 1], ids=["slow", "fast"])
def test_a_clock_may_be_15_minutes_off_and_no_second_more(
    cloud: Cloud,
    key: KeyPair,
    scheme: Scheme,
    header: str,
    form: Callable[[float], str],
    direction: int,
) -> None:
    outcomes = []
    for seconds in (15 * MINUTES, 15 * MINUTES + 1):
        signed_at = cloud.clock.now + direction * seconds
        message = Message(headers={header: form(signed_at)})
        reply = send(cloud.oss, scheme.sign(message, key, signed_at))
        outcomes.append(reply.outcome)

    too_far = INVALID if scheme.is_v4 else (403, "RequestTimeTooSkewed")
    assert outcomes == [OK, too_far]


def test_a_client_whose_clock_is_wrong_learns_the_time(
    cloud: Cloud, key: KeyPair
) -> None:
    message = V1_HEADER.sign(Message(), key, cloud.clock.now - DAY)

    reply = send(cloud.oss, message)

    moment = re.sub(r"[-:]|\.000", "", reply.text("ServerTime"))
    assert moment == iso_time(cloud.clock.now)
    assert reply.headers["date"] == http_date(cloud.clock.now)
    assert reply.text("MaxAllowedSkewMilliseconds") == "900000"


def test_a_phone_whose_clock_is_wrong_sets_it_by_date(
    cloud: Cloud, key: KeyPair
) -> None:
    message = V4_HEADER.sign(Message(), key, cloud.clock.now - DAY)

    reply = send(cloud.oss, message)

    # The SDKs for Android (2.9.20) and iOS (2.11.1) look for this very sentence.
    assert reply.text("Message") == "Invalid signing date in Authorization header."
    assert reply.headers["date"] == http_date(cloud.clock.now)


@pytest.mark.parametrize(("scheme", "header", "form"), DATES)
def test_x_oss_date_counts_for_more_than_date(
    cloud: Cloud,
    key: KeyPair,
    scheme: Scheme,
    header: str,
    form: Callable[[float], str],
) -> None:
    now = cloud.clock.now
    other = {"date": "x-oss-date", "x-oss-date": "date"}[header]
    message = Message(headers={header: form(now), other: form(now - DAY)})

    reply = send(cloud.oss, scheme.sign(message, key, now))

    assert (reply.outcome == OK) == (header == "x-oss-date")


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "2026-01-02T03:04:05Z",
        "20260230T030405Z",
        "20261302T030405Z",
        "1767323045",
        "Fri, 02 Jan 2026 25:04:05 GMT",
        "Fri, 02 Jan 2026 03:04:05 +99999999999999999999",
        "99999999999 Jan 2026 03:04:05 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "日期",
        "0" * 5000,
    ],
    ids=lambda date: date[:40],
)
@pytest.mark.parametrize("header", ["date", "x-oss-date"])
@in_headers
def test_a_date_that_is_none_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme, header: str, date: str
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now)
    message = message.with_headers(date=None).with_headers(**{header: date})

    reply = send(cloud.oss, message)

    assert reply.outcome == (INVALID if scheme.is_v4 else DENIED)
    assert "date" in reply.text("Message").lower()


@pytest.mark.parametrize("scheme", [V1_HEADER, V4_HEADER], ids=["V1", "V4"])
def test_a_request_without_a_date_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now).with_headers(date=None)

    reply = send(cloud.oss, message)

    assert reply.outcome == (INVALID if scheme.is_v4 else DENIED)


def test_a_request_may_be_on_its_way_over_midnight(cloud: Cloud, key: KeyPair) -> None:
    midnight = (cloud.clock.now // DAY + 1) * DAY
    message = V4_HEADER.sign(Message(), key, midnight - 1)
    cloud.clock.now = midnight + 1

    assert send(cloud.oss, message).outcome == OK


def test_a_scope_of_another_day_than_the_time_is_refused(
    cloud: Cloud, key: KeyPair
) -> None:
    today, yesterday = iso_time(cloud.clock.now), cloud.clock.now - DAY
    in_header = V4_HEADER.sign(Message(headers={"x-oss-date": today}), key, yesterday)
    in_url = V4_URL.sign(Message(query={"x-oss-date": today}), key, yesterday)

    assert send(cloud.oss, in_header).outcome == INVALID
    assert send(cloud.oss, in_url).outcome == INVALID


# --- Signed URLs ----------------------------------------------------------------------
@in_urls
def test_a_url_works_until_the_second_it_expires(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now, expires=60)
    cloud.clock.now += 60
    in_time = send(cloud.oss, message)
    cloud.clock.now += 1
    late = send(cloud.oss, message)

    assert in_time.outcome == OK
    assert (late.outcome, late.text("Message")) == (DENIED, "Request has expired.")


@in_urls
def test_an_expired_url_is_not_blamed_on_its_signature(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    wrong = KeyPair("unknown", "wrong")
    message = scheme.sign(Message(), wrong, cloud.clock.now, expires=60)
    cloud.clock.now += 61

    assert send(cloud.oss, message).text("Message") == "Request has expired."


@pytest.mark.parametrize(
    ("expires", "outcome"),
    [
        pytest.param("1", OK, id="a second"),
        pytest.param("604800", OK, id="7 days"),
        pytest.param("0604800", OK, id="7 days and a zero"),
        pytest.param("604801", INVALID, id="a second more"),
        pytest.param("0", INVALID, id="no time"),
        pytest.param("-1", INVALID, id="negative"),
        pytest.param("1.5", INVALID, id="fraction"),
        pytest.param("1e3", INVALID, id="exponent"),
        pytest.param("٦٠", INVALID, id="other digits"),
        pytest.param("9" * 5000, INVALID, id="huge"),
        pytest.param("", DENIED, id="empty"),
    ],
)
def test_a_v4_url_lasts_for_a_week_at_most(
    cloud: Cloud, key: KeyPair, expires: str, outcome: tuple[int, str]
) -> None:
    message = Message(query={"x-oss-expires": expires})

    reply = send(cloud.oss, V4_URL.sign(message, key, cloud.clock.now))

    assert reply.outcome == outcome


@pytest.mark.parametrize(
    "expires",
    [
        "",
        "x",
        "-1",
        "1e9",
        "0x7fffffff",
        "1767323645.5",
        " 9999999999",
        "9" * 19,
        "9" * 5000,
        "\uff19" * 10,
    ],
    ids=lambda expires: expires[:20],
)
def test_a_v1_url_needs_a_time_to_expire_at(
    cloud: Cloud, key: KeyPair, expires: str
) -> None:
    message = Message(query={"Expires": expires})

    reply = send(cloud.oss, V1_URL.sign(message, key, cloud.clock.now))

    assert reply.outcome == DENIED
    assert reply.xml.findtext("EC") == ("0002-00000070" if expires else None)


def test_milliseconds_are_a_time_in_a_far_future(cloud: Cloud, key: KeyPair) -> None:
    for expires in (f"{cloud.clock.now * 1000:.0f}", "9" * 13, "9" * 18):
        message = Message(query={"Expires": expires})

        assert send(cloud.oss, V1_URL.sign(message, key, cloud.clock.now)).outcome == OK


def test_a_v4_url_is_not_valid_long_before_it_was_signed(
    cloud: Cloud, key: KeyPair
) -> None:
    soon = V4_URL.sign(Message(), key, cloud.clock.now + 15 * MINUTES)
    later = V4_URL.sign(Message(), key, cloud.clock.now + 15 * MINUTES + 1)

    assert send(cloud.oss, soon).outcome == OK
    assert send(cloud.oss, later).outcome == INVALID


@in_urls
def test_a_url_without_one_of_its_parts_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now)
    for name in message.query:
        for value in (None, ""):
            reply = send(cloud.oss, message.with_query({name: value}))

            assert reply.outcome == DENIED, name


@in_urls
def test_a_url_carries_its_security_token(cloud: Cloud, scheme: Scheme) -> None:
    key = cloud.session()
    without = KeyPair(key.access_key_id, key.access_key_secret)
    in_header = Message(headers={"x-oss-security-token": key.security_token})
    now = cloud.clock.now

    assert send(cloud.oss, scheme.sign(Message(), key, now)).outcome == OK
    for message in (Message(), in_header):
        reply = send(cloud.oss, scheme.sign(message, without, now))

        assert reply.outcome == (403, "InvalidSecurityToken")


@in_urls
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_url_is_for_one_method(
    cloud: Cloud, key: KeyPair, scheme: Scheme, method: str
) -> None:
    message = scheme.sign(Message(method, body=b""), key, cloud.clock.now)
    for other in {"GET", "HEAD", "PUT", "DELETE", "POST"} - {method}:
        reply = send(cloud.oss, replace(message, method=other))

        assert reply.status == 403

    assert send(cloud.oss, message).status in (200, 204)


@in_urls
def test_a_url_for_an_upload_fixes_its_content_type(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = Message("PUT", headers={"content-type": "image/png"}, body=b"new")
    message = scheme.sign(message, key, cloud.clock.now)

    other = send(cloud.oss, message.with_headers(content_type="text/html"))
    none = send(cloud.oss, message.with_headers(content_type=None))
    assert [other.outcome, none.outcome] == [MISMATCH] * 2
    assert cloud.buckets[BUCKET].read(CAT) == b"meow"

    assert send(cloud.oss, message).outcome == OK
    assert cloud.buckets[BUCKET].read(CAT) == b"new"
