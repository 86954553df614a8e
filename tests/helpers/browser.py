"""A real browser without a window."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from support import (
    PATIENCE_SECONDS,
)

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


def wait_for(read: Callable[[], T], wanted: T) -> None:
    """Return once *read* returns *wanted*."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (got := read()) != wanted:
        assert time.monotonic() < deadline, f"still {got!r}, not {wanted!r}"
        time.sleep(0.02)
