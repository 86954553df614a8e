"""What the OSS stand-in keeps on the disk, and finds there again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from helpers.oss.buckets import HOME, PART, append, files, make_bucket, put_part, store
from helpers.oss.client import BucketClient
from helpers.oss.cloud import user_key
from helpers.oss.signing import BUCKET
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.oss import OssStandIn
from localcloud.oss.errors import OssError
from localcloud.oss.storage import Bucket
from localcloud.sts import StsStandIn

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return make_bucket(tmp_path)


# --- Restarts -------------------------------------------------------------------
def test_a_restart_keeps_objects_with_all_that_is_known_of_them(
    bucket: Bucket, tmp_path: Path
) -> None:
    store(bucket, "photos/猫.jpg", b"cat", expires="never", **{"x-oss-meta-a": "é😀"})
    append(bucket, "log", 0, b"hello ")
    append(bucket, "log", 6, b"world")
    upload = bucket.initiate("film", {"content-type": "video/mp4"})
    put_part(bucket, upload.id, "film", 1, PART)
    bucket.complete(upload.id, "film", None)
    bucket.put("gone", b"")
    bucket.delete("gone")

    again = make_bucket(tmp_path)

    assert again.keys() == ["film", "log", "photos/猫.jpg"]
    assert again.objects() == bucket.objects()
    assert again.read("photos/猫.jpg") == b"cat"
    assert again.read("log") == b"hello world"
    assert again.read("film") == PART
    assert append(again, "log", 11, b"!").content.size == 12
    assert again.read("log") == b"hello world!"


def test_a_restart_keeps_uploads_and_their_parts(
    bucket: Bucket, tmp_path: Path
) -> None:
    upload = bucket.initiate("film", {"content-type": "video/mp4"})
    put_part(bucket, upload.id, "film", 2, b"replaced")
    put_part(bucket, upload.id, "film", 2, b"end")
    put_part(bucket, upload.id, "film", 1, PART)

    again = make_bucket(tmp_path)

    assert again.uploads() == bucket.uploads()
    assert again.parts(upload.id, "film") == bucket.parts(upload.id, "film")
    stored = again.complete(upload.id, "film", None)
    assert again.read("film") == PART + b"end"
    assert stored.headers == {"content-type": "video/mp4"}
    assert make_bucket(tmp_path).uploads() == []


def test_a_restart_forgets_uploads_that_are_over(
    bucket: Bucket, tmp_path: Path
) -> None:
    before = files(tmp_path)
    upload = bucket.initiate("film", {})
    put_part(bucket, upload.id, "film", 1, b"x")
    bucket.abort(upload.id, "film")

    again = make_bucket(tmp_path)

    assert again.uploads() == []
    assert files(tmp_path) == before


def test_a_stand_in_finds_what_an_earlier_one_kept(
    sts: StsStandIn, tmp_path: Path
) -> None:
    key = user_key(sts)
    with OssStandIn(sts, tmp_path) as oss:
        oss.create_bucket(BUCKET)
        client = BucketClient(oss, key)
        client.put("cat", b"meow", content_type="text/plain")
        upload_id = client.initiate("dog")
        etag = client.put_part("dog", upload_id, 1, b"woof").headers["etag"]
        before = client.get("cat").headers

    with OssStandIn(sts, tmp_path) as oss:
        oss.create_bucket(BUCKET)
        client = BucketClient(oss, key)
        assert client.get("cat").body == b"meow"
        assert client.complete("dog", upload_id, [(1, etag)]).status == 200
        assert client.get("dog").body == b"woof"
        after = client.get("cat").headers

    changing = {"date", "x-oss-request-id", "x-oss-server-time"}
    assert {n: v for n, v in after.items() if n not in changing} == {
        n: v for n, v in before.items() if n not in changing
    }


def test_a_temporary_folder_is_deleted_in_the_end(sts: StsStandIn) -> None:
    with OssStandIn(sts) as oss:
        assert oss.folder
        folder = oss.folder
        oss.create_bucket(BUCKET).put("cat", b"cat")
        assert files(folder)

    assert not folder.exists()


@pytest.mark.parametrize(
    ("folder", "rest"),
    [
        pytest.param("data", "-cat", id="bytes that were not recorded"),
        pytest.param("data", "-record.json", id="half a record"),
        pytest.param("uploads", "", id="an upload that had just begun"),
        pytest.param("uploads", "/00001.json", id="an upload that was being aborted"),
    ],
)
def test_what_was_cut_off_is_swept_at_the_next_start(
    bucket: Bucket, tmp_path: Path, folder: str, rest: str
) -> None:
    """A process that is killed may leave these."""
    bucket.put("cat", b"cat")
    upload = bucket.initiate("dog", {})
    etag = put_part(bucket, upload.id, "dog", 1, b"dog")
    before = files(tmp_path)
    part = (bucket.folder.path / "uploads" / upload.id / "00001.json").read_bytes()
    if folder == "data":
        path = bucket.folder.path / folder / bucket.folder.new_name(rest)
        path.write_text('{"key": ')
    else:
        path = bucket.folder.path / folder / bucket.folder.new_name().upper()
        path.mkdir()
        if rest:
            (path / rest[1:]).write_bytes(part)
    assert files(tmp_path) > before

    again = make_bucket(tmp_path)

    assert files(tmp_path) == before
    assert again.read("cat") == b"cat"
    again.complete(upload.id, "dog", [(1, etag)])
    assert again.read("dog") == b"dog"


@pytest.mark.parametrize("key", ["a.tmp", "a.json", "upload.json", "00001.json"])
def test_a_name_that_means_something_to_the_storage_is_a_name(
    bucket: Bucket, tmp_path: Path, key: str
) -> None:
    bucket.put(key, b"1")
    upload = bucket.initiate(key, {})
    put_part(bucket, upload.id, key, 1, b"2")

    again = make_bucket(tmp_path)

    assert again.read(key) == b"1"
    again.complete(upload.id, key, None)
    assert again.read(key) == b"2"


def test_bytes_that_a_person_deletes_are_gone_with_what_was_known_of_them(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("cat", b"cat")
    upload = bucket.initiate("dog", {})
    put_part(bucket, upload.id, "dog", 1, b"dog")
    for path in (tmp_path / HOME / "data").iterdir():
        path.unlink()

    again = make_bucket(tmp_path)

    assert again.keys() == []
    assert again.parts(upload.id, "dog") == []
    again.put("cat", b"new")
    assert make_bucket(tmp_path).read("cat") == b"new"


def test_the_files_of_an_object_can_be_told_by_a_person(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("photos/猫 1.jpg", b"cat")

    (data,) = (tmp_path / HOME / "data").iterdir()
    (record,) = (tmp_path / HOME / "objects").iterdir()
    assert data.name.endswith("-猫_1.jpg")
    assert data.read_bytes() == b"cat"
    assert json.loads(record.read_text("utf-8"))["key"] == "photos/猫 1.jpg"


# --- Names ----------------------------------------------------------------------
AWKWARD_KEYS = [
    "..",
    ".",
    "../../../escape",
    "a/../../b",
    "/etc/passwd",
    "C:\\Windows\\x",
    "\\\\server\\share",
    "a//b",
    "a/",
    "a/b/",
    "dot.",
    "blank ",
    "CON",
    "nul.txt",
    "a:b*c?d|e<f>g",
    "\x00\x01\n",
    "~",
    "-rf",
    "猫" * 341,
    "a" * 1023,
    "a/" * 511,
    "é",
    "e\u0301",
    "cat",
    "Cat",
    "CAT",
    "cat/",
]


def test_any_name_is_that_of_one_object(bucket: Bucket, tmp_path: Path) -> None:
    for key in AWKWARD_KEYS:
        bucket.put(key, key.encode())

    for opened in (bucket, make_bucket(tmp_path)):
        assert opened.keys() == sorted(AWKWARD_KEYS)
        assert {key: opened.read(key).decode() for key in AWKWARD_KEYS} == {
            key: key for key in AWKWARD_KEYS
        }
    for key in AWKWARD_KEYS:
        bucket.delete(key)
    assert files(tmp_path) == {f"{HOME}/{n}" for n in ("data", "objects", "uploads")}


@pytest.mark.parametrize("key", AWKWARD_KEYS)
def test_no_name_leads_out_of_the_folders_of_the_bucket(
    tmp_path: Path, key: str
) -> None:
    (tmp_path / "in" / "side").mkdir(parents=True)
    bucket = make_bucket(tmp_path / "in" / "side")
    bucket.put(key, b"1")
    append(bucket, f"{key}+", 0, b"1")
    append(bucket, f"{key}+", 1, b"1")
    upload = bucket.initiate(key, {})
    put_part(bucket, upload.id, key, 1, b"1")

    home = f"in/side/{HOME}"
    folders = {path.rpartition("/")[0] for path in files(tmp_path)}
    assert folders == {
        f"{home}/data",
        f"{home}/objects",
        f"{home}/uploads/{upload.id}",
    }
    for path in (tmp_path / home / "data").iterdir():
        assert path.name[-1] not in ". "  # which Windows leaves out
        assert len(path.name.encode()) < 255


@pytest.mark.parametrize(
    "upload_id", ["..", "../data", "/etc", "", "upload.json", "\x00"]
)
def test_an_upload_id_is_no_path(
    bucket: Bucket, tmp_path: Path, upload_id: str
) -> None:
    bucket.put("cat", b"cat")
    before = files(tmp_path)

    for use in (
        lambda: bucket.abort(upload_id, "cat"),
        lambda: bucket.parts(upload_id, "cat"),
        lambda: put_part(bucket, upload_id, "cat", 1, b"1"),
        lambda: bucket.complete(upload_id, "cat", None),
    ):
        with pytest.raises(OssError, match="NoSuchUpload"):
            use()

    assert files(tmp_path) == before


# --- Any sequence ---------------------------------------------------------------
SOME_KEYS = st.sampled_from(["a", "A", "a/b", "..", "猫"])
SOME_BYTES = st.binary(max_size=6)
STEPS = st.one_of(
    st.tuples(st.just("put"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("append"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("upload"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("abort"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("delete"), SOME_KEYS, st.just(b"")),
    st.tuples(st.just("restart"), st.just(""), st.just(b"")),
)


@given(steps=st.lists(STEPS, max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_bucket_is_a_dictionary_on_the_disk(
    steps: list[tuple[str, str, bytes]],
) -> None:
    model: dict[str, bytes] = {}
    appendable: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bucket = make_bucket(folder)
        for step, key, data in steps:
            if step == "put":
                bucket.put(key, data)
                model[key] = data
                appendable.discard(key)
            elif step == "append":
                length = len(model.get(key, b""))
                if key in model and key not in appendable:
                    with pytest.raises(OssError, match="ObjectNotAppendable"):
                        append(bucket, key, length, data)
                    continue
                append(bucket, key, length, data)
                model[key] = model.get(key, b"") + data
                appendable.add(key)
            elif step in ("upload", "abort"):
                upload = bucket.initiate(key, {})
                put_part(bucket, upload.id, key, 9, data)
                put_part(bucket, upload.id, key, 3, PART)
                if step == "abort":
                    bucket.abort(upload.id, key)
                    continue
                bucket.complete(upload.id, key, None)
                model[key] = PART + data
                appendable.discard(key)
            elif step == "delete":
                bucket.delete(key)
                model.pop(key, None)
                appendable.discard(key)
            else:
                bucket = make_bucket(folder)

        assert bucket.keys() == sorted(model)
        assert {key: bucket.read(key) for key in model} == model
        assert bucket.uploads() == []
        assert len(files(folder / HOME / "data") - {"."}) == len(model)
        assert len(list((folder / HOME / "objects").iterdir())) == len(model)
        assert list((folder / HOME / "uploads").iterdir()) == []
