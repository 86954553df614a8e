"""A visit to the upload page."""

from __future__ import annotations

import os
import re
import struct
import urllib.request
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from helpers.browser import wait_for
from helpers.machine import PATIENCE_SECONDS
from localcloud.oss import CorsRule, OssStandIn
from localcloud.oss.storage import Bucket
from localcloud.page import UploadPage

SLOW = 3_000_000  # bytes a second: what is uploaded can be watched


def create_bucket(
    page_oss: OssStandIn, page: UploadPage, rule: CorsRule | None = None
) -> Bucket:
    """Create the bucket, with a CORS *rule* for *page* only."""
    rules = [replace(rule or CorsRule(), allowed_origins=page.origins)]
    return page_oss.create_bucket("demo-bucket", rules)


class Visit:
    """The actions of a person on the page, and what the page shows."""

    def __init__(self, browser: webdriver.Chrome, url: str, folder: Path) -> None:
        self.browser = browser
        self.url = url
        self.folder = folder
        self.expects_complaints = False  # in the console, about provoked failures

    def open(self, width: int = 1000) -> None:
        """Open the page and wait for its list."""
        self.resize(width)
        self.browser.get(self.url)
        self.wait_for_list()

    def resize(self, width: int) -> None:
        """Make the window *width* pixels wide."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )

    def wait_for_list(self) -> None:
        """Wait until the page shows the list of objects, or an error."""
        wait_for(lambda: self.text("#objects-status") not in ("", "Loading…"), True)

    def leave(self) -> None:
        """Leave the page, which keeps no state."""
        self.speed(-1)
        self.browser.get("about:blank")
        origin = self.url.rstrip("/")
        self.cdp("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
        self.complaints()

    def cdp(self, command: str, **parameters: object) -> None:
        self.browser.execute_cdp_cmd(command, parameters)

    def speed(self, bytes_per_second: int) -> None:
        """Limit the speed of uploads; -1 removes the limit."""
        self.cdp("Network.enable")
        self.cdp(
            "Network.emulateNetworkConditions",
            offline=False,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=bytes_per_second,
        )

    def js(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def resolved(self, expression: str, *arguments: object) -> Any:
        """Return the value of a promise."""
        script = f"return (async (...a) => {expression})(...arguments)"
        return self.js(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the visible text of an element, "" if it does not exist."""
        script = """
            const element = document.querySelector(arguments[0]);
            return element?.checkVisibility() ? element.innerText : "";
        """
        return str(self.js(script, selector))

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def press(self, key: str) -> None:
        ActionChains(self.browser).send_keys(key).perform()

    def fill_in(self, **values: str) -> None:
        """Type *values* into the settings; _ in their ids stands for -."""
        self.js("byId('panel').open = true")
        for name, value in values.items():
            field = self.find(f"#{name.replace('_', '-')}")
            field.clear()
            field.send_keys(value)

    def set(self) -> None:
        """Press Set, and wait for the result."""
        self.click("#set")
        wait_for(lambda: self.text("#form-status"), "Set.")

    def choose(self, files: dict[str, bytes]) -> None:
        """Choose *files* in the file picker."""
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        self.choose_again(*files)

    def choose_again(self, *names: str, into: str = "#file-input") -> None:
        """Choose files that were chosen before, with their present content."""
        paths = [str(self.folder / name) for name in names]
        self.find(into).send_keys("\n".join(paths))

    def offline(self, is_offline: bool) -> None:
        """Cut this browser off from every network, or connect it again."""
        self.cdp("Network.enable")
        self.cdp(
            "Network.emulateNetworkConditions",
            offline=is_offline,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def drop(self, name: str, data: str) -> None:
        """Drop a file on the drop zone."""
        script = """
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([arguments[1]], arguments[0]));
            const zone = document.querySelector("#drop-zone");
            const details = { bubbles: true, cancelable: true, dataTransfer };
            return ["dragenter", "dragover", "drop"].map((type) =>
              zone.dispatchEvent(new DragEvent(type, details)));
        """
        is_left_to_browser = self.js(script, name, data)
        assert is_left_to_browser == [False, False, False]

    def row(self, key: str) -> str:
        """Return the selector of an upload."""
        return f"#uploads li[data-key={css_string(key)}]"

    def wait_for_state(self, key: str, state: str) -> None:
        script = "return document.querySelector(arguments[0])?.dataset.state"
        wait_for(lambda: self.js(script, self.row(key)), state)

    def watch_progress(self) -> None:
        self.js("""
            window.seen = {};
            new MutationObserver((records) => {
              for (const { target } of records) {
                (seen[target.closest("li").dataset.key] ??= []).push(target.value);
              }
            }).observe(document.querySelector("#uploads"), {
              subtree: true,
              attributeFilter: ["value"],
            });
        """)

    def progress(self, key: str) -> list[float]:
        """Return the values of a progress bar since watch_progress()."""
        return [float(value) for value in self.js("return seen[arguments[0]]", key)]

    def pass_seconds(self, seconds: int) -> None:
        """Make the pauses of the page end at once."""
        self.js(
            "const now = performance.now.bind(performance);"
            "performance.now = () => now() + arguments[0] * 1000;",
            seconds,
        )

    def stop_time(self) -> None:
        """Make the pauses of the page never end."""
        self.js("const now = performance.now(); performance.now = () => now;")

    def listed(self) -> list[str]:
        """Return the keys in the list of objects."""
        script = """
            const items = document.querySelectorAll("#objects li");
            return Array.from(items, ({ dataset }) => dataset.key);
        """
        return list(self.js(script))

    def outcome(self) -> str:
        """Return the outcome of the write outside the prefix."""
        return str(self.js("return byId('outside-result').dataset.outcome"))

    def read(self, selector: str) -> bytes:
        """Return the content at the address of a link."""
        url = self.find(selector).get_attribute("href")
        assert url
        return fetched(url)

    def clipboard(self) -> str:
        """Return the content of the clipboard."""
        permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        self.cdp("Browser.grantPermissions", permissions=permissions)
        return str(self.resolved("await navigator.clipboard.readText()"))

    def complaints(self) -> list[str]:
        """Return the messages in the console since the last call."""
        log = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log]


def fetched(url: str, base: str = "") -> bytes:
    """Return the content at a URL of this machine, requested as if below *base*."""
    request = urllib.request.Request(url)
    if base:
        port = url.split("/")[2].rpartition(":")[2]
        request.add_header("Host", f"{base.removeprefix('http://')}:{port}")
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
        return bytes(reply.read())


def css_string(text: str) -> str:
    """Return *text* as a string of CSS."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def png(width: int = 64, height: int = 48) -> bytes:
    """Return a picture: a gradient from blue to orange."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows = b"".join(
        b"\0" + bytes([y * 255 // height, 128, 255 - y * 255 // height]) * width
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def operations(page_oss: OssStandIn) -> Counter[tuple[str, str]]:
    """Return how often each operation ended with each error, or with none."""
    return Counter((access.operation, access.code) for access in page_oss.requests)


def contents(page_bucket: Bucket) -> Iterator[tuple[str, bytes]]:
    """Yield the key and content of each object in *bucket*."""
    yield from ((key, page_bucket.read(key)) for key in list(page_bucket.keys()))


# --- Uploads in parts -----------------------------------------------------------
LARGE = os.urandom(12_000_000)  # goes in twelve parts
LARGE_KEY = "photos/large 大.bin"


# --- For everybody --------------------------------------------------------------
def focused(visit: Visit) -> str:
    return str(visit.js("return document.activeElement.id"))
