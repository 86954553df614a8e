"""Lists of objects and uploads, and what tells of the bucket.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

import time
from urllib.parse import unquote

import pytest
from helpers.examples import examples
from helpers.oss.client import BucketClient
from helpers.oss.cloud import user_key
from helpers.oss.fixtures import new_bucket
from helpers.oss.samples import HELLO_MD5, put, shape
from hypothesis import given
from hypothesis import strategies as st

from localcloud.oss import OssStandIn
from localcloud.oss.storage import Bucket


# --- Lists ----------------------------------------------------------------------
def test_list_objects_describes_each_object(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    put(client, "photos/a&b.jpg")
    bucket.put("photos/x/1", b"")

    reply = client.get("", {"prefix": "photos/", "delimiter": "/"})

    modified = reply.text("Contents/LastModified")
    owner = [("ID", oss.owner), ("DisplayName", oss.owner)]
    assert time.strptime(modified, "%Y-%m-%dT%H:%M:%S.000Z")
    assert reply.xml.tag == "ListBucketResult"
    assert shape(reply.xml) == [
        ("Marker", ""),
        ("Name", bucket.name),
        ("Prefix", "photos/"),
        ("MaxKeys", "100"),
        ("Delimiter", "/"),
        ("IsTruncated", "false"),
        (
            "Contents",
            [
                ("Key", "photos/a&b.jpg"),
                ("LastModified", modified),
                ("ETag", f'"{HELLO_MD5}"'),
                ("Type", "Normal"),
                ("Size", "5"),
                ("StorageClass", "IA"),
                ("Owner", owner),
            ],
        ),
        ("CommonPrefixes", [("Prefix", "photos/x/")]),
    ]


def test_list_objects_v2_counts_and_names_no_owner(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("photos/a b", b"hello")
    bucket.put("photos/x/1", b"")
    query = {
        "list-type": "2",
        "prefix": "photos/",
        "delimiter": "/",
        "start-after": "photos/ ",
        "encoding-type": "url",
    }

    reply = client.get("", query)

    assert shape(reply.xml) == [
        ("StartAfter", "photos/%20"),
        ("KeyCount", "2"),
        ("Name", bucket.name),
        ("Prefix", "photos/"),
        ("MaxKeys", "100"),
        ("Delimiter", "/"),
        ("EncodingType", "url"),
        ("IsTruncated", "false"),
        (
            "Contents",
            [
                ("Key", "photos/a%20b"),
                ("LastModified", reply.text("Contents/LastModified")),
                ("ETag", f'"{HELLO_MD5}"'),
                ("Type", "Normal"),
                ("Size", "5"),
                ("StorageClass", "Standard"),
            ],
        ),
        ("CommonPrefixes", [("Prefix", "photos/x/")]),
    ]


@pytest.mark.parametrize("value", ["true", "TRUE"])
def test_list_objects_v2_names_the_owner_if_asked_to(
    client: BucketClient, oss: OssStandIn, bucket: Bucket, value: str
) -> None:
    bucket.put("cat", b"")

    reply = client.get("", {"list-type": "2", "fetch-owner": value})

    assert reply.text("Contents/Owner/ID") == oss.owner


def test_parameters_that_are_empty_do_not_count(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("a/b", b"")
    names = ["prefix", "delimiter", "marker", "max-keys", "encoding-type"]
    names_v2 = ["start-after", "continuation-token", "fetch-owner"]

    v1 = client.get("", dict.fromkeys(names, ""))
    v2 = client.get("", {"list-type": "2", **dict.fromkeys(names + names_v2, "")})

    assert v1.texts("Contents/Key") == v2.texts("Contents/Key") == ["a/b"]
    assert v1.text("MaxKeys") == v2.text("MaxKeys") == "100"
    assert v2.texts("StartAfter") == v2.texts("ContinuationToken") == []


@pytest.mark.parametrize("version", ["1", "3", "two"])
def test_there_is_no_other_list_type(client: BucketClient, version: str) -> None:
    assert client.get("", {"list-type": version}).outcome == (400, "InvalidArgument")


@pytest.mark.parametrize("token", ["x", "abc", "ff", "٣٣"])
def test_a_token_that_is_none_is_refused(client: BucketClient, token: str) -> None:
    query = {"list-type": "2", "continuation-token": token}

    assert client.get("", query).outcome == (400, "InvalidArgument")


def test_a_list_shows_100_objects_by_default_and_1000_at_most(
    client: BucketClient, bucket: Bucket
) -> None:
    for number in range(101):
        bucket.put(f"{number:03}", b"")

    by_default = client.get()
    at_most = client.get("", {"max-keys": "1000"})

    assert len(by_default.texts("Contents/Key")) == 100
    assert by_default.text("NextMarker") == "099"
    assert len(at_most.texts("Contents/Key")) == 101
    assert at_most.texts("NextMarker") == []


def test_a_key_that_xml_cannot_hold_is_told_only_encoded(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("\x01\x00\x7f", b"")

    encoded = client.get("", {"encoding-type": "url"})

    assert unquote(encoded.text("Contents/Key")) == "\x01\x00\x7f"
    assert client.get().text("Contents/Key") == "\ufffd\ufffd\x7f"


# Short keys of few characters share prefixes often; among the characters are some that
# mean something in XML, in URLs, and to the storage.
CHARACTERS = ["a", "b", "/", "//", " ", "\x00", "\x01", "\r", "%2F", "<&>", "猫", "😀"]
KEYS = (
    st.lists(st.sampled_from(CHARACTERS), min_size=1, max_size=4)
    .map("".join)
    .filter(lambda key: key[0] != "/")
)
DELIMITERS = st.sampled_from(["", "/", "/", "//", "a", "\x00", "猫"])
MARKERS = st.one_of(st.just(""), KEYS)


def entries(
    names: list[tuple[str, ...]], prefix: str, delimiter: str, marker: str
) -> list[tuple[str, ...]]:
    """What a list has to show: names, and common prefixes as names without an id.

    Each name begins with a key.  Slow and simple, on purpose.
    """
    shown: list[tuple[str, ...]] = []
    for name in sorted(names, key=lambda name: [part.encode() for part in name]):
        key = name[0]
        if not key.startswith(prefix) or key.encode() <= marker.encode():
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            common = prefix + rest[: rest.index(delimiter)] + delimiter
            if common != marker and (common,) not in shown:
                shown.append((common,))
        else:
            shown.append(name)
    return shown


MAX_PAGES = 50  # of a list of few entries; more of them would never end


def page_through(
    client: BucketClient,
    query: dict[str, str],
    item: str,
    ids: list[str],
    next_of: dict[str, str],
    limit: int,
) -> list[tuple[str, ...]]:
    """Return all entries of a list, page by page, each page in the order of its keys.

    *next_of* says which element is which parameter of the request for the next page.
    """
    found: list[tuple[str, ...]] = []
    with client.connect() as connection:
        for _ in range(MAX_PAGES):
            reply = client.request("GET", client.path(), query, None, None, connection)
            assert reply.status == 200, reply.body
            names = [
                (
                    unquote(element.findtext("Key", "")),
                    *(element.findtext(i, "") for i in ids),
                )
                for element in reply.xml.findall(item)
            ]
            common = [(unquote(p),) for p in reply.texts("CommonPrefixes/Prefix")]
            page: list[tuple[str, ...]] = [*names, *common]
            assert names == sorted(names)  # by code point, which is as UTF-8 sorts
            assert common == sorted(common)
            assert len(page) <= limit
            found += sorted(page)
            if reply.text("IsTruncated") == "false":
                return found
            assert len(page) == limit
            query = query | {
                parameter: value
                if parameter == "continuation-token"
                else unquote(value)
                for element, parameter in next_of.items()
                if (value := reply.text(element))
            }
    pytest.fail("the list does not end")


@given(
    keys=st.sets(KEYS, max_size=12),
    prefix=MARKERS,
    delimiter=DELIMITERS,
    marker=MARKERS,
    limit=st.integers(1, 5),
    version=st.sampled_from(["1", "2"]),
)
@examples(60)
def test_paging_through_a_list_shows_each_key_once(
    oss: OssStandIn,
    keys: set[str],
    prefix: str,
    delimiter: str,
    marker: str,
    limit: int,
    version: str,
) -> None:
    bucket = new_bucket(oss)
    client = BucketClient(oss, user_key(oss.sts), bucket.name)
    for key in keys:
        bucket.put(key, b"")
    query = {
        "prefix": prefix,
        "delimiter": delimiter,
        "max-keys": str(limit),
        "encoding-type": "url",
    }

    if version == "1":
        query |= {"marker": marker}
        next_of = {"NextMarker": "marker"}
    else:
        query |= {"list-type": "2", "start-after": marker}
        next_of = {"NextContinuationToken": "continuation-token"}
    found = page_through(client, query, "Contents", [], next_of, limit)

    names: list[tuple[str, ...]] = [(key,) for key in keys]
    assert found == entries(names, prefix, delimiter, marker)


@given(
    keys=st.lists(KEYS, max_size=10).flatmap(
        lambda keys: (
            st.lists(st.sampled_from(keys), max_size=12) if keys else st.just([])
        )
    ),
    prefix=MARKERS,
    delimiter=DELIMITERS,
    marker=MARKERS,
    limit=st.integers(1, 5),
)
@examples(50)
def test_paging_through_uploads_shows_each_once(
    oss: OssStandIn,
    keys: list[str],
    prefix: str,
    delimiter: str,
    marker: str,
    limit: int,
) -> None:
    bucket = new_bucket(oss)
    client = BucketClient(oss, user_key(oss.sts), bucket.name)
    names: list[tuple[str, ...]] = [
        (upload.key, upload.id) for upload in (bucket.initiate(k, {}) for k in keys)
    ]
    query = {
        "uploads": "",
        "prefix": prefix,
        "delimiter": delimiter,
        "key-marker": marker,
        "max-uploads": str(limit),
        "encoding-type": "url",
    }

    next_of = {"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"}
    found = page_through(client, query, "Upload", ["UploadId"], next_of, limit)

    assert found == entries(names, prefix, delimiter, marker)


def test_list_multipart_uploads_describes_each_upload(
    client: BucketClient, bucket: Bucket
) -> None:
    upload_id = client.initiate("a&b", x_oss_storage_class="IA")
    client.initiate("photos/1")
    client.initiate("photos/2")

    reply = client.get("", {"uploads": "", "delimiter": "/", "key-marker": "A"})

    initiated = reply.text("Upload/Initiated")
    assert time.strptime(initiated, "%Y-%m-%dT%H:%M:%S.000Z")
    assert reply.xml.tag == "ListMultipartUploadsResult"
    assert shape(reply.xml) == [
        ("Bucket", bucket.name),
        ("KeyMarker", "A"),
        ("UploadIdMarker", ""),
        ("NextKeyMarker", ""),
        ("NextUploadIdMarker", ""),
        ("Delimiter", "/"),
        ("Prefix", ""),
        ("MaxUploads", "1000"),
        ("IsTruncated", "false"),
        (
            "Upload",
            [
                ("Key", "a&b"),
                ("UploadId", upload_id),
                ("StorageClass", "IA"),
                ("Initiated", initiated),
            ],
        ),
        ("CommonPrefixes", [("Prefix", "photos/")]),
    ]


def test_an_upload_id_marker_counts_only_with_a_key_marker(
    client: BucketClient,
) -> None:
    ids = sorted(client.initiate("cat") for _ in range(2))
    query = {"uploads": "", "upload-id-marker": ids[0]}

    without = client.get("", query)
    after = client.get("", query | {"key-marker": "cat"})
    beyond = client.get("", {"uploads": "", "key-marker": "cat"})

    assert without.texts("Upload/UploadId") == ids
    assert after.texts("Upload/UploadId") == ids[1:]
    assert beyond.texts("Upload/UploadId") == []


# --- The bucket -----------------------------------------------------------------
def test_get_bucket_info_describes_the_bucket(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    reply = client.get("", {"bucketInfo": ""})

    host = f"127.0.0.1:{oss.port}"
    assert reply.xml.tag == "BucketInfo"
    assert shape(reply.xml) == [
        (
            "Bucket",
            [
                ("Name", bucket.name),
                ("CreationDate", reply.text("Bucket/CreationDate")),
                ("Location", "oss-cn-hangzhou"),
                ("ExtranetEndpoint", host),
                ("IntranetEndpoint", host),
                ("StorageClass", "Standard"),
                ("DataRedundancyType", "LRS"),
                ("Owner", [("ID", oss.owner), ("DisplayName", oss.owner)]),
                ("AccessControlList", [("Grant", "private")]),
            ],
        )
    ]


def test_get_bucket_location_tells_the_region(client: BucketClient) -> None:
    reply = client.get("", {"location": ""})

    assert (reply.xml.tag, reply.xml.text) == ("LocationConstraint", "oss-cn-hangzhou")
