"""Whose folder it is: the OSS stand-in deletes nothing that it did not make."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.machine import PATIENCE_SECONDS
from helpers.oss.client import BucketClient
from helpers.oss.cloud import user_key
from helpers.oss.signing import BUCKET

import localcloud
from localcloud.oss import OssStandIn
from localcloud.oss.folder import MARK, SUFFIX, FolderError, taken
from localcloud.sts import StsStandIn

pytestmark = pytest.mark.slow

ROOT = Path(localcloud.__file__).parent.parent
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs named pipes")

# What there is of a path: the bytes of a file, where a link leads, or what it is.
Tree = dict[str, bytes | str]


def tree(folder: Path) -> Tree:
    """Return all that is below *folder*; links are not followed."""
    found: Tree = {}
    for parent, folders, names in os.walk(os.fsencode(folder)):
        for name in folders + names:
            path = Path(os.fsdecode(parent), os.fsdecode(name))
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = f"a link to {path.readlink()}"
            elif path.is_file():
                found[key] = path.read_bytes()
            else:
                found[key] = "a folder" if path.is_dir() else "a pipe"
    return found


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@contextlib.contextmanager
def serving(sts: StsStandIn, folder: Path) -> Iterator[BucketClient]:
    """Serve a bucket from *folder*, to a client that may do anything."""
    with OssStandIn(sts, folder) as oss:
        oss.create_bucket(BUCKET)
        yield BucketClient(oss, user_key(sts))


# --- What others put beside our files -------------------------------------------


@dataclass(frozen=True)
class Site:
    """A folder with objects, and a folder beside it."""

    folder: Path
    outside: Path
    cat: Path  # the bytes of an object
    upload: Path  # the folder of an upload
    name: Callable[[str], str]  # makes names of the bucket
    name_elsewhere: Callable[[str], str]  # and this of another

    @property
    def home(self) -> Path:
        return self.folder / f"{BUCKET}{SUFFIX}"

    def path(self, template: str) -> Path:
        """Return a path in the folder of the bucket."""
        return self.home / template.format(
            own=self.name("-cat"),
            own_upload=self.name("").upper(),
            elsewhere=self.name_elsewhere("-cat"),
            record=f"{digest('a')}.json",
            upload=f"uploads/{self.upload.name}",
        )


@pytest.fixture
def site(sts: StsStandIn, tmp_path: Path) -> Site:
    """A folder with an object, an upload of two parts and an append, not in use."""
    folder, outside = tmp_path / "objects", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    (outside / "00001.json").write_text("{}")
    with OssStandIn(sts, folder) as oss:
        bucket = oss.create_bucket(BUCKET)
        client = BucketClient(oss, user_key(sts))
        client.put("cat", b"meow")
        client.append("log", 0, b"hello ")
        upload_id = client.initiate("dog")
        client.put_part("dog", upload_id, 1, b"wow")
        other = oss.create_bucket(f"{BUCKET}-2")
    (cat,) = (bucket.folder.path / "data").glob("*-cat")
    upload = bucket.folder.path / "uploads" / upload_id
    new_name, name_elsewhere = bucket.folder.new_name, other.folder.new_name
    return Site(folder, outside, cat, upload, new_name, name_elsewhere)


def copies(site: Site) -> None:
    """Copy everything beside itself, as a file manager does."""
    for path in list(site.home.rglob("*")):
        copied = path.with_name(f"{path.stem} (copy){path.suffix}")
        (shutil.copytree if path.is_dir() else shutil.copy)(path, copied)


def records_with_the_names_of_others(site: Site) -> None:
    """Else what is appended would be forgotten, depending on which is read last."""
    (log,) = site.home.glob(f"objects/{digest('log')}.json")
    for key in "abcdefgh":
        shutil.copy(log, log.with_name(f"{digest(key)}.json"))
    shutil.copy(site.upload / "00001.json", site.upload / "00002.json")


def upload_without_its_record(site: Site) -> None:
    shutil.copytree(site.upload, site.upload.with_name("A" * 32))
    (site.upload.with_name("A" * 32) / "upload.json").unlink()


def changed_digits(site: Site) -> None:
    name = site.name("-cat")
    changed = f"{'1' if name[0] == '0' else '0'}{name[1:]}"
    (site.home / "data" / changed).write_text("thesis")


FILES = {
    "beside the mark": "../thesis.txt",
    "folder with the name of the bucket": f"../{BUCKET}/data/thesis.txt",
    "beside the data": ".DS_Store",
    "data": "data/thesis.txt",
    "data, digits and a name": "data/0123456789abcdef-cat",
    "data, more digits": f"data/{'0' * 32}-cat",
    "data, name of another bucket": "data/{elsewhere}",
    "data, name in no encoding": os.fsdecode(b"data/\xff.jpg"),
    "folder in the data": "data/2024/cat.jpg",
    "folder in the data with a name of ours": "data/{own}/cat.jpg",
    "objects": "objects/a.json",
    "objects, temporary": "objects/a.tmp",
    "objects, folder with the name of a record": "objects/{record}/cat.jpg",
    "uploads": "uploads/thesis.txt",
    "uploads, folder": "uploads/2024/cat.jpg",
    "uploads, folder that might be one": f"uploads/{'A' * 32}/00001.json",
    "upload": "{upload}/thesis.txt",
    "upload, almost a record": "{upload}/1.json",
    "upload, temporary": "{upload}/00001.abcd1234.tmp",
    "upload, folder": "{upload}/2024/cat.jpg",
}
LINKS = {
    "data": ("data/link", "precious.txt"),
    "data, with a name of ours": ("data/{own}", "precious.txt"),
    "objects": ("objects/link", "precious.txt"),
    "objects, with the name of a record": ("objects/{record}", "precious.txt"),
    "objects, to nowhere": ("objects/{record}", "nowhere"),
    "uploads": ("uploads/link", ""),
    "uploads, with a name of ours": ("uploads/{own_upload}", ""),
    "upload": ("{upload}/link", "precious.txt"),
    "upload, with the name of a record": ("{upload}/00002.json", "precious.txt"),
}
PIPES = ["data/pipe", "data/{own}", "objects/{record}", "{upload}/00002.json"]


def file(template: str) -> Callable[[Site], None]:
    def put(site: Site) -> None:
        path = site.path(template)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("thesis")

    return put


def link(template: str, to: str) -> Callable[[Site], None]:
    return lambda site: site.path(template).symlink_to(site.outside / to)


def pipe(template: str) -> Callable[[Site], None]:
    return lambda site: os.mkfifo(site.path(template))


@pytest.mark.parametrize(
    "put",
    [
        *(pytest.param(file(path), id=f"file: {name}") for name, path in FILES.items()),
        *(pytest.param(link(*row), id=f"link: {name}") for name, row in LINKS.items()),
        *(pytest.param(pipe(path), id=f"pipe: {path}", marks=POSIX) for path in PIPES),
        copies,
        changed_digits,
        records_with_the_names_of_others,
        upload_without_its_record,
    ],
)
@pytest.mark.parametrize("end", ["abort", "complete"])
def test_what_others_put_into_the_folder_stays_as_it_is(
    sts: StsStandIn, site: Site, put: Callable[[Site], None], end: str
) -> None:
    before = tree(site.folder)
    put(site)
    others = {p: c for p, c in tree(site.folder).items() if p not in before}
    assert others
    outside = tree(site.outside)

    with serving(sts, site.folder) as client:
        assert client.get("cat").body == b"meow"
        assert client.put("cat", b"purr").status == 200
        assert client.append("log", 6, b"you").status == 200
        assert client.put("new", b"new").status == 200
        assert client.delete("new").status == 204
        query = {"uploadId": site.upload.name}
        if end == "abort":
            assert client.delete("dog", query).status == 204
        else:
            done = client.post("dog", b"", query, x_oss_complete_all="yes")
            assert done.status == 200
            assert client.get("dog").body == b"wow"
    with serving(sts, site.folder) as client:
        keys = ["cat", "log"] if end == "abort" else ["cat", "dog", "log"]
        assert client.get("").texts("Contents/Key") == keys
        assert client.get("cat").body == b"purr"
        assert client.get("log").body == b"hello you"

    after = tree(site.folder)
    assert {path: after.get(path) for path in others} == others
    assert tree(site.outside) == outside


def test_nothing_is_written_where_somebody_else_put_a_link(
    sts: StsStandIn, site: Site
) -> None:
    precious = site.outside / "precious.txt"
    record = site.home / f"objects/{digest('new')}.json"
    record.symlink_to(precious)

    with serving(sts, site.folder) as client:
        assert client.put("new", b"new").outcome == (500, "InternalError")
        assert client.put("cat", b"purr").status == 200

    assert record.is_symlink()
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("is_running", [True, False])
def test_bytes_are_not_read_or_written_through_a_link(
    sts: StsStandIn, site: Site, is_running: bool
) -> None:
    """Whoever may read an object might otherwise read any file."""
    precious = site.outside / "precious.txt"

    def replace_by_links() -> None:
        for path in (site.cat, *site.home.glob("data/*-log")):
            path.unlink()
            path.symlink_to(precious)

    with contextlib.ExitStack() as stack:
        if not is_running:
            replace_by_links()
        client = stack.enter_context(serving(sts, site.folder))
        if is_running:
            replace_by_links()
        assert client.get("cat").status == (500 if is_running else 404)
        appended = client.append("log", 6, b"you")
        assert appended.status == (500 if is_running else 409)
        assert client.delete("cat").status == 204

    assert site.cat.is_symlink()
    assert precious.read_text() == "precious"


def test_a_record_does_not_lead_out_of_the_folder(sts: StsStandIn, site: Site) -> None:
    record = site.home / f"objects/{digest('cat')}.json"
    leads_out = f"../../../{site.outside.name}/precious.txt"
    record.write_text(record.read_text().replace(site.cat.name, leads_out))

    with serving(sts, site.folder) as client:
        assert client.get("cat").status == 404
        assert client.put("cat", b"new").status == 200
        assert client.delete("cat").status == 204

    assert (site.outside / "precious.txt").read_text() == "precious"


def half(record: bytes) -> bytes:
    return record[: len(record) // 2]


RECORDS = {
    "object": f"objects/{digest('cat')}.json",
    "upload": "uploads/*/upload.json",
    "part": "uploads/*/00001.json",
}
SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "half": half,
    "empty": lambda record: b"",
    "no text": lambda record: b"\xff" + record,
    "deep": lambda record: b"[" * 100_000,
    "list": lambda record: b"[]",
    "nothing": lambda record: b"{}",
    "other members": lambda record: record.replace(b'{"', b'{"not', 1),
}
SPOILT_CONTENT: dict[str, Callable[[bytes], bytes]] = {
    "other content": lambda record: record.replace(b'"file"', b'"name"'),
    "other type": lambda record: record.replace(b'"size": ', b'"size": 0.'),
}


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        pytest.param(what, spoil, id=f"{what} {name}")
        for what in RECORDS
        for name, spoil in (
            SPOILT | ({} if what == "upload" else SPOILT_CONTENT)
        ).items()
    ],
)
def test_bytes_stay_if_what_names_them_cannot_be_read(
    sts: StsStandIn,
    site: Site,
    caplog: pytest.LogCaptureFixture,
    what: str,
    spoil: Callable[[bytes], bytes],
) -> None:
    (record,) = site.home.glob(RECORDS[what])
    whole = record.read_bytes()
    record.write_bytes(spoil(whole))
    before = tree(site.folder)

    with serving(sts, site.folder) as client:
        assert client.get("log").body == b"hello "
        assert client.get("cat").status == (404 if what == "object" else 200)

    assert tree(site.folder) == before
    (line,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert str(record) in line.getMessage()
    record.write_bytes(whole)
    with serving(sts, site.folder) as client:
        assert client.get("cat").body == b"meow"
        query = {"uploadId": site.upload.name}
        assert client.post("dog", b"", query, x_oss_complete_all="yes").status == 200


# --- Which folders are taken ----------------------------------------------------


def write_files(folder: Path) -> None:
    for name in ("data/thesis.txt", "uploads/2024/cat.jpg", "objects/a.tmp"):
        (folder / BUCKET / name).parent.mkdir(parents=True)
        (folder / BUCKET / name).write_text("thesis")


def write_mark(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / MARK).write_bytes(content)


def link_to_a_mark(folder: Path) -> None:
    real = folder.parent / "real"
    real.mkdir()
    with taken(real):
        (folder / MARK).symlink_to(real / MARK)


def empty_mark_among_files(folder: Path) -> None:
    (folder / MARK).touch()
    (folder / "thesis.txt").touch()


@pytest.mark.parametrize(
    "fill",
    [
        pytest.param(write_files, id="files of others"),
        pytest.param(lambda folder: (folder / ".hidden").touch(), id="hidden file"),
        pytest.param(lambda folder: (folder / "empty").mkdir(), id="empty folder"),
        pytest.param(link_to_a_mark, id="link to a mark"),
        pytest.param(lambda folder: (folder / MARK).mkdir(), id="folder as a mark"),
        pytest.param(empty_mark_among_files, id="empty mark among files"),
        pytest.param(write_mark(b"{"), id="half a mark"),
        pytest.param(write_mark(b"{}"), id="mark without id"),
        pytest.param(write_mark(b'{"id": 1}'), id="id that is a number"),
        pytest.param(write_mark(b'{"id": "../.."}'), id="id that is something else"),
        pytest.param(write_mark(b"[" * 900), id="deep mark"),
        pytest.param(write_mark(b" " * 10**6), id="large mark"),
        pytest.param(write_mark(b"\xff"), id="mark in no encoding"),
        pytest.param(
            lambda folder: os.mkfifo(folder / MARK), id="pipe as a mark", marks=POSIX
        ),
    ],
)
def test_a_folder_of_others_is_refused_and_stays_as_it_is(
    sts: StsStandIn, tmp_path: Path, fill: Callable[[Path], object]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    fill(folder)
    before = tree(tmp_path)

    with pytest.raises(FolderError) as error, OssStandIn(sts, folder):
        pytest.fail("it is taken")

    assert str(error.value) == (
        f"folder {folder}: it holds other files and has no valid {MARK}, the mark of a "
        "folder for objects; choose a new folder, an empty one, or one with that mark"
    )
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["", "data", "objects", "uploads"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_in_place_of_a_folder_of_ours_is_refused(
    sts: StsStandIn, site: Site, name: str, kind: str
) -> None:
    path = site.home / name if name else site.home
    shutil.rmtree(path)
    path.symlink_to(site.outside) if kind == "link" else path.write_text("thesis")
    before = tree(site.folder.parent)

    with OssStandIn(sts, site.folder) as oss:
        with pytest.raises(FolderError) as error:
            oss.create_bucket(BUCKET)
        assert tree(site.folder.parent) == before
        other = oss.create_bucket("other")
        client = BucketClient(oss, user_key(sts), "other")
        assert client.put("cat", b"meow").status == 200
        assert other.keys() == ["cat"]

    assert str(error.value) == f"folder {path}: it is a file, or a link to elsewhere"
    assert tree(site.outside) == {"precious.txt": b"precious", "00001.json": b"{}"}


def test_a_folder_that_a_link_leads_to_is_taken(
    sts: StsStandIn, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(site.folder)

    with serving(sts, tmp_path / "link") as client:
        assert client.get("cat").body == b"meow"


@pytest.mark.parametrize("made", ["new/and/deep", "empty", "cut off"])
def test_a_folder_that_is_new_or_empty_is_taken(
    sts: StsStandIn, tmp_path: Path, made: str
) -> None:
    folder = tmp_path / made
    if made != "new/and/deep":
        folder.mkdir()
    if made == "cut off":  # by the end of the process, or a full disk
        (folder / MARK).touch()

    for _ in range(2):
        with serving(sts, folder) as client:
            client.put("cat", b"meow")
            assert client.get("cat").body == b"meow"


def test_a_folder_may_be_moved(sts: StsStandIn, site: Site, tmp_path: Path) -> None:
    site.folder.replace(tmp_path / "moved")

    with serving(sts, tmp_path / "moved") as client:
        assert client.get("cat").body == b"meow"
        assert client.append("log", 6, b"you").status == 200


# --- Who uses it ----------------------------------------------------------------

IN_USE = "it is in use by another stand-in or demo"


def test_a_folder_that_is_in_use_is_refused_until_it_is_not(
    sts: StsStandIn, tmp_path: Path
) -> None:
    folder = tmp_path / "objects"
    with serving(sts, folder) as client:
        client.put("cat", b"meow")
        before = tree(folder)
        with pytest.raises(FolderError) as error, OssStandIn(sts, folder):
            pytest.fail("it is taken twice")
        assert str(error.value) == f"folder {folder}: {IN_USE}"
        assert tree(folder) == before
        assert client.get("cat").body == b"meow"

    with serving(sts, folder) as client:
        assert client.get("cat").body == b"meow"


def test_of_many_who_take_a_new_folder_at_once_one_has_it(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def take(folder: Path) -> str:
        barrier.wait(PATIENCE_SECONDS)
        try:
            with taken(folder):
                barrier.wait(PATIENCE_SECONDS)
                return ""
        except FolderError as error:
            barrier.wait(PATIENCE_SECONDS)
            return str(error)

    for number in range(10):
        folder = tmp_path / str(number)
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(take, folder) for _ in range(8)]
            outcomes = sorted(future.result() for future in futures)

        assert outcomes == ["", *[f"folder {folder}: {IN_USE}"] * 7]


HOLD = """
import sys
from pathlib import Path
from localcloud.oss.folder import taken

with taken(Path(sys.argv[1])):
    print("taken", flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
def test_a_process_that_is_killed_has_its_folder_no_longer(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"taken\n"
        with pytest.raises(FolderError, match=IN_USE), taken(folder):
            pytest.fail("it is taken twice")
        process.kill()

    with taken(folder):
        pass


def test_a_port_that_is_taken_leaves_the_folder_free(
    sts: StsStandIn, tmp_path: Path
) -> None:
    folder = tmp_path / "objects"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match="in use"), OssStandIn(sts, folder, port):
            pytest.fail("the port is free")

    with taken(folder):
        pass
