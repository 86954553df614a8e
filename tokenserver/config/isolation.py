"""Whether a user can reach the objects of another, whatever users are called.

Each place that a policy allows is parsed once: it is either a folder for each user, or
a place that all users share.  compare() judges two places; its table has examples.
"""

from __future__ import annotations

import enum
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tokenserver.config.patterns import (
    ANY_RUN,
    WILDCARD,
    Pattern,
    has_wildcard,
    is_like,
    wildcards,
)
from tokenserver.config.policy import USER_MARK, SessionPolicy
from tokenserver.config.resources import Relative, relative_of
from tokenserver.config.statements import Statement, statements_of
from tokenserver.login.users import SPECIAL

# The actions that show the names of objects
LIST_ACTIONS = ("oss:ListObjects", "oss:ListObjectVersions", "oss:ListMultipartUploads")


class Verdict(enum.Enum):
    """The meaning of two places for users, who may have any name."""

    APART = "no user reaches the folder of another"
    ALIKE = "all users share the same part of each user's folder"
    UNEQUAL = "some user reaches the folder of another, or all reach that of one user"


@dataclass(frozen=True)
class UserFolder:
    """Objects in a separate folder for each user, or a list of them."""

    text: str  # for messages
    bucket: str  # a pattern, as for a list
    folder: str  # the part before the user ID in the name of an object

    def compare(self, other: UserFolder) -> Verdict:
        """Return whether the folder of one user may be inside that of another."""
        is_nested = self.folder.startswith(other.folder) or (
            other.folder.startswith(self.folder)
        )
        if self.folder == other.folder or not is_nested:
            return Verdict.APART
        is_one = may_be_one_bucket(self.bucket, other.bucket)
        return Verdict.UNEQUAL if is_one else Verdict.APART


@dataclass(frozen=True)
class SharedPlace:
    """Objects that are the same for all users, or a list of them."""

    text: str  # for messages
    bucket: str | None  # a pattern, if the names are those of objects alone
    names: Pattern  # of objects, or <bucket>/<object>
    start: int  # where the names begin in the pattern
    is_start_certain: bool  # else each of these positions is for some account
    beginning: str  # of all names that it has

    @property
    def has_a_whole_bucket(self) -> bool:
        """Whether all objects of some bucket are in it."""
        return any(start & self.names.tail for start in self.starts_in("*"))

    def compare(self, user: UserFolder) -> Verdict:
        """Return which part of the users' folders is in this place.

        The part is the same for all users if the text after the folder is read from the
        same positions of the pattern, whatever the user ID is.  Example: a list of
        us*/index is the pattern us*/index*.  users/bob/ leads to its first *, but
        users/index/ leads to its last one too, so all users would see the objects of
        the user "index".
        """
        if self._begins_elsewhere(user):
            return Verdict.APART
        verdicts = set()
        anything = self.names.all_but(SPECIAL)
        for start in self.starts_in(user.bucket):
            before = self.names.read(start, user.folder)
            some = self.names.read(self.names.read_some(before, anything), "/")
            each = self.names.read_each(before, "/")
            # If any text may follow for each user, no user can have more than others.
            if each & self.names.tail or not some & ~each:
                verdicts.add(Verdict.ALIKE if some else Verdict.APART)
            else:
                verdicts.add(Verdict.UNEQUAL)
        order = (Verdict.UNEQUAL, Verdict.ALIKE)
        return next((one for one in order if one in verdicts), Verdict.APART)

    def _begins_elsewhere(self, user: UserFolder) -> bool:
        """Return whether the first letters differ already, as they usually do."""
        begin = user.folder
        if self.bucket is None:
            begin = f"{user.bucket}/{begin}"
            if has_wildcard(user.bucket):
                return False
        ours = self.beginning
        return not (ours.startswith(begin) or begin.startswith(ours))

    def starts_in(self, bucket: str) -> list[int]:
        """Return the positions where names of objects begin, in buckets like *bucket*.

        If they depend on the bucket or the account, each position is returned alone:
        what is true for each of them is true for any bucket.
        """
        if self.bucket is not None:
            return [self.start] if may_be_one_bucket(self.bucket, bucket) else []
        if has_wildcard(bucket):
            places = self.names.read_some(self.start, self.names.all_but("/"))
        else:
            places = self.names.read(self.start, bucket)
        places = self.names.read(places, "/")
        if self.is_start_certain and not has_wildcard(bucket):
            return [places]
        return [1 << bit for bit in range(places.bit_length()) if places >> bit & 1]


Place = UserFolder | SharedPlace


def may_be_one_bucket(one: str, other: str) -> bool:
    """Return whether both patterns can match the same bucket."""
    if has_wildcard(one):
        one, other = other, one
    return has_wildcard(one) or is_like(one, other)


