"""The upload page on loopback, with settings of its own.

    with UploadPage({"appServer": server_url}) as page:
        ...  # open page.url in a browser

Its Content-Security-Policy lets the page run its own script and style, known by their
hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus

from localcloud.loopback import LoopbackHandler, LoopbackServer
from localcloud.network import Network
from localcloud.page.build import Settings, build_page

SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


class UploadPage:
    """Serves the page for as long as a with block lasts, by default on 127.0.0.1.

    *settings* replace the blank ones; port 0 is any free one.  Without settings, the
    page has its port and keeps who asks for it waiting until show(): the servers that
    it is to talk to may have to know its origins first.  Raises ValueError for a
    setting that the page does not know.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        port: int = 0,
        network: Network | None = None,
    ) -> None:
        self.port = port
        self.network = network or Network()
        self.body = b""
        if settings is not None:
            self._set(settings)

    def __enter__(self) -> UploadPage:
        self._server = LoopbackServer(self.port, _Handler, self, self.network)
        self.port = self._server.port
        self.url = f"{self.network.url(self.port)}/"
        if self.body:
            self._server.start()
        return self

    def show(self, settings: Settings) -> None:
        """Serve the page from now on, with *settings*.  Raises ValueError."""
        self._set(settings)
        self._server.start()

    def _set(self, settings: Settings) -> None:
        self.body = build_page(settings).encode()
        self.content_security_policy = content_security_policy(self.body.decode())

    @property
    def origins(self) -> list[str]:
        """The origins of the page, as browsers send them, by the names of this host."""
        return self.network.origins(self.port)

    def __exit__(self, *exc_info: object) -> None:
        self._server.close()


def content_security_policy(page: str) -> str:
    """Return the policy for *page*.

    Where it connects to is a matter of its settings, so that can be any server.
    """
    directives = {
        "default-src": "'none'",
        "script-src": hashes(SCRIPT.findall(page)),
        "style-src": hashes(STYLE.findall(page)),
        "connect-src": "http: https:",
        "img-src": "blob: data: http: https:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # The browser refuses to make elements of text, such as the name of an object.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


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
