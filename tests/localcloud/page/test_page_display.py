"""What the upload page shows in a real browser, and to whom."""

from __future__ import annotations

import re

import pytest
from helpers.browser import wait_for
from helpers.page.visit import Visit, focused, operations, png
from selenium.webdriver.common.keys import Keys

import localcloud.page
from localcloud.clock import Clock
from localcloud.oss import CUT_OFF, OssStandIn
from localcloud.oss.storage import Bucket

pytestmark = pytest.mark.browser


# --- What is in the bucket ------------------------------------------------------
def test_the_list_shows_what_is_under_the_prefix_newest_first(
    visit: Visit, clock: Clock, page_bucket: Bucket
) -> None:
    for minutes, key in enumerate(["photos/a.txt", "photos/b.png", "other/c.png"]):
        clock.offset_seconds = -600 + 60 * minutes
        page_bucket.put(key, png() if key.endswith("png") else b"a" * 1500)
    clock.offset_seconds = 0

    visit.open()

    assert visit.listed() == ["photos/b.png", "photos/a.txt"]
    text = visit.text("#objects li:last-child")
    # The time of today, the date of yesterday.
    assert re.match(r"a\.txt\n\n1\.5 kB · (\d+:\d\d|\w+ \d+, \d{4})", text)
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
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    for number in range(1001):
        page_bucket.put(f"photos/{number:04}.txt", b"")

    visit.open()

    assert visit.text("#objects-status") == "the first 1000 by name; there are more"
    assert len(visit.listed()) == 1000
    assert operations(page_oss)["ListObjectsV2", ""] == 2


def test_the_name_of_an_object_is_nothing_but_text(
    visit: Visit, page_bucket: Bucket
) -> None:
    name = "<img src=x onerror=\"document.title='harm'\"><script>harm()"
    page_bucket.put(f"photos/{name}", b"")
    page_bucket.put("photos/control \x01 \uffff.txt", b"")
    visit.open()

    visit.drop(f"uploaded {name}", "")

    visit.wait_for_state(f"photos/uploaded {name}", "done")
    wait_for(lambda: len(visit.listed()), 3)
    assert visit.text(f"{visit.row(f'photos/uploaded {name}')} .name").endswith(name)
    assert visit.browser.title == "Upload to OSS"
    assert (
        visit.js("return document.querySelectorAll('[onerror], [src=x]').length") == 0
    )


def test_all_can_be_done_by_keyboard(visit: Visit, page_bucket: Bucket) -> None:
    visit.open()
    visit.expects_complaints = True
    order = []
    for _ in range(6):
        visit.press(Keys.TAB)
        order.append(focused(visit))
    assert order == [
        "language", "panel-button", "file-input", "outside-button", "watermark",
        "refresh",
    ]  # fmt: skip

    visit.find("#outside-button").send_keys(Keys.ENTER)
    wait_for(lambda: "AccessDenied" in visit.text("#outside-result"), True)

    visit.js("document.querySelector('#file-input').focus()")
    outline = (
        "return getComputedStyle(document.querySelector('#drop-zone')).outlineStyle"
    )
    assert visit.js(outline) == "solid"


def test_the_focus_is_not_lost_with_the_button_that_had_it(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("PutObject", *["InternalError"] * 4)
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
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket, language: str
) -> None:
    page_bucket.put(f"photos/{'long-name' * 20}.txt", b"")
    page_oss.fail("PutObject", "AccessDenied")
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
    page = localcloud.page.build_page()

    texts: dict[str, list[str]] = visit.js("return TEXTS")

    for name, (english, chinese) in texts.items():
        placeholders = re.findall(r"\{\w+\}", english)
        assert sorted(placeholders) == sorted(re.findall(r"\{\w+\}", chinese)), name
        assert english, name
        alike = ("language", "aboutObject", "oss")
        assert re.search("[一-鿿]", chinese) or name in alike, name
        assert len(re.findall(rf"\b{name}\b", page)) >= 2, f"{name} is not used"


def test_the_page_changes_its_language_by_a_button(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("PutObject", "AccessDenied", *[CUT_OFF] * 100)
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
