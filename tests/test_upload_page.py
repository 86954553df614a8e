"""The upload page in a real browser, which talks to a token server and to OSS."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from conftest import PROXY_VARIABLES, Clock, MakeServer
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from support import (
    PATIENCE_SECONDS,
    RunningServer,
    call_of,
    request,
    reserved_port,
)

import localcloud.page
from localcloud.oss import CUT_OFF, CorsRule, OssStandIn
from localcloud.oss.storage import Bucket
from localcloud.page import UploadPage
from localcloud.sts import Close, Fail, StsStandIn

SLOW = 3_000_000  # bytes a second: what is uploaded can be watched

BROWSER_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--lang=en-US",
    "--window-size=1000,800",
]

T = TypeVar("T")


# --- A browser, and what it visits ----------------------------------------------


def find_program(name: str) -> str:
    """Return where *name* is; without it, skip the test or fail it."""
    found = shutil.which(name)
    if found:
        return found
    if os.environ.get("STS_SERVER_NO_SKIP"):
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser without a window, which speaks English."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium")
    for option in BROWSER_OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in PROXY_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        chrome = start(options)
    yield chrome
    chrome.quit()


def start(options: webdriver.ChromeOptions, tries: int = 3) -> webdriver.Chrome:
    """Return a new browser.

    Selenium finds a port for the driver that is free; before the driver listens there,
    another test may have been given it.  So one failure is none.
    """
    try:
        return webdriver.Chrome(options, Service(find_program("chromedriver")))
    except WebDriverException:
        if tries == 1:
            raise
        return start(options, tries - 1)


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    with OssStandIn(sts) as stand_in:
        yield stand_in


@pytest.fixture
def page() -> Iterator[UploadPage]:
    """The page, which is not served yet; OSS and the token server are for no other."""
    with UploadPage() as page:
        yield page


@pytest.fixture
def bucket(oss: OssStandIn, page: UploadPage) -> Bucket:
    return create_bucket(oss, page)


def create_bucket(
    oss: OssStandIn, page: UploadPage, rule: CorsRule | None = None
) -> Bucket:
    """Create the bucket, with a CORS *rule* for *page* alone."""
    rules = [replace(rule or CorsRule(), allowed_origins=page.origins)]
    return oss.create_bucket("demo-bucket", rules)


@pytest.fixture
def token_server(make_server: MakeServer, page: UploadPage) -> RunningServer:
    policy = Path(localcloud.page.__file__).with_name("upload_page_policy.txt")
    return make_server(
        PolicyFile=str(policy), BucketName="demo-bucket", AllowedOrigins=page.origins
    )


class Visit:
    """What a person does on the page, and what they see."""

    def __init__(self, browser: webdriver.Chrome, url: str, folder: Path) -> None:
        self.browser = browser
        self.url = url
        self.folder = folder
        self.expects_complaints = False  # in the console, about provoked failures

    def open(self, width: int = 1000) -> None:
        """Open the page and wait for its list."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.browser.get(self.url)
        wait_for(lambda: self.text("#objects-status") not in ("", "Loading…"), True)

    def cdp(self, command: str, **parameters: object) -> None:
        self.browser.execute_cdp_cmd(command, parameters)

    def speed(self, bytes_per_second: int) -> None:
        """Let uploads be slow, or as fast as they can be by -1."""
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
        """Return what a promise resolves to."""
        script = f"return (async (...a) => {expression})(...arguments)"
        return self.js(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the visible text of an element; of none it is empty."""
        script = """
            const element = document.querySelector(arguments[0]);
            return element?.checkVisibility() ? element.innerText : "";
        """
        return str(self.js(script, selector))

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def press(self, key: str) -> None:
        ActionChains(self.browser).send_keys(key).perform()

    def choose(self, files: dict[str, bytes]) -> None:
        """Choose *files* in the file picker."""
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        paths = [str(self.folder / name) for name in files]
        self.find("#file-input").send_keys("\n".join(paths))

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
        """Return the values that a progress bar had since watch_progress()."""
        return [float(value) for value in self.js("return seen[arguments[0]]", key)]

    def pass_seconds(self, seconds: int) -> None:
        """Let the pauses of the page pass at once."""
        self.js(
            "const now = performance.now.bind(performance);"
            "performance.now = () => now() + arguments[0] * 1000;",
            seconds,
        )

    def stop_time(self) -> None:
        """Let no more pauses of the page pass, however long the rest takes."""
        self.js("const now = performance.now(); performance.now = () => now;")

    def listed(self) -> list[str]:
        """Return the keys in the list of what is in the bucket."""
        script = """
            const items = document.querySelectorAll("#objects li");
            return Array.from(items, ({ dataset }) => dataset.key);
        """
        return list(self.js(script))

    def outcome(self) -> str:
        """Return what came of the write outside the prefix."""
        return str(self.js("return byId('outside-result').dataset.outcome"))

    def read(self, selector: str) -> bytes:
        """Return what is at the address that a link leads to."""
        url = self.find(selector).get_attribute("href")
        assert url
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as reply:
            return bytes(reply.read())

    def complaints(self) -> list[str]:
        """Return what the console has to say since the last call."""
        log = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log]


def css_string(text: str) -> str:
    """Return *text* as a string of CSS."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def wait_for(read: Callable[[], T], wanted: T) -> None:
    """Return once *read* returns *wanted*."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (got := read()) != wanted:
        assert time.monotonic() < deadline, f"still {got!r}, not {wanted!r}"
        time.sleep(0.02)


@pytest.fixture
def visit(
    browser: webdriver.Chrome,
    page: UploadPage,
    token_server: RunningServer,
    oss: OssStandIn,
    bucket: Bucket,
    tmp_path: Path,
) -> Iterator[Visit]:
    """A visit to the page, whose console stays empty if nothing else is expected."""
    folder = tmp_path / "files"
    folder.mkdir()
    page.show({"tokenUrl": f"{token_server.url}/sts/getsts", "endpoint": oss.url})
    visit = Visit(browser, page.url, folder)
    yield visit
    complaints = visit.complaints()
    visit.speed(-1)
    browser.get("about:blank")
    visit.complaints()
    if visit.expects_complaints:
        provoked = re.compile("Failed to load resource|unsafe header")
        complaints = [line for line in complaints if not provoked.search(line)]
    assert complaints == []


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


def operations(oss: OssStandIn) -> Counter[tuple[str, str]]:
    """Return how often each operation ended with each error, or with none."""
    return Counter((access.operation, access.code) for access in oss.requests)


def contents(bucket: Bucket) -> Iterator[tuple[str, bytes]]:
    """Yield the keys and contents of what is in *bucket*."""
    yield from ((key, bucket.read(key)) for key in list(bucket.keys()))


# --- Uploads --------------------------------------------------------------------


def test_pictures_go_up_while_their_progress_bars_move(
    visit: Visit, bucket: Bucket
) -> None:
    files = {"one.png": png() + bytes(1_500_000), "two.png": png(32, 32)}
    visit.open()
    visit.watch_progress()
    visit.speed(SLOW)

    visit.choose(files)

    for name, data in files.items():
        visit.wait_for_state(f"photos/{name}", "done")
        assert bucket.read(f"photos/{name}") == data
    values = visit.progress("photos/one.png")
    assert values == sorted(values)
    assert len({value for value in values if 0 < value < 1}) >= 3
    assert visit.text("#status") == "2 of 2 done"
    stored = bucket.find("photos/one.png")
    assert stored
    assert stored.headers["content-type"] == "image/png"


AWKWARD_NAMES = [
    "西湖 的早晨.png",
    "a+b c.txt",
    "100% sure~.txt",
    "#1? yes & no.txt",
    "it's (really) *new*!.txt",
    "é 🐼.txt",
    "no ending",
    "..dots...txt",
    '"quoted" <b>.txt',
    "back\\slash;,:@$=[]{}|^`.txt",
]


def test_awkward_names_arrive_as_they_are(visit: Visit, bucket: Bucket) -> None:
    files = {name: f"this is {name}".encode() for name in AWKWARD_NAMES}
    visit.open()

    visit.choose(files)

    keys = {f"photos/{name}" for name in AWKWARD_NAMES}
    wait_for(lambda: set(visit.listed()), keys)
    assert set(bucket.keys()) == keys
    for name, data in files.items():
        row = visit.row(f"photos/{name}")
        assert bucket.read(f"photos/{name}") == data
        assert visit.text(f"{row} .name") == name
        assert visit.read(f"{row} .address") == data
        item = f"#objects li[data-key={css_string(f'photos/{name}')}]"
        assert visit.text(f"{item} .name") == name
        assert visit.read(f"{item} a") == data


def test_the_address_of_a_finished_upload_is_shown_plain_and_opens(
    visit: Visit, oss: OssStandIn
) -> None:
    visit.open()

    visit.choose({"a b.txt": b"hello"})

    visit.wait_for_state("photos/a b.txt", "done")
    address = f"{oss.url}/demo-bucket/photos/a%20b.txt"
    link = f"{visit.row('photos/a b.txt')} .address"
    assert visit.text(link) == address
    assert str(visit.find(link).get_attribute("href")).startswith(f"{address}?x-oss-")
    assert visit.read(link) == b"hello"


def test_a_picture_dropped_on_the_drop_zone_goes_up(
    visit: Visit, bucket: Bucket
) -> None:
    visit.open()

    visit.drop("猫.svg", "<svg/>")

    visit.wait_for_state("photos/猫.svg", "done")
    assert bucket.read("photos/猫.svg") == b"<svg/>"


def test_a_dropped_folder_stays_where_it_is(visit: Visit) -> None:
    visit.open()
    entry = (
        "DataTransferItem.prototype.webkitGetAsEntry = () => ({ isDirectory: true })"
    )
    visit.js(entry)

    visit.drop("folder", "")

    assert visit.text("#hint") == "Files only: folders are not uploaded"
    assert visit.text("#uploads") == ""


def test_a_picture_is_seen_before_it_is_uploaded(visit: Visit, oss: OssStandIn) -> None:
    visit.open()
    visit.speed(SLOW // 300)

    visit.choose({"a.png": png() + bytes(3_000_000)})

    loaded = "return document.querySelector('#uploads img')?.naturalWidth"
    wait_for(lambda: visit.js(loaded), 64)
    assert operations(oss)["PutObject", ""] == 0
    visit.click(f"{visit.row('photos/a.png')} [data-action=cancel]")


def test_an_empty_file_goes_up(visit: Visit, bucket: Bucket) -> None:
    visit.open()

    visit.choose({"empty.txt": b""})

    visit.wait_for_state("photos/empty.txt", "done")
    assert bucket.read("photos/empty.txt") == b""


def test_a_second_file_of_a_name_does_not_replace_the_first(
    visit: Visit, bucket: Bucket
) -> None:
    bucket.put("photos/image.jpg", b"of yesterday")
    visit.open()

    visit.drop("image.jpg", "first")
    visit.drop("image.jpg", "second")

    visit.wait_for_state("photos/image (3).jpg", "done")
    wait_for(lambda: visit.text("#status"), "2 of 2 done")
    assert dict(contents(bucket)) == {
        "photos/image.jpg": b"of yesterday",
        "photos/image (2).jpg": b"first",
        "photos/image (3).jpg": b"second",
    }


def test_finished_uploads_can_be_cleared_away(visit: Visit, bucket: Bucket) -> None:
    visit.open()
    visit.choose({"a.txt": b"a"})
    visit.wait_for_state("photos/a.txt", "done")

    visit.click("#clear")

    assert visit.text("#upload-section") == ""
    assert bucket.keys() == ["photos/a.txt"]


# --- Uploads in parts -----------------------------------------------------------

LARGE = os.urandom(12_000_000)  # goes in twelve parts
LARGE_KEY = "photos/large 大.bin"


@pytest.mark.parametrize("failure", ["InternalError", CUT_OFF])
def test_a_large_file_goes_in_parts_and_a_part_that_fails_goes_again(
    visit: Visit, oss: OssStandIn, bucket: Bucket, failure: str
) -> None:
    visit.open()
    visit.expects_complaints = True
    visit.watch_progress()
    oss.fail("UploadPart", "", "", failure)

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "done")
    assert bucket.read(LARGE_KEY) == LARGE
    assert operations(oss)["UploadPart", ""] == 12
    assert len({value for value in visit.progress(LARGE_KEY) if 0 < value < 1}) >= 3
    assert visit.read(f"{visit.row(LARGE_KEY)} .address") == LARGE


def test_a_large_file_that_fails_for_good_is_resumed_by_the_button(
    visit: Visit, oss: OssStandIn, bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("UploadPart", *[""] * 5, *["InternalError"] * 100)

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "failed")
    row = visit.row(LARGE_KEY)
    assert "InternalError: We encountered an internal error." in visit.text(row)
    assert re.search(r"HTTP 500 · RequestId [0-9A-F]{24}", visit.text(row))
    assert operations(oss) >= Counter({("UploadPart", "InternalError"): 3 * 4})
    assert visit.text("#status") == "0 of 1 done, 1 failed"

    oss.fail("UploadPart")
    oss.clear()
    visit.click(f"{row} [data-action=resume]")

    visit.wait_for_state(LARGE_KEY, "done")
    assert bucket.read(LARGE_KEY) == LARGE
    assert operations(oss)["UploadPart", ""] == 12 - 5
    assert operations(oss)["InitiateMultipartUpload", ""] == 0


def test_after_a_part_that_is_refused_no_others_are_sent(
    visit: Visit, oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    visit.speed(SLOW)
    oss.fail("UploadPart", "AccessDenied")

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "failed")
    assert operations(oss)["UploadPart", ""] < 11


def test_a_bucket_that_hides_the_etag_of_parts_is_found_out(
    visit: Visit, oss: OssStandIn, page: UploadPage
) -> None:
    create_bucket(oss, page, CorsRule(expose_headers=()))
    visit.open()
    visit.expects_complaints = True

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "failed")
    problem = visit.text(f"{visit.row(LARGE_KEY)} .problem")
    assert problem == "The CORS rule of the bucket does not expose ETag."


def test_a_large_file_whose_parts_are_gone_is_resumed_from_its_beginning(
    visit: Visit, oss: OssStandIn, bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("UploadPart", *[""] * 5, *["InternalError"] * 100)
    visit.choose({"large 大.bin": LARGE})
    visit.wait_for_state(LARGE_KEY, "failed")
    oss.fail("UploadPart")
    for upload in bucket.uploads():
        bucket.abort(upload.id, upload.key)

    visit.click(f"{visit.row(LARGE_KEY)} [data-action=resume]")

    visit.wait_for_state(LARGE_KEY, "done")
    assert bucket.read(LARGE_KEY) == LARGE


def test_a_small_file_that_fails_for_good_is_tried_again_by_the_button(
    visit: Visit, oss: OssStandIn, bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("PutObject", *[CUT_OFF] * 100)
    visit.choose({"a.txt": b"a" * 100_000})
    visit.wait_for_state("photos/a.txt", "failed")
    oss.fail("PutObject")
    row = visit.row("photos/a.txt")
    assert f"No reply from {oss.url.removeprefix('http://')}." in visit.text(row)

    visit.click(f"{row} [data-action=resume]")

    visit.wait_for_state("photos/a.txt", "done")
    assert bucket.read("photos/a.txt") == b"a" * 100_000


def test_a_cancelled_upload_leaves_nothing_behind(
    visit: Visit, oss: OssStandIn, bucket: Bucket
) -> None:
    visit.open()
    visit.speed(SLOW)
    visit.choose({"large 大.bin": LARGE})
    wait_for(lambda: operations(oss)["UploadPart", ""] > 0, True)

    visit.click(f"{visit.row(LARGE_KEY)} [data-action=cancel]")

    wait_for(lambda: operations(oss)["AbortMultipartUpload", ""], 1)
    assert visit.text("#upload-section") == ""
    assert (bucket.keys(), bucket.uploads()) == ([], [])


def test_an_upload_that_failed_can_be_cancelled(
    visit: Visit, oss: OssStandIn, bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("UploadPart", *["InternalError"] * 100)
    visit.choose({"large 大.bin": LARGE})
    visit.wait_for_state(LARGE_KEY, "failed")

    visit.find(f"{visit.row(LARGE_KEY)} [data-action=cancel]").send_keys(Keys.ENTER)

    wait_for(lambda: operations(oss)["AbortMultipartUpload", ""], 1)
    assert bucket.uploads() == []
    assert focused(visit) == "file-input"


def test_a_cancelled_upload_that_cannot_be_removed_is_reported(
    visit: Visit, oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("UploadPart", *["InternalError"] * 100)
    oss.fail("AbortMultipartUpload", "AccessDenied")
    visit.choose({"large 大.bin": LARGE})
    visit.wait_for_state(LARGE_KEY, "failed")

    visit.click(f"{visit.row(LARGE_KEY)} [data-action=cancel]")

    wait_for(lambda: visit.text("#error").startswith("AccessDenied: "), True)


def test_many_files_wait_their_turn(
    visit: Visit, oss: OssStandIn, bucket: Bucket
) -> None:
    visit.open()
    visit.js("""
        window.most = 0;
        new MutationObserver(() => {
          const uploading = document.querySelectorAll("[data-state=uploading]");
          window.most = Math.max(most, uploading.length);
        }).observe(document.querySelector("#uploads"), {
          subtree: true,
          attributeFilter: ["data-state"],
        });
    """)

    visit.choose({f"{number}.txt": b"x" * 100_000 for number in range(12)})

    wait_for(lambda: visit.text("#status"), "12 of 12 done")
    assert len(bucket.keys()) == 12
    assert visit.js("return most") == 2
    assert operations(oss)["ListObjectsV2", ""] <= 3


# --- Tokens ---------------------------------------------------------------------


def test_the_page_says_when_its_token_expires(visit: Visit) -> None:
    visit.open()

    shown = visit.text("#token-expires")

    assert re.fullmatch(r"expires at \d+:\d\d:\d\d\s[AP]M, in 14:\d\d", shown)
    wait_for(lambda: visit.text("#token-expires") != shown, True)  # it counts down


def test_one_token_serves_many_requests(visit: Visit, sts: StsStandIn) -> None:
    visit.open()

    visit.choose({f"{number}.txt": b"x" for number in range(5)})

    wait_for(lambda: visit.text("#status"), "5 of 5 done")
    assert len(sts.requests) == 1


def test_a_token_that_expired_is_renewed_unnoticed_between_uploads(
    visit: Visit, clock: Clock, sts: StsStandIn, oss: OssStandIn, bucket: Bucket
) -> None:
    clock.offset_seconds = -500  # so the token is good for 400 s by the browser's clock
    visit.open()
    visit.expects_complaints = True
    clock.offset_seconds = 401

    visit.choose({"a.txt": b"a"})

    visit.wait_for_state("photos/a.txt", "done")
    assert bucket.read("photos/a.txt") == b"a"
    assert operations(oss)["PutObject", "SecurityTokenExpired"] == 1
    assert (len(sts.requests), visit.text("#error")) == (2, "")


def test_a_token_that_expires_is_renewed_unnoticed_in_the_middle_of_an_upload(
    visit: Visit, clock: Clock, sts: StsStandIn, oss: OssStandIn, bucket: Bucket
) -> None:
    clock.offset_seconds = -500
    visit.open()
    visit.expects_complaints = True
    visit.speed(SLOW)
    visit.choose({"large 大.bin": LARGE})
    wait_for(lambda: operations(oss)["UploadPart", ""] > 0, True)

    clock.offset_seconds = 401
    wait_for(lambda: operations(oss)["UploadPart", "SecurityTokenExpired"] > 0, True)
    visit.speed(-1)

    visit.wait_for_state(LARGE_KEY, "done")
    assert bucket.read(LARGE_KEY) == LARGE
    assert len({access.access_key_id for access in oss.requests}) == 2 + 1  # preflights
    assert (len(sts.requests), visit.text("#error")) == (2, "")


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "InvalidSecurityToken"])
def test_a_token_that_oss_does_not_know_is_replaced_unnoticed(
    visit: Visit, sts: StsStandIn, oss: OssStandIn, code: str
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("PutObject", code)

    visit.choose({"a.txt": b"a"})

    visit.wait_for_state("photos/a.txt", "done")
    assert (len(sts.requests), visit.text("#error")) == (2, "")


def test_a_second_token_that_is_refused_is_not_replaced(
    visit: Visit, sts: StsStandIn, oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("PutObject", "SecurityTokenExpired", "SecurityTokenExpired")

    visit.choose({"a.txt": b"a"})

    visit.wait_for_state("photos/a.txt", "failed")
    problem = visit.text(f"{visit.row('photos/a.txt')} .problem")
    assert problem.startswith(
        "SecurityTokenExpired: The security token you provided has expired."
    )
    assert operations(oss)["PutObject", "SecurityTokenExpired"] == 2
    assert len(sts.requests) == 2


def test_a_token_that_is_refused_late_does_not_cost_another(
    visit: Visit, sts: StsStandIn
) -> None:
    visit.open()

    takes_current = visit.resolved("await tokens.replace({}) === tokens.current")

    assert takes_current
    assert len(sts.requests) == 1


def test_a_token_is_renewed_before_it_expires(visit: Visit, clock: Clock) -> None:
    clock.offset_seconds = -650  # so the token is good for 250 s by the browser's clock
    visit.open()
    first = visit.text("#token-id")
    assert visit.find("#token").get_attribute("data-state") == "expiring"

    clock.offset_seconds = 0
    visit.pass_seconds(30)

    wait_for(lambda: visit.text("#token-id") != first, True)
    assert visit.find("#token").get_attribute("data-state") == "fresh"


def test_links_get_the_new_token_too(visit: Visit, clock: Clock) -> None:
    clock.offset_seconds = -650
    visit.open()
    visit.choose({"a.txt": b"a"})
    visit.wait_for_state("photos/a.txt", "done")
    wait_for(visit.listed, ["photos/a.txt"])
    before = visit.find("#objects a").get_attribute("href")

    clock.offset_seconds = 401
    visit.pass_seconds(30)

    wait_for(lambda: visit.find("#objects a").get_attribute("href") != before, True)
    assert visit.read("#objects a") == b"a"
    wait_for(lambda: visit.read(f"{visit.row('photos/a.txt')} .address"), b"a")


def test_a_token_server_with_nothing_better_is_not_asked_again_and_again(
    visit: Visit, clock: Clock, sts: StsStandIn
) -> None:
    clock.offset_seconds = -650
    visit.open()
    visit.stop_time()

    visit.choose({f"{number}.txt": b"x" for number in range(5)})

    wait_for(lambda: visit.text("#status"), "5 of 5 done")
    visit.resolved("{ for (let n = 0; n < 5; n++) { tick(); await pause(100); } }")
    assert len(sts.requests) <= 2  # one more where it took 5 s to open the page


def test_a_token_that_only_a_wrong_clock_calls_expired_is_used(
    visit: Visit, clock: Clock, sts: StsStandIn
) -> None:
    clock.offset_seconds = -500
    visit.open()
    visit.js("const now = Date.now; Date.now = () => now() + 600_000")
    visit.stop_time()

    visit.choose({f"{number}.txt": b"x" for number in range(12)})

    wait_for(lambda: visit.text("#status"), "12 of 12 done")
    assert len(sts.requests) <= 2  # one more where it took 5 s to open the page


def test_a_token_that_still_works_is_used_while_no_other_can_be_had(
    visit: Visit, clock: Clock, sts: StsStandIn, bucket: Bucket
) -> None:
    clock.offset_seconds = -650
    visit.open()
    sts.always(Fail("Throttling.User"))
    visit.pass_seconds(30)
    visit.stop_time()

    visit.choose({f"{number}.txt": b"x" for number in range(6)})

    wait_for(lambda: visit.text("#status"), "6 of 6 done")
    assert len(bucket.keys()) == 6
    assert 1 < len(sts.requests) <= 1 + 2 * 2  # the token server asks twice each time
    wait_for(lambda: "Throttling.User" in visit.text("#error"), True)

    sts.always(None)
    visit.pass_seconds(60)

    wait_for(lambda: visit.text("#error"), "")


def test_an_outage_of_sts_is_shown_as_an_app_sees_it_and_ends(
    visit: Visit, sts: StsStandIn, bucket: Bucket
) -> None:
    bucket.put("photos/a.txt", b"a")
    sts.always(Close())
    visit.open()
    document = visit.resolved("await (await fetch(SETTINGS.tokenUrl)).json()")
    assert document["ErrorCode"] == "SDK.ServerUnreachable"
    error = f"{document['ErrorCode']}: {document['ErrorMessage']}"
    assert visit.text("#error .problem") == error
    assert visit.text("#token") == "No token yet"

    sts.always(None)
    visit.find("#retry").send_keys(Keys.ENTER)

    wait_for(visit.listed, ["photos/a.txt"])
    wait_for(lambda: visit.text("#error"), "")
    assert focused(visit) == "refresh"


def test_an_upload_during_an_outage_of_sts_can_be_tried_again(
    visit: Visit, sts: StsStandIn, bucket: Bucket
) -> None:
    sts.always(Close())
    visit.open()
    visit.choose({"a.txt": b"a"})
    visit.wait_for_state("photos/a.txt", "failed")
    row = visit.row("photos/a.txt")
    assert visit.text(f"{row} .problem").startswith("SDK.ServerUnreachable: ")

    sts.always(None)
    visit.click(f"{row} [data-action=resume]")

    visit.wait_for_state("photos/a.txt", "done")
    assert bucket.read("photos/a.txt") == b"a"


def test_the_end_of_an_outage_is_noticed_without_a_click(
    visit: Visit, sts: StsStandIn, bucket: Bucket
) -> None:
    bucket.put("photos/a.txt", b"a")
    sts.always(Close())
    visit.open()
    assert "SDK.ServerUnreachable" in visit.text("#error")

    sts.always(None)
    visit.pass_seconds(30)

    wait_for(visit.listed, ["photos/a.txt"])
    assert visit.text("#error") == ""


def test_a_token_server_that_is_down_is_named(
    visit: Visit, token_server: RunningServer
) -> None:
    token_server.server.shutdown()
    token_server.server.drain(5)
    visit.expects_complaints = True

    visit.open()

    host = token_server.url.removeprefix("http://")
    assert visit.text("#error .problem") == f"No reply from {host}."


# --- What the token may not do --------------------------------------------------


def test_a_write_outside_the_prefix_is_refused_as_expected(
    visit: Visit, bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True

    visit.click("#outside-button")

    outcome = visit.find("#outside-result")
    wait_for(visit.outcome, "refused")
    assert "as it should" in outcome.text
    assert "AccessDenied: Access denied by authorizer's policy." in outcome.text
    assert "HTTP 403" in outcome.text
    assert bucket.keys() == []


def test_a_write_outside_the_prefix_that_succeeds_is_called_out(
    browser: webdriver.Chrome, visit: Visit, make_server: MakeServer, oss: OssStandIn
) -> None:
    with UploadPage() as page:
        server = make_server(PolicyFile="", AllowedOrigins=page.origins)
        create_bucket(oss, page)
        page.show({"tokenUrl": server.url, "endpoint": oss.url})
        visit.url = page.url
        visit.open()

        visit.click("#outside-button")

        outcome = visit.find("#outside-result")
        wait_for(visit.outcome, "written")
        assert outcome.get_attribute("role") == "alert"
        assert "may do more than it should" in outcome.text


# --- What is in the bucket ------------------------------------------------------


def test_the_list_shows_what_is_under_the_prefix_newest_first(
    visit: Visit, clock: Clock, bucket: Bucket
) -> None:
    for minutes, key in enumerate(["photos/a.txt", "photos/b.png", "other/c.png"]):
        clock.offset_seconds = -600 + 60 * minutes
        bucket.put(key, png() if key.endswith("png") else b"a" * 1500)
    clock.offset_seconds = 0

    visit.open()

    assert visit.listed() == ["photos/b.png", "photos/a.txt"]
    text = visit.text("#objects li:last-child")
    assert re.match(r"a\.txt\n\n1\.5 kB · \d", text)
    assert visit.text("#objects-status") == "2, newest first"
    loaded = "return document.querySelector('#objects img')?.naturalWidth"
    wait_for(lambda: visit.js(loaded), 64)


def test_an_uploaded_picture_joins_the_list(visit: Visit) -> None:
    visit.open()
    assert visit.text("#objects-status") == "Nothing here yet"

    visit.choose({"猫.png": png()})

    wait_for(visit.listed, ["photos/猫.png"])
    loaded = "return document.querySelector('#objects img')?.naturalWidth"
    wait_for(lambda: visit.js(loaded), 64)


def test_a_long_list_is_read_page_by_page_and_ends_somewhere(
    visit: Visit, oss: OssStandIn, bucket: Bucket
) -> None:
    for number in range(1001):
        bucket.put(f"photos/{number:04}.txt", b"")

    visit.open()

    assert visit.text("#objects-status") == "the first 1000 by name; there are more"
    assert len(visit.listed()) == 1000
    assert operations(oss)["ListObjectsV2", ""] == 2


def test_the_name_of_an_object_is_nothing_but_text(
    visit: Visit, bucket: Bucket
) -> None:
    name = "<img src=x onerror=\"document.title='harm'\"><script>harm()"
    bucket.put(f"photos/{name}", b"")
    bucket.put("photos/control \x01 \uffff.txt", b"")
    visit.open()

    visit.drop(f"uploaded {name}", "")

    visit.wait_for_state(f"photos/uploaded {name}", "done")
    wait_for(lambda: len(visit.listed()), 3)
    assert visit.text(f"{visit.row(f'photos/uploaded {name}')} .name").endswith(name)
    assert visit.browser.title == "Upload to OSS"
    assert (
        visit.js("return document.querySelectorAll('[onerror], [src=x]').length") == 0
    )


# --- For everybody --------------------------------------------------------------


def focused(visit: Visit) -> str:
    return str(visit.js("return document.activeElement.id"))


def test_all_can_be_done_by_keyboard(visit: Visit, bucket: Bucket) -> None:
    visit.open()
    visit.expects_complaints = True
    order = []
    for _ in range(4):
        visit.press(Keys.TAB)
        order.append(focused(visit))
    assert order == ["language", "file-input", "refresh", "outside-button"]

    visit.press(Keys.ENTER)
    wait_for(lambda: "AccessDenied" in visit.text("#outside-result"), True)

    visit.js("document.querySelector('#file-input').focus()")
    outline = (
        "return getComputedStyle(document.querySelector('#drop-zone')).outlineStyle"
    )
    assert visit.js(outline) == "solid"


def test_the_focus_is_not_lost_with_the_button_that_had_it(
    visit: Visit, oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("PutObject", *["InternalError"] * 4)
    visit.choose({"a.txt": b"a"})
    visit.wait_for_state("photos/a.txt", "failed")
    resume = visit.find(f"{visit.row('photos/a.txt')} [data-action=resume]")
    assert resume.accessible_name == "Try again a.txt"

    resume.send_keys(Keys.ENTER)

    in_focus = "return document.activeElement.className"
    wait_for(lambda: visit.js(in_focus), "address")
    visit.find("#clear").send_keys(Keys.ENTER)
    assert focused(visit) == "file-input"


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_nothing_is_too_wide_for_a_small_phone(
    visit: Visit, oss: OssStandIn, bucket: Bucket, language: str
) -> None:
    bucket.put(f"photos/{'long-name' * 20}.txt", b"")
    oss.fail("PutObject", "AccessDenied")
    visit.open(width=360)
    visit.expects_complaints = True
    visit.js("setLanguage(arguments[0])", language)
    visit.drop(f"{'unbreakable' * 20}.txt", "a")
    visit.drop(f"{'任何人的照片' * 20}.txt", "b")
    states = "return uploads.map(({ state }) => state).sort()"
    wait_for(lambda: visit.js(states), ["done", "failed"])  # whichever came first
    visit.click("#outside-button")
    wait_for(lambda: "AccessDenied" in visit.text("#outside-result"), True)
    visit.js("""
        const error = { ErrorCode: "E".repeat(99), ErrorMessage: "" };
        showError("token", new TokenError(error));
    """)

    too_wide = visit.js("""
        return Array.from(document.querySelectorAll("body *"))
          .filter((element) => element.getBoundingClientRect().right > 360)
          .map((element) => element.outerHTML.slice(0, 80));
    """)

    assert too_wide == []
    assert visit.js("return document.documentElement.scrollWidth") <= 360


def test_every_text_is_there_in_both_languages(visit: Visit) -> None:
    visit.open()
    page = localcloud.page.PAGE_FILE.read_text(encoding="utf-8")

    texts: dict[str, list[str]] = visit.js("return TEXTS")

    for name, (english, chinese) in texts.items():
        placeholders = re.findall(r"\{\w+\}", english)
        assert sorted(placeholders) == sorted(re.findall(r"\{\w+\}", chinese)), name
        assert english, name
        assert re.search("[一-鿿]", chinese) or name in ("language", "aboutObject"), (
            name
        )
        assert len(re.findall(rf"\b{name}\b", page)) >= 2, f"{name} is not used"


def test_the_page_changes_its_language_by_a_button(
    visit: Visit, oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    oss.fail("PutObject", "AccessDenied", *[CUT_OFF] * 100)
    visit.drop("a.txt", "a")
    visit.drop("b.txt", "b")
    visit.wait_for_state("photos/a.txt", "failed")
    visit.wait_for_state("photos/b.txt", "failed")
    english = visit.text("body")

    visit.click("#language")

    chinese = visit.text("body")
    assert visit.find("html").get_attribute("lang") == "zh-CN"
    assert visit.browser.title == "上传到 OSS"
    names = (
        "OSS|PM|AM|AccessDenied|RequestId|HTTP|STS|Bucket|English|demo|bucket|photos"
    )
    words = re.findall(r"[A-Za-z]{3,}", re.sub(names, "", chinese))
    assert set(words) <= set(re.findall(r"[A-Za-z]{3,}", english)) - {
        "Uploads", "Failed", "Resume", "Cancel", "Refresh", "expires", "reply",
    }  # fmt: skip
    assert "没有响应" in visit.text(f"{visit.row('photos/b.txt')} .problem")

    visit.click("#language")

    countdown = re.compile(r"in \d+:\d+")
    assert countdown.sub("", visit.text("body")) == countdown.sub("", english)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("zh-TW", "zh-CN"), ("zh-CN,en", "zh-CN"), ("de", "en"), ("en-GB,zh", "en")],
)
def test_the_page_starts_in_the_language_of_the_browser(
    visit: Visit, accepted: str, language: str
) -> None:
    agent = visit.js("return navigator.userAgent")
    visit.cdp("Network.setUserAgentOverride", userAgent=agent, acceptLanguage=accepted)

    visit.open()

    visit.cdp("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="en-US")
    assert visit.find("html").get_attribute("lang") == language


def test_the_page_is_dark_where_that_is_preferred(visit: Visit) -> None:
    def ground(scheme: str) -> str:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        visit.cdp("Emulation.setEmulatedMedia", features=features)
        return str(visit.js("return getComputedStyle(document.body).backgroundColor"))

    visit.open()

    assert (ground("light"), ground("dark")) == (
        "rgb(246, 245, 242)",
        "rgb(20, 22, 26)",
    )
    visit.cdp("Emulation.setEmulatedMedia", features=[])


# --- Signatures -----------------------------------------------------------------

# Computed with the signer of alibabacloud-oss-v2, and by hand from its documentation.
SIGNED_REQUEST = {
    "method": "PUT",
    "path": "/bkt-1/dir/a%20b%2B%E7%9B%AE.txt",
    "query": {"acl": ""},
    "headers": {
        "content-type": "text/plain",
        "content-md5": "eB5eJF1ptWaXm4bijSPyxw==",
        "x-oss-meta-k": "v",
    },
}
SIGNING_TOKEN = {
    "AccessKeyId": "STS.example",
    "AccessKeySecret": "secretexample",
    "SecurityToken": "TOK/+=",
}
SIGNED_AT = "2026-01-02T03:04:05Z"


def test_the_signature_in_a_header_is_that_of_the_sdk(visit: Visit) -> None:
    visit.open()

    headers = visit.resolved(
        "signedHeaders(a[0], a[1], new Date(a[2]))",
        SIGNING_TOKEN,
        SIGNED_REQUEST,
        SIGNED_AT,
    )

    assert headers == {
        **SIGNED_REQUEST["headers"],  # type: ignore[dict-item]
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": "20260102T030405Z",
        "x-oss-security-token": "TOK/+=",
        "authorization": "OSS4-HMAC-SHA256 "
        "Credential=STS.example/20260102/cn-hangzhou/oss/aliyun_v4_request,"
        "Signature=40058d2200fe6add3455cbcb7a8b96f2"
        "9e710b6c7bb5cb9f8f121c9ec58dbb9d",
    }


def test_the_signature_in_a_url_is_that_of_the_sdk(visit: Visit) -> None:
    visit.open()

    query = visit.resolved(
        "signedQuery(a[0], a[1], 600, new Date(a[2]))",
        SIGNING_TOKEN,
        SIGNED_REQUEST,
        SIGNED_AT,
    )

    assert query == (
        "acl"
        "&x-oss-credential=STS.example%2F20260102%2Fcn-hangzhou%2Foss%2Faliyun_v4_request"
        "&x-oss-date=20260102T030405Z"
        "&x-oss-expires=600"
        "&x-oss-security-token=TOK%2F%2B%3D"
        "&x-oss-signature=55d771201599dc184c5e974c6fc82301"
        "2f99a294cdeb5bb251149f015383951e"
        "&x-oss-signature-version=OSS4-HMAC-SHA256"
    )


def test_a_key_is_encoded_as_rfc_3986_has_it(visit: Visit) -> None:
    visit.open()

    path = visit.js("return pathOf('b', arguments[0])", "d/a b+~%#?&'()*!-_.目")

    assert path == "/b/d/a%20b%2B~%25%23%3F%26%27%28%29%2A%21-_.%E7%9B%AE"


# --- The page over HTTP ---------------------------------------------------------


def test_the_page_may_run_and_reach_only_what_is_its_own() -> None:
    settings = {"tokenUrl": "https://t.example/sts?a=b", "endpoint": "http://o.example"}
    with UploadPage(settings) as page:
        reply = request(page.port, "/")
        head = request(page.port, "/?x", method="HEAD")

    hashed = r"'sha256-[A-Za-z0-9+/]{43}='"
    assert re.fullmatch(
        rf"default-src 'none'; script-src {hashed}; style-src {hashed}; "
        r"connect-src https://t\.example http://o\.example; "
        r"img-src blob: data: http://o\.example; base-uri 'none'; form-action 'none'; "
        r"frame-ancestors 'none'; require-trusted-types-for 'script'; "
        r"trusted-types 'none'",
        reply.headers.pop("content-security-policy"),
    )
    del reply.headers["date"]
    assert (reply.status, reply.headers) == (
        200,
        {
            "server": "upload-page",
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(reply.body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        },
    )
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(reply.body))


def test_a_setting_cannot_break_out_of_its_block(visit: Visit) -> None:
    prefix = "</script><script>document.title = 'harm'</script><!-- \u2028é"
    with reserved_port() as t, reserved_port() as o, UploadPage() as page:
        servers = {
            "tokenUrl": f"http://127.0.0.1:{t}/",
            "endpoint": f"http://127.0.0.1:{o}",
        }
        page.show({"prefix": prefix, "bucket": "b", **servers})
        body = request(page.port, "/").body.decode()
        visit.browser.get(page.url)
        visit.expects_complaints = True  # neither server is there

        assert visit.js("return SETTINGS.prefix") == prefix
        assert visit.browser.title == "Upload to OSS"
    assert "harm'</script>" not in body
    assert localcloud.page.read_settings(body) == {
        **localcloud.page.read_settings(localcloud.page.PAGE_FILE.read_text("utf-8")),
        **servers,
        "prefix": prefix,
        "bucket": "b",
    }


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"tokenURL": "http://t.example"}, id="unknown"),
        pytest.param({"tokenUrl": "ftp://t.example"}, id="other scheme"),
        pytest.param({"tokenUrl": "t.example"}, id="no scheme"),
        pytest.param({"endpoint": "http://o.example; script-src *"}, id="a directive"),
        pytest.param({"endpoint": "http://o.example'/"}, id="a quote"),
        pytest.param({"endpoint": "http://user@o.example/"}, id="a user"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"no setting tokenURL|no URL of HTTP"):
        UploadPage(settings)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/favicon.ico", 404),
        ("HEAD", "/upload.html", 404),
        ("POST", "/", 405),
        ("PUT", "/upload.html", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/", 405),
        ("BREW", "/", 501),
    ],
)
def test_nothing_else_is_served(method: str, target: str, status: int) -> None:
    with UploadPage({}) as page:
        body = b"x" * 1000 if method in ("POST", "PUT") else None
        reply = request(page.port, target, method=method, body=body)

    assert reply.status == status
    assert reply.headers.get("allow") == ("GET, HEAD" if status == 405 else None)


def test_the_settings_in_the_file_are_those_of_the_demo() -> None:
    page = localcloud.page.PAGE_FILE.read_text(encoding="utf-8")

    assert localcloud.page.read_settings(page) == {
        "tokenUrl": "http://127.0.0.1:7080/",
        "endpoint": "http://127.0.0.1:7091",
        "region": "cn-hangzhou",
        "bucket": "demo-bucket",
        "prefix": "photos/",
    }


def test_the_policy_of_the_page_fits_its_prefix(token_server: RunningServer) -> None:
    policy = call_of(token_server.server.config.current()).policy

    assert policy
    statements = json.loads(policy)["Statement"]
    assert statements[0]["Resource"] == ["acs:oss:*:*:demo-bucket/photos/*"]
    assert statements[1]["Condition"] == {"StringLike": {"oss:Prefix": "photos/*"}}
