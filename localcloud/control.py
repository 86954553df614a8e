"""A small HTTP API of a LocalCloud, for tests in languages other than Python.

    POST /fail           {"service": "oss", "operation": "PutObject",
                          "codes": ["ServiceUnavailable"], "always": false}
    POST /expire-tokens  {}
    POST /login-token    {"user": "alice"}  ->  {"token": "eyJ..."}
    POST /objects        {}                 ->  {"keys": ["users/alice/cat.jpg"]}
    POST /uploads        {}                 ->  {"uploads": [{"object": ...}]}
    POST /reset          {}

Each does the same as the method or property of LocalCloud with that name.  An invalid
request gets 400 and {"error": "..."}.  Web pages cannot use it: browsers send an Origin
header, or a preflight request before a JSON body, and both are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from localcloud.cloud import LocalCloud
from localcloud.loopback import LoopbackHandler, LoopbackServer

MAX_BODY_BYTES = 1 << 20

Document = dict[str, Any]


class ControlServer:
    """Serves the API for *cloud* on a free port, for as long as a with block lasts."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud

    def __enter__(self) -> ControlServer:
        self._server = LoopbackServer(0, _Handler, self)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.close()

    def answer(self, path: str, document: Document) -> Document:
        """Perform the action of *path*; return the document for the reply.

        Raises KeyError for an unknown path, and ValueError or TypeError for an invalid
        *document*.
        """
        actions: dict[str, Callable[..., Document]] = {
            "/fail": self._fail,
            "/expire-tokens": self._expire_tokens,
            "/login-token": self._login_token,
            "/objects": self._objects,
            "/uploads": self._uploads,
            "/reset": self._reset,
        }
        return actions[path](**document)

    def _fail(
        self, service: str, operation: str, codes: list[str], always: bool = False
    ) -> Document:
        if service == "oss":
            self._cloud.oss.fail(operation, *codes, always=always)
        elif service == "sts":
            self._cloud.sts.fail(operation, *codes, always=always)
        else:
            raise ValueError(f"service must be oss or sts, not {service!r}")
        return {}

    def _expire_tokens(self) -> Document:
        self._cloud.expire_tokens()
        return {}

    def _login_token(self, user: str) -> Document:
        return {"token": self._cloud.login_token(user)}

    def _objects(self) -> Document:
        return {"keys": self._cloud.objects.keys()}

    def _uploads(self) -> Document:
        return {"uploads": self._cloud.uploads}

    def _reset(self) -> Document:
        self._cloud.reset()
        return {}


class _Handler(LoopbackHandler):
    """One connection; each request is a POST of a JSON object."""

    def version_string(self) -> str:
        """Return the Server header, which does not mention Python."""
        return "localcloud"

    def do_POST(self) -> None:
        """Perform the request, or reply with the reason why not."""
        control: ControlServer = self.server.service
        length = self.headers.get("Content-Length", "")
        if "Origin" in self.headers:
            self.refuse(HTTPStatus.FORBIDDEN, "web pages may not use this API")
        elif self.headers.get_content_type() != "application/json":
            self.refuse(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "Content-Type must be application/json",
            )
        elif not (length.isascii() and length.isdigit()):
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "Content-Length must be a number")
        elif int(length) > MAX_BODY_BYTES:
            self.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body may have at most {MAX_BODY_BYTES} bytes",
            )
        else:
            self.answer(control, self.rfile.read(int(length)))

    def answer(self, control: ControlServer, body: bytes) -> None:
        """Reply to a request with *body*."""
        try:
            document = json.loads(body)
            if not isinstance(document, dict):
                raise ValueError("the body must be a JSON object")
            self.reply(HTTPStatus.OK, control.answer(self.path, document))
        except KeyError:
            self.refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")
        except (TypeError, ValueError, RecursionError) as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))

    def refuse(self, status: HTTPStatus, reason: str) -> None:
        """Reply with an error and close the connection, whose body may be unread."""
        self.close_connection = True
        self.reply(status, {"error": reason})

    def reply(self, status: HTTPStatus, document: Document) -> None:
        """Send *document*."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
