"""Resources of a policy: the buckets and objects that a pattern matches.

Sources: "Policy elements" (RAM documentation), "Bucket naming" (OSS documentation).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import NamedTuple

from tokenserver.config.patterns import Pattern, wildcards

OTHER_SERVICE = re.compile(r"(?!oss$)[a-z0-9-]+")  # in a resource, such as kms

# "Bucket naming" (OSS)
BUCKET_FORM = "3 to 63 lower-case letters, digits and -"
BUCKET_LENGTHS = (3, 63)
BUCKET_EDGE = string.ascii_lowercase + string.digits  # its first and last characters
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")

# How the four parts before a bucket are read: acs, oss, a region and an account
ARN_PARTS: tuple[Callable[[Pattern, int], int], ...] = (
    lambda pattern, start: pattern.read(start, "acs"),
    lambda pattern, start: pattern.read(start, "oss"),
    lambda pattern, start: pattern.read_some(start, BUCKET_EDGE + "-"),
    lambda pattern, start: pattern.read_some(start, string.digits),
)


class Relative(NamedTuple):
    """The part of a resource after acs:oss:<region>:<account>:, a bucket and an object.

    It is the pattern from *start* on.  If the resource has fewer than five parts,
    *start* has every position that some region and account lead to.
    """

    text: str
    pattern: Pattern
    start: int  # 0 if no resource of OSS is like this
    has_five_parts: bool

    @property
    def takes_a_bucket(self) -> bool:
        """Whether a bucket can have this name."""
        shortest, longest = BUCKET_LENGTHS
        places = self.pattern.read_one_of(self.start, BUCKET_EDGE)
        for length in range(2, longest + 1):
            last = self.pattern.read_one_of(places, BUCKET_EDGE)
            if length >= shortest and self._is_at_an_end(last):
                return True
            places = self.pattern.read_one_of(places, BUCKET_EDGE + "-")
        return False

    @property
    def takes_every_bucket(self) -> bool:
        """Whether it matches objects in every bucket, whatever its name."""
        return all(
            self._is_at_an_end(self.pattern.read_unspelt(self.start, length))
            for length in BUCKET_LENGTHS
        )

    def _is_at_an_end(self, places: int) -> bool:
        """Return whether the bucket may end there."""
        return bool(places & self.pattern.end or self.pattern.read(places, "/"))


def relative_of(resource: str) -> Relative | None:
    """Return the pattern of buckets and objects in *resource*, None if not of OSS.

    A wildcard does not match one of the first four ":", and if there are fewer parts,
    the last one matches all the rest: acs:oss:* is everything.
    """
    *before, text = resource.split(":", 4)
    if before[:1] == ["acs"] and OTHER_SERVICE.fullmatch("".join(before[1:2])):
        return None
    pattern = Pattern(wildcards(text))
    start = pattern.start
    for part, form in zip(before, ARN_PARTS, strict=False):
        head = Pattern(wildcards(part))
        if not form(head, head.start) & head.end:
            start = 0
    for form in ARN_PARTS[len(before) :]:
        start = pattern.read(form(pattern, start), ":")
    return Relative(text, pattern, start, len(before) == 4)
