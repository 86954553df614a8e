"""The folder with the objects of the OSS stand-in: its mark, its lock and its names.

    <folder>/oss-stand-in.json          the mark, locked while a process uses the folder
             <bucket>.oss-stand-in/     a bucket; see localcloud.oss.storage

An empty folder is given the mark; a folder that is not empty must have it.  Files that
a person puts there are left alone.  A file is ours only if this module made up its name
for this folder: some digits of the name are a checksum of the rest, so a copy under
another name, or in another bucket, is not taken for ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "oss-stand-in.json"
SUFFIX = ".oss-stand-in"  # a bucket name has no dot
ABOUT = "The OSS stand-in keeps objects in this folder, and takes them up from there."
MAX_MARK_BYTES = 1000
ID = re.compile(r"[0-9a-f]{32}")
NUMBER_DIGITS, SEAL_DIGITS = 24, 8


class FolderError(Exception):
    """A folder cannot be used; the text has its name and the problem."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"folder {path}: {problem}")


@contextlib.contextmanager
def taken(path: Path) -> Iterator[ObjectFolder]:
    """Lock the folder at *path* for the block; make the folder if there is none.

    Raises FolderError if it cannot be used, is in use, or holds other files.
    """
    with naming(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
        names = {entry.name for entry in path.iterdir()}
        has_others = bool(names - {MARK})
        if has_others and MARK not in names:
            raise not_for_objects(path)
        descriptor = open_mark(path / MARK)
    with contextlib.closing(os.fdopen(descriptor, "r+b", buffering=0)) as mark:
        with naming(path):
            if not lock(descriptor):
                raise FolderError(path, "it is in use by another stand-in or demo")
            content = mark.read(MAX_MARK_BYTES)
            if not content and not has_others:  # it is new
                content = json.dumps(
                    {"about": ABOUT, "id": secrets.token_hex(16)}
                ).encode()
                mark.write(content)
        folder_id = read_id(content)
        if not folder_id:
            raise not_for_objects(path)
        yield ObjectFolder(path, folder_id)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as a FolderError about *path*."""
    try:
        yield
    except OSError as error:
        raise FolderError(path, error.strerror or str(error)) from None


def not_for_objects(path: Path) -> FolderError:
    """Return the error for a folder that holds other files, and no mark."""
    return FolderError(
        path,
        f"it holds other files and has no valid {MARK}, the mark of a folder for "
        "objects; choose a new folder, an empty one, or one with that mark",
    )


def open_mark(path: Path) -> int:
    """Open the mark, or make it if there is none; return its descriptor."""
    if os.path.lexists(path) and not is_file(path):  # a link may lead anywhere
        raise not_for_objects(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def read_id(content: bytes) -> str:
    """Return the id in the *content* of a mark, "" if it is not a mark."""
    try:
        mark = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    folder_id = mark.get("id") if isinstance(mark, dict) else None
    if isinstance(folder_id, str) and ID.fullmatch(folder_id):
        return folder_id
    return ""


if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int) -> bool:
        """Lock a file until it is closed; return whether nobody else has locked it."""
        # A locked byte cannot be read by others, so this one is behind the mark.
        os.lseek(descriptor, MAX_MARK_BYTES, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def lock(descriptor: int) -> bool:
        """Lock a file until it is closed; return whether nobody else has locked it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@dataclass(frozen=True)
class ObjectFolder:
    """A folder for objects that this process has locked.  *id* is from its mark."""

    path: Path
    id: str

    def bucket(self, name: str) -> BucketFolder:
        """Return the folder of the bucket *name*, which may not exist yet."""
        return BucketFolder(self.path / f"{name}{SUFFIX}", f"{self.id}/{name}")


@dataclass(frozen=True)
class BucketFolder:
    """The folder of a bucket, and the names of its files.

    The *salt* makes its names differ from the names in every other bucket.
    """

    path: Path
    salt: str

    def make(self, *names: str) -> list[Path]:
        """Make the folder and its subfolders *names*; return the subfolders.

        Raises FolderError if one cannot be made, is a file, or is a link to elsewhere.
        """
        for path in (self.path, *(self.path / name for name in names)):
            with naming(path):
                with contextlib.suppress(FileExistsError):
                    path.mkdir()
                if not is_folder(path):
                    raise FolderError(path, "it is a file, or a link to elsewhere")
        return [self.path / name for name in names]

    def new_name(self, rest: str = "") -> str:
        """Return a new, unique name: 32 digits and *rest*."""
        number = secrets.token_hex(NUMBER_DIGITS // 2)
        return number + self._seal(number, rest) + rest

    def is_own(self, name: str) -> bool:
        """Tell whether new_name() of this bucket made *name*."""
        end = NUMBER_DIGITS + SEAL_DIGITS
        number, seal, rest = name[:NUMBER_DIGITS], name[NUMBER_DIGITS:end], name[end:]
        return seal == self._seal(number, rest)

    def _seal(self, number: str, rest: str) -> str:
        text = f"{self.salt}/{number}/{rest}".encode(errors="surrogateescape")
        return hashlib.sha256(text).hexdigest()[:SEAL_DIGITS]


def is_file(path: Path) -> bool:
    """Tell whether *path* is a regular file, not a link, a pipe or a device."""
    return stat.S_ISREG(path.lstat().st_mode)


def is_folder(path: Path) -> bool:
    """Tell whether *path* is a folder, not a link to one."""
    return stat.S_ISDIR(path.lstat().st_mode)
