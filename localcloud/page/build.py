"""The upload page as one file, joined from its parts.

parts/page.html names the style sheet and the scripts in their order, so that it works
as it is, too; here each is put into its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

PARTS = Path(__file__).with_name("parts")
STYLE_SHEET = re.compile(r'<link rel="stylesheet" href="([a-z-]+\.css)">')
SCRIPTS = re.compile(r'(?:<script src="[a-z-]+\.js"></script>\n)+')
SCRIPT_NAME = re.compile(r'src="([a-z-]+\.js)"')
SETTINGS = re.compile(
    r'(?<=<script type="application/json" id="settings">).*?(?=</script>)', re.DOTALL
)

Settings = Mapping[str, "str | bool"]


def build_page(settings: Settings | None = None) -> str:
    """Return the page, with *settings* in place of the blank ones.

    Raises ValueError for a setting that the page does not have.
    """
    page = read_part("page.html")
    page = STYLE_SHEET.sub(
        lambda link: f"<style>\n{read_part(link[1])}</style>", page, count=1
    )
    page = SCRIPTS.sub(lambda tags: joined_scripts(tags[0]), page, count=1)
    return with_settings(page, settings or {})


def joined_scripts(tags: str) -> str:
    """Return one script that has the contents of those that *tags* name."""
    contents = [read_part(name) for name in SCRIPT_NAME.findall(tags)]
    return "<script>\n" + "\n".join(contents) + "</script>\n"


def read_part(name: str) -> str:
    """Return the text of a part."""
    return (PARTS / name).read_text(encoding="utf-8")


def read_settings(page: str) -> dict[str, str | bool]:
    """Return the settings in the text of the page."""
    block = SETTINGS.search(page)
    assert block, "the page has no settings"
    settings: dict[str, str | bool] = json.loads(block[0])
    return settings


def with_settings(page: str, changes: Settings) -> str:
    """Return *page* with some settings changed.  Raises ValueError for unknown ones."""
    settings = read_settings(page)
    unknown = changes.keys() - settings.keys()
    if unknown:
        raise ValueError(f"the page has no setting {', '.join(sorted(unknown))}")
    block = json.dumps(settings | dict(changes), indent=2)
    block = block.replace("<", r"\u003c")  # so that no value can end the element
    return SETTINGS.sub(lambda _: f"\n{block}\n", page)
