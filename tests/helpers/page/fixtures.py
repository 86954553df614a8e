"""Fixtures for tests of the upload page.

Selenium is imported when a test asks for a browser.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import localcloud.page
from localcloud import LocalCloud
from localcloud.oss import Bucket, OssStandIn
from localcloud.page import UploadPage
from localcloud.sts import StsStandIn

if TYPE_CHECKING:
    from selenium import webdriver

    from helpers.page.visit import Visit
    from helpers.server import MakeServer, RunningServer

REUSE = {"TokenReuseTime": 300}


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser without a window, which speaks English."""
    from selenium import webdriver

    from helpers.browser import BROWSER_OPTIONS, start
    from helpers.machine import PROXY_VARIABLES, find_program

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


@pytest.fixture
def page_oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    """The OSS that the page uploads to."""
    with OssStandIn(sts) as stand_in:
        yield stand_in


@pytest.fixture
def page() -> Iterator[UploadPage]:
    """The page, not served yet.  Only its origin may use OSS and the token server."""
    with UploadPage() as page:
        yield page


@pytest.fixture
def page_bucket(page_oss: OssStandIn, page: UploadPage) -> Bucket:
    """The bucket of the page."""
    from helpers.page.visit import create_bucket

    return create_bucket(page_oss, page)


@pytest.fixture
def token_server(
    make_server: MakeServer, page: UploadPage, page_oss: OssStandIn
) -> RunningServer:
    """The token server that the page asks."""
    policy = Path(localcloud.page.__file__).with_name("upload_page_policy.txt")
    return make_server(
        PolicyFile=str(policy),
        BucketName="demo-bucket",
        Region="cn-hangzhou",
        Endpoint=page_oss.url,
        AllowedOrigins=page.origins,
    )


@pytest.fixture
def visit(
    browser: webdriver.Chrome,
    page: UploadPage,
    token_server: RunningServer,
    page_oss: OssStandIn,
    page_bucket: Bucket,
    tmp_path: Path,
) -> Iterator[Visit]:
    """A visit to the page, whose console stays empty if nothing else is expected."""
    page.show({"appServer": f"{token_server.url}/sts/getsts"})
    with visiting(browser, page.url, tmp_path) as visit:
        yield visit


@pytest.fixture
def page_cloud() -> Iterator[LocalCloud]:
    """A cloud that pages of any origin may use."""
    with LocalCloud("demo-bucket", "photos/", settings=REUSE) as cloud:
        yield cloud


@pytest.fixture
def blank_visit(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Visit]:
    """A visit to a page without settings."""
    with UploadPage({}) as page, visiting(browser, page.url, tmp_path) as visit:
        yield visit


@contextlib.contextmanager
def visiting(browser: webdriver.Chrome, url: str, folder: Path) -> Iterator[Visit]:
    """Visit the page at *url*; messages in the console fail the test."""
    from helpers.page.visit import Visit

    files = folder / "files"
    files.mkdir()
    visit = Visit(browser, url, files)
    yield visit
    complaints = visit.complaints()
    visit.leave()
    if visit.expects_complaints:
        provoked = re.compile("Failed to load|unsafe header|blocked by CORS policy")
        complaints = [line for line in complaints if not provoked.search(line)]
    assert complaints == []
