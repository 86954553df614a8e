"""The folder with the objects of the OSS stand-in: whose it is, and who uses it.

    <folder>/oss-stand-in.json          the mark, locked while a process has the folder
             <bucket>.oss-stand-in/     a bucket, as localcloud.oss.storage has it

A folder that is empty gets the mark; one that is not empty has to bear it.  What a
person puts beside our files stays: a file is ours only if it has a name that this
module made up for this folder, with digits in it that follow from the rest.  A copy
under another name, or in another bucket, has the wrong ones.
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
SUFFIX = ".oss-stand-in"  # no name of a bucket has a dot
ABOUT = "The OSS stand-in keeps objects in this folder, and takes them up from there."
MAX_MARK_BYTES = 1000
ID = re.compile(r"[0-9a-f]{32}")
NUMBER_DIGITS, SEAL_DIGITS = 24, 8


class FolderError(Exception):
    """Why a folder cannot be used: its name and the problem."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"folder {path}: {problem}")


@contextlib.contextmanager
def taken(path: Path) -> Iterator[ObjectFolder]:
    """Have the folder at *path* for the block, and make it if there is none.

    Raises FolderError if it cannot be used, is in use, or is not one for objects.
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
                raise FolderError(path, "another stand-in or demo uses it")
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
        f"it holds other files and no valid {MARK}, the mark of a folder for objects; "
        "a new or an empty folder is allowed, and one with that mark",
    )


def open_mark(path: Path) -> int:
    """Return a descriptor of the mark, which is made if there is none."""
    if os.path.lexists(path) and not is_file(path):  # a link may lead anywhere
        raise not_for_objects(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def read_id(content: bytes) -> str:
    """Return the id in the *content* of a mark; it is empty if that is not a mark."""
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
        os.lseek(descriptor, MAX_MARK_BYTES, os.SEEK_SET)  # that byte cannot be read
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
    """A folder for objects that this process has.  The *id* is that in its mark."""

    path: Path
    id: str

    def bucket(self, name: str) -> BucketFolder:
        """Return the folder of the bucket *name*, which need not be there yet."""
        return BucketFolder(self.path / f"{name}{SUFFIX}", f"{self.id}/{name}")


@dataclass(frozen=True)
class BucketFolder:
    """The folder of a bucket, and the names of what it holds.

    The *salt* tells its names from those of every other bucket.
    """

    path: Path
    salt: str

    def make(self, *names: str) -> list[Path]:
        """Make the folder and those called *names* in it; return the latter.

        Raises FolderError if one of them cannot be made, or is a link to elsewhere.
        """
        for path in (self.path, *(self.path / name for name in names)):
            with naming(path):
                with contextlib.suppress(FileExistsError):
                    path.mkdir()
                if not is_folder(path):
                    raise FolderError(path, "it is a file, or a link to elsewhere")
        return [self.path / name for name in names]

    def new_name(self, rest: str = "") -> str:
        """Return a name that nothing has: 32 digits and *rest*."""
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
    """Tell whether *path* is a file, and not a link to one, a pipe or a device."""
    return stat.S_ISREG(path.lstat().st_mode)


def is_folder(path: Path) -> bool:
    """Tell whether *path* is a folder, and not a link to one."""
    return stat.S_ISDIR(path.lstat().st_mode)
