"""Whether the URL that OSS is to call leads to this server, and as it is written.

The server, which has to run, is sent a report that nobody signed.  If it refuses that
as one, the path has arrived as OSS is told it, and OSS's signature, which is over the
path, will be right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import requests

from tokenserver.check import callback_texts
from tokenserver.check.probe import Unanswered, ask
from tokenserver.check.report import OK, PROBLEM, WARNING, Finding, Kind
from tokenserver.check.texts import Language, Text
from tokenserver.config.callback import Callback
from tokenserver.errors import Cause
from tokenserver.oss.callback import FORM_TYPE
from tokenserver.uploads.receive import ReportRefused

OURS = {"StatusCode", "ErrorCode", "ErrorMessage"}
TOKEN = {"StatusCode", "AccessKeyId"}
REMEDIES: dict[Cause | None, Text] = {
    Cause.NO_NAME: callback_texts.NO_NAME,
    Cause.NOT_STS: callback_texts.REDIRECTED,  # or an answer that no server of ours has
    Cause.TLS: callback_texts.CERTIFICATE,
}


def look_at_callback(
    callback: Callback | None, language: Language = "en"
) -> Iterator[Finding]:
    """Yield the finding about Callback.Url, if there is one."""
    if callback:
        yield look_at_url(callback.url.text, callback.url.path, language)


def look_at_url(url: str, path: str, language: Language = "en") -> Finding:
    """Return whether a request to *url* arrives at *path* of this server."""

    def problem(text: str, remedy: Text) -> Finding:
        said = remedy.said(language, url=url, path=path)
        return Finding(PROBLEM, f"{where}: {text}", said, Kind.CALLBACK)

    where = f"callback {url}"
    try:
        answer = ask("POST", url, {"Content-Type": FORM_TYPE})
    except Unanswered as unanswered:
        if unanswered.cause in REMEDIES:
            return problem(str(unanswered), REMEDIES[unanswered.cause])
        said = callback_texts.UNREACHABLE.said(language, url=url)
        return Finding(WARNING, f"{where}: {unanswered}", said, Kind.CALLBACK)
    status = f"HTTP {answer.status_code}"
    document = document_of(answer)
    if document.get("ErrorCode") == ReportRefused.code:
        return Finding(OK, f"{where}: leads to this server", kind=Kind.CALLBACK)
    if set(document) >= OURS or set(document) >= TOKEN:
        text = f"{status}, not as a report of OSS"
        return problem(text, callback_texts.REWRITTEN)
    return problem(f"{status}, not this server", callback_texts.NOT_THIS_SERVER)


def document_of(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object of an answer, an empty one if it has none."""
    try:
        document = json.loads(answer.content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
