"""Patterns of RAM, in which * is any run of characters and ? is any one.

Source: "Policy elements" (RAM documentation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WILDCARD = re.compile(r"[*?]")
ANY_RUN, ANY_ONE = "any run", "any one"  # tokens; each other token is a character


def wildcards(pattern: str) -> list[str]:
    """Return the tokens of *pattern*: * is any run of characters, ? is any one."""
    return [{"*": ANY_RUN, "?": ANY_ONE}.get(letter, letter) for letter in pattern]


class Pattern:
    """A pattern of RAM, read one character at a time, to see where a text can lead.

    After each character there is a set of positions in the pattern that the text may
    have reached; the set is a number, one bit for each position.  A step is a few
    operations on such numbers and never goes back, so the work is linear in the text.
    Such sets exist for unknown texts too, such as the name of some user.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._at: dict[str, int] = {}  # positions of each character
        self._runs = self._ones = 0  # positions of * and ?
        bit, last = 1, ""
        for token in tokens:
            if token == last == ANY_RUN:
                continue  # ** matches the same as *
            if token == ANY_RUN:
                self._runs |= bit
            elif token == ANY_ONE:
                self._ones |= bit
            else:
                self._at[token] = self._at.get(token, 0) | bit
            bit, last = bit << 1, token
        self.end = bit
        self.tail = bit >> 1 if last == ANY_RUN else 0  # position of a * at the end
        self.start = self._beyond_runs(1)

    def _beyond_runs(self, places: int) -> int:
        """Return *places*, and the ones after a *, which may also match nothing."""
        return places | (places & self._runs) << 1

    def _step(self, places: int, taking: int) -> int:
        """Return the positions after a character that the positions *taking* match."""
        return self._beyond_runs((places & taking) << 1 | places & self._runs)

    def read(self, places: int, text: str) -> int:
        """Return the positions after *text*, starting from *places*."""
        for letter in text:
            if not places:
                break
            places = self._step(places, self._at.get(letter, 0) | self._ones)
        return places

    def read_one_of(self, places: int, letters: Iterable[str]) -> int:
        """Return the positions after any one of *letters*."""
        return self._step(places, self._taking(letters))

    def _taking(self, letters: Iterable[str]) -> int:
        """Return the positions that match at least one of *letters*."""
        taking = self._ones
        for letter in letters:
            taking |= self._at.get(letter, 0)
        return taking

    def read_unspelt(self, places: int, length: int) -> int:
        """Return the positions after *length* characters that the pattern lacks."""
        for _ in range(length):
            places = self._step(places, self._ones)
        return places

    def read_some(self, places: int, letters: Iterable[str]) -> int:
        """Return the positions after all texts of one or more of *letters*."""
        taking = self._taking(letters)
        found = 0
        while True:
            places = self._step(places, taking)
            if places | found == found:
                return found
            found |= places

    def all_but(self, letters: str) -> set[str]:
        """Return the characters of the pattern, except *letters*."""
        return self._at.keys() - set(letters)

    def read_each(self, places: int, behind: str) -> int:
        """Return the positions after every text of one or more characters and *behind*.

        These are the positions that short and long texts of unknown characters have in
        common; texts of known characters may reach more.
        """
        found = -1
        for _ in range(self.end.bit_length() + 1):  # longer texts all end in a *
            before, places = places, self.read_unspelt(places, 1)
            found &= self.read(places, behind)
            if places == before:
                break
        return found

    def is_like(self, text: str) -> bool:
        """Return whether the pattern matches *text*."""
        return bool(self.read(self.start, text) & self.end)


def is_like(text: str, pattern: str) -> bool:
    """Return whether *pattern*, in which * and ? are wildcards, matches *text*."""
    return Pattern(wildcards(pattern)).is_like(text)


def has_wildcard(pattern: str) -> bool:
    """Return whether * or ? is in *pattern*."""
    return WILDCARD.search(pattern) is not None
