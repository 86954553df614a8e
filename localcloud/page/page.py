"""The upload page on loopback: localcloud/page/upload.html, with settings of its own.

    with UploadPage({"tokenUrl": server_url, "endpoint": oss.url}) as page:
        ...  # open page.url in a browser

Its Content-Security-Policy lets the page run its own script and style, known by their
hashes, and talk to the token server and to OSS, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from localcloud.loopback import LoopbackHandler, LoopbackServer

PAGE_FILE = Path(__file__).with_name("upload.html")
SETTINGS = re.compile(
    r'(?<=<script type="application/json" id="settings">).*?(?=</script>)', re.DOTALL
)
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")  # the start of a URL


class UploadPage:
    """Serves the page on 127.0.0.1 for as long as a with block lasts.

    *settings* replace those in the file; port 0 is any free one.  Without settings, the
    page has its port and keeps who asks for it waiting until show(): the servers that
    it is to talk to may have to know its origins first.  Raises ValueError for a
    setting that the page does not know, or a URL that is not http or https.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        self.port = port
        self.body = b""
        if settings is not None:
            self._set(settings)

    def __enter__(self) -> UploadPage:
        self._server = LoopbackServer(self.port, _Handler, self)
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}/"
        if self.body:
            self._server.start()
        return self

    def show(self, settings: Mapping[str, str]) -> None:
        """Serve the page from now on, with *settings*.  Raises ValueError."""
        self._set(settings)
        self._server.start()

    def _set(self, settings: Mapping[str, str]) -> None:
        source = PAGE_FILE.read_text(encoding="utf-8")
        self.body = with_settings(source, settings).encode()
        self.content_security_policy = content_security_policy(self.body.decode())

    @property
    def origins(self) -> list[str]:
        """The origins of the page, as browsers send them, by the names of this host."""
        port = "" if self.port == 80 else f":{self.port}"  # they leave that out
        return [f"http://{host}{port}" for host in ("127.0.0.1", "localhost")]

    def __exit__(self, *exc_info: object) -> None:
        self._server.close()


def read_settings(page: str) -> dict[str, str]:
    """Return the settings in the text of the page."""
    block = SETTINGS.search(page)
    assert block, f"{PAGE_FILE} has no settings"
    settings: dict[str, str] = json.loads(block[0])
    return settings


def with_settings(page: str, changes: Mapping[str, str]) -> str:
    """Return *page* with some settings changed.  Raises ValueError for unknown ones."""
    settings = read_settings(page)
    unknown = changes.keys() - settings.keys()
    if unknown:
        raise ValueError(f"the page has no setting {', '.join(sorted(unknown))}")
    block = json.dumps(settings | dict(changes), indent=2)
    block = block.replace("<", r"\u003c")  # so that no value can end the element
    return SETTINGS.sub(lambda _: f"\n{block}\n", page)


def content_security_policy(page: str) -> str:
    """Return the policy for *page*.  Raises ValueError for an unusable URL in it."""
    settings = read_settings(page)
    token_server, oss = origin(settings["tokenUrl"]), origin(settings["endpoint"])
    directives = {
        "default-src": "'none'",
        "script-src": hashes(SCRIPT.findall(page)),
        "style-src": hashes(STYLE.findall(page)),
        "connect-src": f"{token_server} {oss}",
        "img-src": f"blob: data: {oss}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # The browser refuses to make elements of text, such as the name of an object.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def origin(url: str) -> str:
    """Return scheme, host and port of *url*.  Raises ValueError."""
    match = ORIGIN.match(url)
    if not match or url[match.end() :][:1] not in ("", "/", "?"):
        raise ValueError(f"no URL of HTTP: {url!r}")
    return match[0]


def hashes(contents: list[str]) -> str:
    """Return the sources that stand for inline scripts or styles."""
    digests = [hashlib.sha256(content.encode()).digest() for content in contents]
    return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)


class _Handler(LoopbackHandler):
    """GET and HEAD of the page; nothing else is there."""

    def version_string(self) -> str:
        """Return the Server header: nothing of Python."""
        return "upload-page"

    def do_GET(self) -> None:
        """Send the page, or 404."""
        page: UploadPage = self.server.service
        if self.path.partition("?")[0] == "/":
            csp = {"Content-Security-Policy": page.content_security_policy}
            self.reply(HTTPStatus.OK, "text/html", page.body, csp)
        else:
            self.reply(HTTPStatus.NOT_FOUND, "text/plain", b"Not found.\n")

    do_HEAD = do_GET

    def refuse_method(self) -> None:
        """Send 405, and close the connection: there may be a body."""
        fields = {"Allow": "GET, HEAD", "Connection": "close"}
        body = b"Only GET and HEAD.\n"
        self.reply(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", body, fields)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse_method

    def reply(
        self,
        status: HTTPStatus,
        content_type: str,
        body: bytes,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole reply."""
        self.send_response(status)
        headers = {
            "Content-Type": f"{content_type}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            **(fields or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
