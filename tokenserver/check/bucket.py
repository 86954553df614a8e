"""Whether the bucket exists, in which region, and whether web pages may upload to it.

OSS says so even to a request without a signature: its error code tells whether the
bucket exists, and whether it is in another region.

Sources: "GetBucket (ListObjects)", "OPTIONS", "Cross-origin resource sharing" and the
error codes 0003-00001403 and 0015-00000101 (OSS documentation).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import requests

from tokenserver.check import bucket_texts
from tokenserver.check.probe import Unanswered, ask
from tokenserver.check.report import OK, PROBLEM, WARNING, Finding, Kind
from tokenserver.check.texts import Language, Text
from tokenserver.errors import Cause
from tokenserver.oss.bucket import Bucket, region_of

MOST_ORIGINS = 5  # that are looked at
SOME_ORIGIN = "https://app.example.com"  # where any web page may ask for tokens
# What the browsers' SDK sends with a part of an object
SENT_HEADERS = (
    "authorization, content-type, x-oss-content-sha256, x-oss-date, "
    "x-oss-security-token, x-oss-user-agent"
)


def look_at_buckets(
    buckets: Collection[Bucket],
    origins: Collection[str] | None,
    language: Language = "en",
) -> Iterator[Finding]:
    """Yield the findings about *buckets*, with remedies in *language*.

    Pages of *origins* upload to them; None means that the pages are not known.
    """
    for bucket in sorted(buckets, key=lambda one: (one.name, one.host)):
        found = look_at_bucket(bucket, language)
        yield found
        if found.level == PROBLEM:
            continue
        if origins is None:
            yield look_at_cors(bucket, SOME_ORIGIN, WARNING, language)
        else:
            for origin in sorted(origins)[:MOST_ORIGINS]:
                yield look_at_cors(bucket, origin, PROBLEM, language)


def look_at_bucket(bucket: Bucket, language: Language) -> Finding:
    """Return whether the bucket is in its configured place."""

    def finding(level: str, text: str, remedy: Text | None = None) -> Finding:
        said = remedy.said(language, **values) if remedy else ""
        return Finding(level, text, said, Kind.BUCKET)

    where = f"bucket {bucket.name}: {bucket.host}"
    values = {"bucket": bucket.name, "host": bucket.host, "region": ""}
    try:
        answer = ask("GET", f"{bucket.host}/?max-keys=1", {})
    except Unanswered as unanswered:
        text = f"{where}: {unanswered}"
        if unanswered.cause is Cause.NO_NAME:
            return finding(PROBLEM, text, bucket_texts.NO_NAME)
        return finding(WARNING, text, bucket_texts.UNREACHABLE)
    code, region = element(answer, "Code"), region_of(element(answer, "Endpoint"))
    text = f"{where}: HTTP {answer.status_code} {code}".strip()
    values["region"] = region
    if "x-oss-request-id" not in answer.headers:
        return finding(PROBLEM, text, bucket_texts.NOT_OSS)
    if code == "NoSuchBucket":
        return finding(PROBLEM, text, bucket_texts.NO_BUCKET)
    if region and region != bucket.region:
        return finding(PROBLEM, f"{text}, in {region}", bucket_texts.OTHER_REGION)
    if answer.status_code == 200:
        return finding(WARNING, f"{where}: is public", bucket_texts.PUBLIC)
    if code == "AccessDenied":
        return finding(OK, f"{where}: exists and is not public")
    return finding(WARNING, text)


def look_at_cors(
    bucket: Bucket, origin: str, level: str, language: Language
) -> Finding:
    """Return whether pages of *origin* may upload; if not, with this *level*."""

    def finding(level: str, text: str, remedy: Text | None = None) -> Finding:
        values = {"bucket": bucket.name, "origin": origin}
        said = remedy.said(language, **values) if remedy else ""
        return Finding(level, f"{what}: {text}", said, Kind.BUCKET)

    what = f"CORS of bucket {bucket.name} for {origin}"
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": SENT_HEADERS,
    }
    try:
        answer = ask("OPTIONS", f"{bucket.host}/check", headers)
    except Unanswered as unanswered:
        return finding(WARNING, str(unanswered))
    allowed = answer.headers.get("Access-Control-Allow-Origin", "")
    exposed = answer.headers.get("Access-Control-Expose-Headers", "").lower()
    if answer.status_code != 200 or allowed not in ("*", origin):
        text = f"no rule allows it (HTTP {answer.status_code})"
        return finding(level, text, bucket_texts.NO_RULE)
    if "etag" not in re.split(r"[,\s]+", exposed):
        return finding(WARNING, "hides ETag", bucket_texts.HIDES_ETAG)
    return finding(OK, "allowed")


def element(answer: requests.Response, name: str) -> str:
    """Return the text of an element of an XML document, "" if it has none."""
    text = answer.content.decode("utf-8", "replace")
    match = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return match[1] if match else ""
