"""Firefox without a window, driven by its built-in protocol.

Selenium drives Firefox by geckodriver, which Debian does not package; that program
translates to Marionette: over TCP, messages such as 21:[0,1,"WebDriver:...",{}].
Only this machine can be reached: all other requests go to a proxy that does not exist.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.machine import PATIENCE_SECONDS, PROXY_VARIABLES, find_program

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of a reference (WebDriver)
PREFERENCES = {
    "marionette.port": 0,  # any; Firefox writes which into a file
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": "127.0.0.1, localhost, .localhost",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.trr.mode": 5,
    "app.update.disabledForTesting": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "services.settings.server": "data:,",
    "intl.accept_languages": "en-US",
}


class Firefox:
    """A running Firefox."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        self._receive()  # who it is
        self._sent = 0
        self._call("NewSession", {})

    def _receive(self) -> Any:
        length = b""
        while (byte := self._file.read(1)) != b":":
            assert byte, "Firefox ended"
            length += byte
        return json.loads(self._file.read(int(length)))

    def _call(self, command: str, parameters: dict[str, Any]) -> Any:
        self._sent += 1
        message = json.dumps([0, self._sent, f"WebDriver:{command}", parameters])
        self._connection.sendall(f"{len(message)}:{message}".encode())
        _, _, error, result = self._receive()
        assert error is None, f"{command}: {error['error']}: {error['message']}"
        return result

    def open(self, url: str) -> None:
        """Open *url*, and wait until it is loaded."""
        self._call("Navigate", {"url": url})

    def js(self, script: str, *arguments: object) -> Any:
        """Return the result of *script*, which sees the document but no const of it."""
        parameters = {"script": script, "args": list(arguments)}
        return self._call("ExecuteScript", parameters)["value"]

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        return str(
            self.js("return document.querySelector(arguments[0]).innerText", selector)
        )

    def find(self, selector: str) -> str:
        """Return a reference to an element."""
        parameters = {"using": "css selector", "value": selector}
        return str(self._call("FindElement", parameters)["value"][ELEMENT])

    def click(self, selector: str) -> None:
        """Click an element."""
        self._call("ElementClick", {"id": self.find(selector)})

    def type(self, selector: str, text: str) -> None:
        """Type *text*, or choose a file of that path."""
        self._call("ElementSendKeys", {"id": self.find(selector), "text": text})


@contextlib.contextmanager
def running_firefox(folder: Path) -> Iterator[Firefox]:
    """Run Firefox with a new profile in *folder*; skip the test without Firefox."""
    program = find_program("firefox-esr")
    profile = folder / "profile"
    profile.mkdir()
    lines = [
        f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()
    ]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k not in PROXY_VARIABLES}
    command = [program, "--headless", "--marionette", "--profile", str(profile)]
    with subprocess.Popen(
        command,
        env=environment | {"HOME": str(folder), "MOZ_HEADLESS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            port = wait_for_port(profile / "MarionetteActivePort", process)
            address = ("127.0.0.1", port)
            with socket.create_connection(address, PATIENCE_SECONDS) as connection:
                firefox = Firefox(connection)
                yield firefox
        finally:
            process.terminate()


def wait_for_port(file: Path, process: subprocess.Popen[bytes]) -> int:
    """Return the port that Firefox writes into *file* once it listens."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(OSError, ValueError):
            return int(file.read_text())
        assert process.poll() is None, "Firefox ended"
        assert time.monotonic() < deadline, "Firefox does not listen"
        time.sleep(0.05)
