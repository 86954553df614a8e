"""What the READMEs say is what the server does, in both languages."""

from __future__ import annotations

import re

import pytest
from helpers.server import RunningServer
from helpers.settings import ROOT

from tokenserver import documents
from tokenserver.config import settings as config_settings
from tokenserver.httpd.request import RequestError

README = {
    name: (ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md")
}
each_readme = pytest.mark.parametrize("text", README.values(), ids=README.keys())


@each_readme
def test_every_setting_is_in_the_table(text: str) -> None:
    tables = (config_settings.SETTINGS, config_settings.LOGIN_SETTINGS)
    keys = {setting.name for table in tables for setting in table}

    first_cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    documented = set(re.findall(r"`(\w+)`", " ".join(first_cells)))
    assert keys <= documented


@each_readme
def test_every_error_code_of_ours_is_in_a_table(text: str) -> None:
    pairs = (
        documents.UNREACHABLE,
        documents.UNUSABLE,
        documents.NO_CREDENTIALS,
        documents.INTERNAL,
    )
    codes = [*(kind.code for kind in RequestError.__subclasses__()), *dict(pairs)]

    assert [code for code in codes if f"`{code}`" not in text] == []


@each_readme
def test_the_exchange_shown_is_what_the_server_sends(
    text: str, server: RunningServer
) -> None:
    shown = text[text.index("    HTTP/1.1 200 OK") :].split("\n\n")[0].splitlines()
    expected = dict(line.strip().split(": ", 1) for line in shown[1:])

    reply = server.request("/sts/getsts")

    headers = dict(reply.headers) | {"date": "", "content-length": ""}
    assert headers == {
        name.lower(): "" if name in ("Date", "Content-Length") else value
        for name, value in expected.items()
    }


def test_both_languages_say_the_same() -> None:
    def outline(text: str) -> dict[str, int]:
        return {
            "headings": len(re.findall(r"^#+ ", text, re.MULTILINE)),
            "table rows": len(re.findall(r"^\|", text, re.MULTILINE)),
            "code lines": len(re.findall(r"^    ", text, re.MULTILINE)),
        }

    def names(text: str) -> set[str]:
        return set(re.findall(r"`([^`\n]+)`", text))

    english, chinese = README.values()
    assert outline(english) == outline(chinese)
    assert names(english) == names(chinese)
