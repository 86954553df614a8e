"""Every operation of OSS, tried at a place, for tests of policies."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple
from urllib.parse import quote

from helpers.oss.client import OssClient, OssReply
from helpers.oss.client import send as send_message
from helpers.oss.signing import Message, v4_fields

# Where a token of each shipped template may do what; "inside" is below its prefix.
GRANTS = """
                           read    write   read_write  upload_page
AbortMultipartUpload       -       inside  inside      inside
AppendObject               -       inside  inside      inside
CompleteMultipartUpload    -       inside  inside      inside
CopyObject                 -       -       inside      inside
CopyObject-from            -       -       inside      inside
DeleteMultipleObjects      -       -       -           -
DeleteObject               -       -       -           -
GetBucketInfo              -       -       -           -
GetBucketLocation          -       -       -           -
GetObject                  inside  -       inside      inside
GetObjectMeta              inside  -       inside      inside
HeadObject                 inside  -       inside      inside
InitiateMultipartUpload    -       inside  inside      inside
ListMultipartUploads       -       -       -           -
ListObjects                -       -       -           inside
ListObjectsV2              -       -       -           inside
ListParts                  -       inside  inside      inside
PostObject                 -       inside  inside      inside
PutObject                  -       inside  inside      inside
PutObject-with-ACL         -       -       -           -
PutObject-with-tags        -       -       -           -
UploadPart                 -       inside  inside      inside
UploadPartCopy             -       -       inside      inside
UploadPartCopy-from        -       -       inside      inside
"""


def expected_grants(name: str) -> dict[str, str]:
    """Return the column *name* of the table."""
    head, *rows = GRANTS.strip().splitlines()
    column = head.split().index(name) + 1
    return {row.split()[0]: row.split()[column] for row in rows}


class Place(NamedTuple):
    """An object; for a list, the key is the prefix, which may be empty."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"/{self.bucket}/{self.key}"


# --- The operations -------------------------------------------------------------


class Attempt(NamedTuple):
    """A request.  {key}, {source} and {upload} are filled in, {upload} with a new one.

    *is_from* means that the place under test is the source of a copy.
    """

    method: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: str | None = None
    is_on_bucket: bool = False
    is_from: bool = False


COPY = {"x-oss-copy-source": "{source}"}
PART_QUERY = "partNumber=1&uploadId={upload}"
DELETE = "<Delete><Object><Key>{key}</Key></Object></Delete>"
ATTEMPTS = {
    "AbortMultipartUpload": Attempt("DELETE", "uploadId={upload}"),
    "AppendObject": Attempt("POST", "append&position=0", body="x"),
    "CompleteMultipartUpload": Attempt(
        "POST", "uploadId={upload}", {"x-oss-complete-all": "yes"}
    ),
    "CopyObject": Attempt("PUT", headers=COPY),
    "CopyObject-from": Attempt("PUT", headers=COPY, is_from=True),
    "DeleteMultipleObjects": Attempt("POST", "delete", body=DELETE, is_on_bucket=True),
    "DeleteObject": Attempt("DELETE"),
    "GetBucketInfo": Attempt("GET", "bucketInfo", is_on_bucket=True),
    "GetBucketLocation": Attempt("GET", "location", is_on_bucket=True),
    "GetObject": Attempt("GET"),
    "GetObjectMeta": Attempt("HEAD", "objectMeta"),
    "HeadObject": Attempt("HEAD"),
    "InitiateMultipartUpload": Attempt("POST", "uploads"),
    "ListMultipartUploads": Attempt("GET", "uploads&prefix={key}", is_on_bucket=True),
    "ListObjects": Attempt("GET", "prefix={key}", is_on_bucket=True),
    "ListObjectsV2": Attempt("GET", "list-type=2&prefix={key}", is_on_bucket=True),
    "ListParts": Attempt("GET", "uploadId={upload}"),
    "PutObject": Attempt("PUT", body="x"),
    "PutObject-with-ACL": Attempt("PUT", headers={"x-oss-object-acl": "private"}),
    "PutObject-with-tags": Attempt("PUT", headers={"x-oss-tagging": "a=b"}),
    "UploadPart": Attempt("PUT", PART_QUERY, body="x"),
    "UploadPartCopy": Attempt("PUT", PART_QUERY, COPY),
    "UploadPartCopy-from": Attempt("PUT", PART_QUERY, COPY, is_from=True),
}


def may(
    name: str, place: Place, client: OssClient, admin: OssClient, own: Place
) -> bool:
    """Tell whether *client* may do it; *admin* makes the preparations.

    A copy to *place* comes from *own*, and a copy from *place* goes next to *own*, an
    object where the token allows the client all its operations.
    """
    attempt = ATTEMPTS.get(name)
    reply = (
        send(attempt, place, client, admin, own)
        if attempt
        else post_object(place, client)
    )
    if reply.status == 403 and reply.body:
        assert reply.code == "AccessDenied", f"{name} of {place}: {reply.code}"
    assert reply.status in (200, 204, 403), f"{name} of {place}: {reply.outcome}"
    return reply.status != 403


def send(
    attempt: Attempt, place: Place, client: OssClient, admin: OssClient, own: Place
) -> OssReply:
    copied = own._replace(key=f"{own.key}-copy")
    source, target = (place, copied) if attempt.is_from else (own, place)
    parameters = f"{attempt.query}{attempt.body}{attempt.headers}"
    values = {"key": place.key, "source": quote(str(source)), "upload": ""}
    if "{upload}" in parameters:
        values["upload"] = begin_upload(target, admin)
    for there in {source, target, place}:
        if not there.key:
            continue
        method = "DELETE" if "append" in attempt.query else "PUT"
        admin.request(method, str(there), body=b"x")
    names = attempt.query.format_map(values)
    query = dict(pair.partition("=")[::2] for pair in names.split("&") if pair)
    body = (attempt.body or "").format_map(values).encode()
    headers = {name: v.format_map(values) for name, v in attempt.headers.items()}
    if body:
        digest = hashlib.md5(body).digest()
        headers["Content-MD5"] = base64.b64encode(digest).decode()
    return client.request(
        attempt.method,
        str(target._replace(key="")) if attempt.is_on_bucket else str(target),
        {name: value for name, value in query.items() if value or name != "prefix"},
        headers,
        body,
    )


def begin_upload(place: Place, admin: OssClient) -> str:
    """Begin an upload, put a part, and return the upload ID."""
    upload_id = admin.request("POST", str(place), {"uploads": ""}).text("UploadId")
    query = {"partNumber": "1", "uploadId": upload_id}
    assert admin.request("PUT", str(place), query, body=b"x").status == 200
    return upload_id


def post_object(place: Place, client: OssClient) -> OssReply:
    """Send a form as a web page does."""
    now = client.oss.clock()
    expiration = datetime.fromtimestamp(now + 300, timezone.utc)
    unsigned = v4_fields(client.key, "", now, client.oss.region)
    names = ("x-oss-signature-version", "x-oss-credential", "x-oss-date")
    document = {
        "expiration": expiration.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "conditions": [
            ["eq", "$key", place.key],
            *({name: unsigned[name]} for name in names),
        ],
    }
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    fields = {
        "key": place.key,
        **v4_fields(client.key, policy, now, client.oss.region),
        "file": "x",
    }
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    form = Message(
        "POST",
        f"/{place.bucket}/",
        headers={"content-type": "multipart/form-data; boundary=b"},
        body="".join([*parts, "--b--\r\n"]).encode(),
    )
    return send_message(client.oss, form)
