"""Whether the bucket is there, where it is, and whether web pages may upload to it.

OSS says so without a signature: who may not list a bucket hears that it is there, that
it is not, or that it is in another region.

Sources: "GetBucket (ListObjects)", "OPTIONS", "Cross-origin resource sharing" and the
error codes 0003-00001403 and 0015-00000101 (OSS documentation).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import requests

from tokenserver.check.probe import Unanswered, ask
from tokenserver.check.report import OK, PROBLEM, WARNING, Finding, Kind
from tokenserver.errors import Cause
from tokenserver.oss.bucket import Bucket, region_of

MOST_ORIGINS = 5  # that are looked at
SOME_ORIGIN = "https://app.example.com"  # where any web page may ask for tokens
# What the browsers' SDK sends with a part of an object
SENT_HEADERS = (
    "authorization, content-type, x-oss-content-sha256, x-oss-date, "
    "x-oss-security-token, x-oss-user-agent"
)
CONSOLE = "OSS console > Buckets"


def look_at_buckets(
    buckets: Collection[Bucket], origins: Collection[str] | None
) -> Iterator[Finding]:
    """Yield what is found of *buckets*.

    Pages of *origins* are to upload to them; None stands for pages that are not known.
    """
    for bucket in sorted(buckets, key=lambda one: (one.name, one.host)):
        found = look_at_bucket(bucket)
        yield found
        if found.level == PROBLEM:
            continue
        if origins is None:
            yield look_at_cors(bucket, SOME_ORIGIN, WARNING)
        else:
            for origin in sorted(origins)[:MOST_ORIGINS]:
                yield look_at_cors(bucket, origin, PROBLEM)


def look_at_bucket(bucket: Bucket) -> Finding:
    """Return whether the bucket is where it is said to be."""
    where = f"bucket {bucket.name}: {bucket.host}"
    try:
        answer = ask("GET", f"{bucket.host}/?max-keys=1", {})
    except Unanswered as unanswered:
        text = f"{where}: {unanswered}"
        if unanswered.cause is Cause.NO_NAME:
            remedy = (
                f"The name in {bucket.host} cannot be resolved. Look for a typo in "
                "Region, Endpoint and Host."
            )
            return Finding(PROBLEM, text, remedy, Kind.BUCKET)
        remedy = (
            "This machine cannot ask OSS about the bucket; that phones and browsers "
            "can has to be tried from one."
        )
        return Finding(WARNING, text, remedy, Kind.BUCKET)
    code, region = element(answer, "Code"), region_of(element(answer, "Endpoint"))
    text = f"{where}: HTTP {answer.status_code} {code}".strip()
    if "x-oss-request-id" not in answer.headers:
        remedy = (
            f"What answers at {bucket.host} is not OSS. Correct Endpoint and Host, and "
            "look for a proxy in between."
        )
        return Finding(PROBLEM, text, remedy, Kind.BUCKET)
    if code == "NoSuchBucket":
        remedy = (
            f"There is no bucket {bucket.name}. Set BucketName to one that is listed "
            f"in {CONSOLE}."
        )
        return Finding(PROBLEM, text, remedy, Kind.BUCKET)
    if region and region != bucket.region:
        remedy = f"The bucket {bucket.name} is in {region}. Set Region to that."
        return Finding(PROBLEM, f"{text}, in {region}", remedy, Kind.BUCKET)
    if answer.status_code == 200:
        remedy = (
            f"Anyone can list and read the bucket {bucket.name}. Set its ACL to "
            f"private in {CONSOLE} > {bucket.name} > Permission Control."
        )
        return Finding(WARNING, f"{where}: is public", remedy, Kind.BUCKET)
    if code == "AccessDenied":
        return Finding(OK, f"{where}: is there, and not public", kind=Kind.BUCKET)
    return Finding(WARNING, text, kind=Kind.BUCKET)


def look_at_cors(bucket: Bucket, origin: str, level: str) -> Finding:
    """Return whether pages of *origin* may upload; if not, it is of *level*."""
    what = f"CORS of bucket {bucket.name} for {origin}"
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": SENT_HEADERS,
    }
    try:
        answer = ask("OPTIONS", f"{bucket.host}/check", headers)
    except Unanswered as unanswered:
        return Finding(WARNING, f"{what}: {unanswered}", kind=Kind.BUCKET)
    allowed = answer.headers.get("Access-Control-Allow-Origin", "")
    exposed = answer.headers.get("Access-Control-Expose-Headers", "").lower()
    place = f"{CONSOLE} > {bucket.name} > Content Security > CORS"
    if answer.status_code != 200 or allowed not in ("*", origin):
        remedy = (
            f"If web pages upload, add a rule in {place}: source {origin}, methods "
            "GET, PUT, POST, DELETE and HEAD, allowed headers *, exposed headers ETag "
            "and x-oss-request-id. Apps need none."
        )
        text = f"{what}: no rule allows it (HTTP {answer.status_code})"
        return Finding(level, text, remedy, Kind.BUCKET)
    if "etag" not in re.split(r"[,\s]+", exposed):
        remedy = (
            f"Large uploads of web pages need ETag among the exposed headers: {place}."
        )
        return Finding(WARNING, f"{what}: hides ETag", remedy, Kind.BUCKET)
    return Finding(OK, f"{what}: allowed", kind=Kind.BUCKET)


def element(answer: requests.Response, name: str) -> str:
    """Return the text of an element of an XML document, "" if it has none."""
    text = answer.content.decode("utf-8", "replace")
    match = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return match[1] if match else ""
