"""The manual has each thing once, in both languages, and its links lead somewhere."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from helpers.manual import DOCS, LANGUAGES, MANUAL, PAGES, PAIRS, Page
from helpers.server import RunningServer
from helpers.settings import ROOT

from localcloud.options import parse_arguments as parse_demo_arguments
from tokenserver import app, documents, metrics
from tokenserver.config import grants
from tokenserver.config import settings as config_settings
from tokenserver.counts import Histogram, Tally
from tokenserver.httpd.request import RequestError
from tokenserver.logs import ReplyLine
from tokenserver.options import parse_arguments
from tokenserver.uploads.uploads import Uploads

MOST_README_LINES = 170  # as many as are read in five minutes

each_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
each_pair = pytest.mark.parametrize(("english", "chinese"), PAIRS.values(), ids=PAIRS)
each_language = pytest.mark.parametrize("language", LANGUAGES)


# --- Both languages -------------------------------------------------------------

# The Chinese page has no tables of figures: they are numbers in any language.
each_mirrored_pair = pytest.mark.parametrize(
    ("english", "chinese"),
    [pair for name, pair in PAIRS.items() if name != "benchmarks/README.md"],
    ids=[name for name in PAIRS if name != "benchmarks/README.md"],
)


def test_each_page_is_in_both_languages() -> None:
    english = {path.name for path in DOCS.glob("*.md")}

    assert {path.name for path in (DOCS / "zh-CN").glob("*.md")} == english


@each_mirrored_pair
def test_both_languages_have_the_same_outline(english: Page, chinese: Page) -> None:
    def outline(page: Page) -> dict[str, object]:
        return {
            "headings": [level for level, _ in page.headings],
            "table rows": len(page.rows),
            "indented lines": len(re.findall(r"^ {4}", page.prose, re.MULTILINE)),
        }

    assert outline(english) == outline(chinese)


@each_mirrored_pair
def test_both_languages_print_the_same_code(english: Page, chinese: Page) -> None:
    assert english.blocks == chinese.blocks


@each_mirrored_pair
def test_both_languages_name_the_same_things(english: Page, chinese: Page) -> None:
    assert english.names == chinese.names


# --- Each page ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_read_in_five_minutes(name: str) -> None:
    assert len(PAGES[name].text.splitlines()) <= MOST_README_LINES


@each_page
def test_a_page_says_first_for_whom_it_is(page: Page) -> None:
    if page.path.parent == ROOT:  # for everybody
        return
    title, _, sentence = page.text.splitlines()[:3]

    assert title.startswith("# ")
    assert sentence.startswith(("For ", "适用于"))


@each_page
def test_links_lead_to_what_is_there(page: Page) -> None:
    for link in page.links:
        target, _, fragment = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path

        assert path.exists(), link
        if fragment:
            found = PAGES[path.relative_to(ROOT).as_posix()]
            assert fragment in found.anchors, link


@each_language
def test_the_table_of_contents_has_each_page_once(language: str) -> None:
    contents, *_ = [page for page in MANUAL[language] if page.path.stem == "README"]
    rows = [row for row in contents.rows if "](" in row]
    linked = [
        (contents.path.parent / match[1]).resolve()
        for row in rows
        if (match := re.search(r"\]\(([^)#]+)", row))
    ]

    pairs = [pair[language == "zh-CN"] for pair in PAIRS.values()]
    pages = [page.path for page in pairs if page.path.parent != ROOT]
    assert sorted(linked) == sorted(set(pages) - {contents.path})


@each_page
def test_what_can_be_pasted_has_no_placeholder(page: Page) -> None:
    for code in page.code("sh") + page.code("bat"):
        assert not re.search(r"<[a-z ]+>|…", code)


# --- Each thing of the server ---------------------------------------------------


def entries(language: str, page_name: str = "") -> Counter[str]:
    """Return how often each name has a row in the tables of a page, or of all."""
    pages = [page for page in MANUAL[language] if page.path.name.endswith(page_name)]
    return Counter(name for page in pages for name in page.entries)


def not_once(language: str, names: Iterable[str], page_name: str = "") -> list[str]:
    """Return which of *names* have no row there, or more than one."""
    counts = entries(language, page_name)
    return sorted(name for name in set(names) if counts[name] != 1)


@each_language
@pytest.mark.parametrize(
    ("name", "table", "prefix"),
    [
        ("configuration.md", config_settings.SETTINGS, ""),
        ("users-and-grants.md", config_settings.LOGIN_SETTINGS, ""),
        ("signed-uploads.md", config_settings.SIGNED_SETTINGS, ""),
        ("uploads.md", config_settings.CALLBACK_SETTINGS, "Callback."),
    ],
)
def test_each_setting_is_in_the_manual_once(
    language: str, name: str, table: Iterable[config_settings.Setting[Any]], prefix: str
) -> None:
    assert not_once(language, [prefix + row.name for row in table], name) == []


def options_of(help_text: str) -> set[str]:
    """Return the options that *help_text* explains."""
    return set(re.findall(r"^  (--[a-z0-9-]+)", help_text, re.MULTILINE))


@each_language
def test_each_option_is_in_the_manual_once(
    language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for parse, name in (
        (parse_arguments, "configuration.md"),
        (parse_demo_arguments, "demo.md"),
    ):
        counts = Counter(row.split()[0] for row in entries(language, name).elements())
        with pytest.raises(SystemExit):
            parse(["--help"])
        options = options_of(capsys.readouterr().out)

        assert {option for option in options if counts[option] != 1} == set()


@each_language
def test_each_metric_is_in_the_manual_once(language: str) -> None:
    counters = metrics.Counters(
        *(Tally(), Tally(), Tally(), Tally()),
        latency=Histogram([1.0]),
        calls_in_flight=lambda: 0,
        connections=lambda: (0, 0),
        generation=lambda: 1,
        age_seconds=time.monotonic,
        uploads=Uploads(lambda: None),
    )
    found = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.ServerCollector(counters).collect()
    }
    counts = Counter(name.split("{")[0] for name in entries(language).elements())

    names = {name.removeprefix("sts_server_") for name in found}
    assert {name for name in names if counts[name] != 1} == set()


@each_language
def test_each_error_code_is_in_the_manual_once(language: str) -> None:
    codes = {kind.code for kind in RequestError.__subclasses__()}
    codes |= {code for code, _ in documents.TEXTS.values()}
    assert app.NotReady.code in codes

    assert not_once(language, codes) == []


@each_language
def test_each_path_is_in_the_manual_once(language: str) -> None:
    assert not_once(language, [*grants.RESERVED_PATHS, "/metrics"]) == []


@pytest.mark.parametrize("name", ["docs/operations.md", "docs/zh-CN/operations.md"])
def test_each_key_of_the_log_is_explained(name: str) -> None:
    assert {"time", "level", *ReplyLine._fields} <= set(PAGES[name].entries)


@pytest.mark.parametrize("name", ["docs/http.md", "docs/zh-CN/http.md"])
def test_the_exchange_shown_is_what_the_server_sends(
    name: str, server: RunningServer
) -> None:
    (shown,) = PAGES[name].code("console")
    lines = shown[shown.index("HTTP/1.1 200 OK") :].split("\n\n")[0].splitlines()
    expected = dict(line.split(": ", 1) for line in lines[1:])

    reply = server.request("/sts/getsts")

    headers = dict(reply.headers) | {"date": "", "content-length": ""}
    assert headers == {
        name.lower(): "" if name in ("Date", "Content-Length") else value
        for name, value in expected.items()
    }
