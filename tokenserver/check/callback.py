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

from tokenserver.check.probe import Unanswered, ask
from tokenserver.check.report import OK, PROBLEM, WARNING, Finding, Kind
from tokenserver.config.callback import Callback
from tokenserver.errors import Cause
from tokenserver.oss.callback import FORM_TYPE
from tokenserver.uploads.receive import ReportRefused

OURS = {"StatusCode", "ErrorCode", "ErrorMessage"}
TOKEN = {"StatusCode", "AccessKeyId"}


def look_at_callback(callback: Callback | None) -> Iterator[Finding]:
    """Yield what is found of Callback.Url, if there is one."""
    if callback:
        yield look_at_url(callback.url.text, callback.url.path)


def look_at_url(url: str, path: str) -> Finding:
    """Return whether what is sent to *url* arrives at *path* of this server."""
    where = f"callback {url}"
    try:
        answer = ask("POST", url, {"Content-Type": FORM_TYPE})
    except Unanswered as unanswered:
        return unanswered_finding(f"{where}: {unanswered}", url, unanswered.cause)
    text = f"{where}: HTTP {answer.status_code}"
    document = document_of(answer)
    if document.get("ErrorCode") == ReportRefused.code:
        return Finding(OK, f"{where}: leads to this server", kind=Kind.CALLBACK)
    if set(document) >= OURS or set(document) >= TOKEN:
        remedy = (
            f"A proxy rewrites the path of {url}, or the server that runs has another "
            f"Callback. Have the proxy forward {path} as it is, in nginx with "
            "proxy_pass and no path behind the port."
        )
        return Finding(
            PROBLEM, f"{text}, not as a report of OSS", remedy, Kind.CALLBACK
        )
    remedy = (
        f"What answers at {url} is not this server. Have the proxy forward {path} to "
        "it, and start the server before --check."
    )
    return Finding(PROBLEM, f"{text}, not this server", remedy, Kind.CALLBACK)


def unanswered_finding(text: str, url: str, cause: Cause | None) -> Finding:
    """Return what it means that nothing answers at *url*."""
    if cause is Cause.NO_NAME:
        remedy = (
            f"The name in {url} cannot be resolved. Look for a typo in Callback.Url."
        )
        return Finding(PROBLEM, text, remedy, Kind.CALLBACK)
    if cause is Cause.NOT_STS:  # a redirect, or what no server of ours answers with
        remedy = (
            f"What answers at {url} is not this server. If it redirects, set "
            "Callback.Url to where it leads, because OSS does not follow."
        )
        return Finding(PROBLEM, text, remedy, Kind.CALLBACK)
    if cause is Cause.TLS:
        remedy = (
            f"OSS calls {url} too, and needs a certificate that is valid for its name "
            "and issued by a public authority."
        )
        return Finding(PROBLEM, text, remedy, Kind.CALLBACK)
    remedy = (
        f"This machine cannot call {url}. Start the server before --check, and try the "
        "URL from outside: OSS calls it from the internet."
    )
    return Finding(WARNING, text, remedy, Kind.CALLBACK)


def document_of(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object of an answer, an empty one if it has none."""
    try:
        document = json.loads(answer.content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
