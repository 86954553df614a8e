"""The pages of the manual in both languages, and their content.

A page of docs/ is found by its name, and so is its translation in docs/zh-CN/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from helpers.settings import ROOT

DOCS = ROOT / "docs"
LANGUAGES = ("en", "zh-CN")
FENCE = re.compile(
    r"^ {0,3}```(?P<language>\w*)\n(?P<code>.*?)^ {0,3}```$", re.MULTILINE | re.DOTALL
)

ENTRIES = re.compile(r"`[^`]+`(?:(?:, |、)`[^`]+`)*")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str


class Page:
    """A page of the manual."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text("utf-8")
        self.prose = FENCE.sub("", self.text)

    @property
    def name(self) -> str:
        """Its path below the top folder."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks."""
        found = FENCE.finditer(self.text)
        return [Block(match["language"], match["code"]) for match in found]

    def code(self, language: str) -> list[str]:
        """Return its blocks in *language*."""
        return [block.code for block in self.blocks if block.language == language]

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Its headings, with their levels."""
        found = re.findall(r"^(#+) (.*)$", self.prose, re.MULTILINE)
        return [(len(marks), title) for marks, title in found]

    @property
    def anchors(self) -> set[str]:
        """The fragments that lead to its headings, as GitHub makes them."""
        kept = [re.sub(r"[^\w\- ]", "", title.lower()) for _, title in self.headings]
        return {title.replace(" ", "-") for title in kept}

    @property
    def rows(self) -> list[str]:
        """The lines of its tables."""
        return re.findall(r"^\|.*$", self.prose, re.MULTILINE)

    @property
    def entries(self) -> list[str]:
        """The names that its tables have rows for: first cells with only code."""
        cells = [row.split(" | ")[0].removeprefix("| ") for row in self.rows]
        code = [cell for cell in cells if ENTRIES.fullmatch(cell)]
        return [name for cell in code for name in re.findall(r"`([^`]+)`", cell)]

    @property
    def names(self) -> set[str]:
        """The code spans in its prose, with spaces for line ends."""
        return {" ".join(name.split()) for name in re.findall(r"`([^`]+)`", self.prose)}

    @property
    def links(self) -> list[str]:
        """Its links to files of this project."""
        found = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [target for target in found if "://" not in target]


def translation_of(path: Path) -> Path:
    """Return the path of the Chinese page for an English one."""
    if path.parent == DOCS:
        return DOCS / "zh-CN" / path.name
    return path.with_name(f"{path.stem}.zh-CN.md")


def page_pairs() -> Iterator[tuple[Page, Page]]:
    """Yield each page, with its translation."""
    tops = [
        ROOT / "README.md",
        ROOT / "deploy/README.md",
        ROOT / "benchmarks/README.md",
    ]
    for path in [*tops, *sorted(DOCS.glob("*.md"))]:
        yield Page(path), Page(translation_of(path))


PAIRS = {english.name: (english, chinese) for english, chinese in page_pairs()}
PAGES = {page.name: page for pair in PAIRS.values() for page in pair}
# What is said of a setting, an option or an error code is said in docs/ alone.
MANUAL = {
    "en": [en for en, _ in PAIRS.values() if en.path.parent == DOCS],
    "zh-CN": [zh for en, zh in PAIRS.values() if en.path.parent == DOCS],
}
