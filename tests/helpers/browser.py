"""A real browser without a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

from helpers.machine import PATIENCE_SECONDS, find_program

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
    # *.test is this machine, by names that are nothing special to the browser.
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, "
    "EXCLUDE 127.0.0.1, EXCLUDE 127.0.0.2, EXCLUDE localhost, EXCLUDE *.localhost",
    "--lang=en-US",
    "--window-size=1000,800",
]

T = TypeVar("T")


def start(options: webdriver.ChromeOptions, tries: int = 3) -> webdriver.Chrome:
    """Return a new browser.

    Selenium chooses a free port for the driver, but another test may get the same port
    before the driver listens there.  So a first failure is tried again.
    """
    try:
        return webdriver.Chrome(options, Service(find_program("chromedriver")))
    except WebDriverException:
        if tries == 1:
            raise
        return start(options, tries - 1)


def wait_for(read: Callable[[], T], wanted: T) -> None:
    """Wait until *read* returns *wanted*."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (got := read()) != wanted:
        assert time.monotonic() < deadline, f"still {got!r}, not {wanted!r}"
        time.sleep(0.02)