def compare(one: Place, other: Place) -> Verdict:
    """Return the verdict on two places.

    | One                | Other                | Verdict | Because                   |
    | b-1/u/$USER_ID/*   | b-1/u/$USER_ID/in/*  | APART   | both are in one's folder  |
    | b-1/u/$USER_ID/*   | b-1/u-2/$USER_ID/*   | APART   | no name begins as both    |
    | b-1/$USER_ID/*     | b-2/u/$USER_ID/*     | APART   | the buckets are two       |
    | b-1/$USER_ID/*     | b-1/u/$USER_ID/*     | UNEQUAL | a user may be called u    |
    | b-1/u/$USER_ID/*   | b-1/shared/*         | APART   | no name begins as both    |
    | b-1/u/$USER_ID/*   | b-1/u/al/*           | UNEQUAL | a user may be called al   |
    | b-1/u/$USER_ID/*   | b-1/u/al*            | UNEQUAL | or alice                  |
    | b-1/u/$USER_ID/*   | b-1/?/al/*           | UNEQUAL | u is like ?               |
    | b-1/u/$USER_ID/*   | b-*/u/al/*           | UNEQUAL | b-1 is like b-*           |
    | b-1/u/$USER_ID/*   | b-1/*                | ALIKE   | all folders are in it     |
    | b-1/u/$USER_ID/*   | b-1/*.jpg            | ALIKE   | some names of each folder |
    | b-1/u/$USER_ID/*   | b-1/u/*/in/*         | ALIKE   | a part of each folder     |
    | b-1/u/$USER_ID/*   | b-1/u/*lice          | ALIKE   | it ends names, not users  |
    | b-1/u/$USER_ID/*   | a list of b-1/u/*    | ALIKE   | names of each folder      |
    | b-1/u/$USER_ID/*   | a list of b-1/u      | ALIKE   | names that begin with u   |
    | b-1/u/$USER_ID/*   | a list of b-1/u/*lice| UNEQUAL | names that begin u/alice  |
    | b-1/u/$USER_ID/*   | a list of b-1/*/in   | UNEQUAL | names that begin u/in     |
    | b-1/*              | b-1/al/*             | APART   | neither is a user's       |
    """
    if isinstance(one, SharedPlace):
        one, other = other, one
    return Verdict.APART if isinstance(one, SharedPlace) else other.compare(one)


def pairs_of(places: Iterable[Place]) -> Iterator[tuple[Place, Place]]:
    """Yield each two of *places* of which one at least is a folder of users."""
    folders: list[Place] = [p for p in places if isinstance(p, UserFolder)]
    shared: list[Place] = [p for p in places if isinstance(p, SharedPlace)]
    yield from itertools.combinations(folders, 2)
    yield from itertools.product(shared, folders)


def places_of(policy: SessionPolicy | None) -> Iterator[Place]:
    """Yield the places that *policy* allows; its Deny statements do not count."""
    for statement in statements_of(json.loads(policy.text)) if policy else ():
        if statement.effect != "Allow" or not statement.is_about_oss:
            continue
        for resource in statement.resources:
            relative = relative_of(resource)
            if relative:
                yield object_place(relative)
            if relative and "/" not in relative.text:
                bucket = relative.text if relative.has_five_parts else "*"
                yield from list_places(bucket, statement)


def object_place(relative: Relative) -> Place:
    """Return the place of the objects of a resource."""
    text, pattern, start, has_five_parts = relative
    before, mark, _ = text.partition(USER_MARK)
    if mark:
        bucket, _, folder = before.partition("/")
        return UserFolder(repr(text), bucket, folder)
    beginning = WILDCARD.split(text, 1)[0] if has_five_parts else ""
    return SharedPlace(repr(text), None, pattern, start, has_five_parts, beginning)


def list_places(bucket: str, statement: Statement) -> Iterator[Place]:
    """Yield the places that an Allow lists: objects whose names begin with a prefix."""
    if not any(map(statement.covers, LIST_ACTIONS)):
        return
    tests = [
        (test.operator, prefix)
        for test in statement.conditions
        for prefix in test.values
        if test.key == "oss:Prefix"
    ]
    for operator, prefix in tests or [("StringLike", "*")]:
        text = f"a list of {f'{bucket}/{prefix}'!r}"
        before, mark, _ = prefix.partition(USER_MARK)
        if mark:
            yield UserFolder(text, bucket, before)
            continue
        tokens = wildcards(prefix) if operator == "StringLike" else list(prefix)
        names = Pattern([*tokens, ANY_RUN])
        beginning = WILDCARD.split(prefix, 1)[0]
        yield SharedPlace(text, bucket, names, names.start, True, beginning)
