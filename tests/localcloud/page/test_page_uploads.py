"""Uploads with the upload page in a real browser."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from helpers.browser import wait_for
from helpers.page.visit import (
    LARGE,
    LARGE_KEY,
    SLOW,
    Visit,
    contents,
    create_bucket,
    css_string,
    fetched,
    focused,
    operations,
    png,
)
from selenium.webdriver.common.keys import Keys

from localcloud import LocalCloud
from localcloud.network import Network
from localcloud.oss import CUT_OFF, CorsRule, OssStandIn
from localcloud.oss.storage import Bucket
from localcloud.page import UploadPage

pytestmark = pytest.mark.browser


# --- Uploads --------------------------------------------------------------------
def test_pictures_go_up_while_their_progress_bars_move(
    visit: Visit, page_bucket: Bucket
) -> None:
    files = {"one.png": png() + bytes(1_500_000), "two.png": png(32, 32)}
    visit.open()
    visit.watch_progress()
    visit.speed(SLOW)

    visit.choose(files)

    for name, data in files.items():
        visit.wait_for_state(f"photos/{name}", "done")
        assert page_bucket.read(f"photos/{name}") == data
    values = visit.progress("photos/one.png")
    assert values == sorted(values)
    assert len({value for value in values if 0 < value < 1}) >= 3
    assert visit.text("#status") == "2 of 2 done"
    stored = page_bucket.find("photos/one.png")
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


def test_awkward_names_arrive_as_they_are(visit: Visit, page_bucket: Bucket) -> None:
    files = {name: f"this is {name}".encode() for name in AWKWARD_NAMES}
    visit.open()

    visit.choose(files)

    keys = {f"photos/{name}" for name in AWKWARD_NAMES}
    wait_for(lambda: set(visit.listed()), keys)
    assert set(page_bucket.keys()) == keys
    for name, data in files.items():
        row = visit.row(f"photos/{name}")
        assert page_bucket.read(f"photos/{name}") == data
        assert visit.text(f"{row} .name") == name
        assert visit.read(f"{row} .address") == data
        item = f"#objects li[data-key={css_string(f'photos/{name}')}]"
        assert visit.text(f"{item} .name") == name
        assert visit.read(f"{item} a") == data


def test_a_finished_upload_opens_by_its_name_and_its_link_can_be_copied(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()

    visit.choose({"a b.txt": b"hello"})

    visit.wait_for_state("photos/a b.txt", "done")
    row = visit.row("photos/a b.txt")
    address = f"{page_oss.url}/demo-bucket/photos/a%20b.txt"
    assert visit.text(f"{row} .address") == "a b.txt"
    assert visit.read(f"{row} .address") == b"hello"

    visit.click(f"{row} [data-action=copy]")

    wait_for(lambda: visit.text(f"{row} .state"), "Link copied · works for 14 min")
    copied = visit.clipboard()
    assert copied.startswith(f"{address}?x-oss-")
    assert fetched(copied) == b"hello"


def test_a_picture_dropped_on_the_drop_zone_goes_up(
    visit: Visit, page_bucket: Bucket
) -> None:
    visit.open()

    visit.drop("猫.svg", "<svg/>")

    visit.wait_for_state("photos/猫.svg", "done")
    assert page_bucket.read("photos/猫.svg") == b"<svg/>"


def test_a_dropped_folder_stays_where_it_is(visit: Visit) -> None:
    visit.open()
    entry = (
        "DataTransferItem.prototype.webkitGetAsEntry = () => ({ isDirectory: true })"
    )
    visit.js(entry)

    visit.drop("folder", "")

    assert visit.text("#hint") == "Files only: folders are not uploaded"
    assert visit.text("#uploads") == ""


def test_a_picture_is_seen_before_it_is_uploaded(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.speed(SLOW // 300)

    visit.choose({"a.png": png() + bytes(3_000_000)})

    loaded = "return document.querySelector('#uploads img')?.naturalWidth"
    wait_for(lambda: visit.js(loaded), 64)
    assert operations(page_oss)["PutObject", ""] == 0
    visit.click(f"{visit.row('photos/a.png')} [data-action=cancel]")


def test_an_empty_file_goes_up(visit: Visit, page_bucket: Bucket) -> None:
    visit.open()

    visit.choose({"empty.txt": b""})

    visit.wait_for_state("photos/empty.txt", "done")
    assert page_bucket.read("photos/empty.txt") == b""


def test_a_second_file_of_a_name_does_not_replace_the_first(
    visit: Visit, page_bucket: Bucket
) -> None:
    page_bucket.put("photos/image.jpg", b"of yesterday")
    visit.open()

    visit.drop("image.jpg", "first")
    visit.drop("image.jpg", "second")

    visit.wait_for_state("photos/image (3).jpg", "done")
    wait_for(lambda: visit.text("#status"), "2 of 2 done")
    assert dict(contents(page_bucket)) == {
        "photos/image.jpg": b"of yesterday",
        "photos/image (2).jpg": b"first",
        "photos/image (3).jpg": b"second",
    }


def test_finished_uploads_can_be_cleared_away(
    visit: Visit, page_bucket: Bucket
) -> None:
    visit.open()
    visit.choose({"a.txt": b"a"})
    visit.wait_for_state("photos/a.txt", "done")

    visit.click("#clear")

    assert visit.text("#upload-section") == ""
    assert page_bucket.keys() == ["photos/a.txt"]


@pytest.mark.parametrize("failure", ["InternalError", CUT_OFF])
def test_a_large_file_goes_in_parts_and_a_part_that_fails_goes_again(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket, failure: str
) -> None:
    visit.open()
    visit.expects_complaints = True
    visit.watch_progress()
    page_oss.fail("UploadPart", "", "", failure)

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "done")
    assert page_bucket.read(LARGE_KEY) == LARGE
    assert operations(page_oss)["UploadPart", ""] == 12
    assert len({value for value in visit.progress(LARGE_KEY) if 0 < value < 1}) >= 3
    assert visit.read(f"{visit.row(LARGE_KEY)} .address") == LARGE


def test_a_large_file_that_fails_for_good_is_resumed_by_the_button(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("UploadPart", *[""] * 5, *["InternalError"] * 100)

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "failed")
    row = visit.row(LARGE_KEY)
    assert "InternalError: We encountered an internal error." in visit.text(row)
    assert re.search(r"HTTP 500 · RequestId [0-9A-F]{24}", visit.text(row))
    assert operations(page_oss) >= Counter({("UploadPart", "InternalError"): 3 * 4})
    assert visit.text("#status") == "0 of 1 done, 1 failed"

    page_oss.fail("UploadPart")
    page_oss.clear()
    visit.click(f"{row} [data-action=resume]")

    visit.wait_for_state(LARGE_KEY, "done")
    assert page_bucket.read(LARGE_KEY) == LARGE
    assert operations(page_oss)["UploadPart", ""] == 12 - 5
    assert operations(page_oss)["InitiateMultipartUpload", ""] == 0


def test_after_a_part_that_is_refused_no_others_are_sent(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    visit.speed(SLOW)
    page_oss.fail("UploadPart", "AccessDenied")

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "failed")
    assert operations(page_oss)["UploadPart", ""] < 11


def test_a_bucket_that_hides_the_etag_of_parts_is_found_out(
    visit: Visit, page_oss: OssStandIn, page: UploadPage
) -> None:
    create_bucket(page_oss, page, CorsRule(expose_headers=()))
    visit.open()
    visit.expects_complaints = True

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "failed")
    problem = visit.text(f"{visit.row(LARGE_KEY)} .problem")
    assert problem == "The CORS rule of the bucket does not expose ETag."


def test_a_large_file_whose_parts_are_gone_is_resumed_from_its_beginning(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("UploadPart", *[""] * 5, *["InternalError"] * 100)
    visit.choose({"large 大.bin": LARGE})
    visit.wait_for_state(LARGE_KEY, "failed")
    page_oss.fail("UploadPart")
    for upload in page_bucket.uploads():
        page_bucket.abort(upload.id, upload.key)

    visit.click(f"{visit.row(LARGE_KEY)} [data-action=resume]")

    visit.wait_for_state(LARGE_KEY, "done")
    assert page_bucket.read(LARGE_KEY) == LARGE


def test_a_small_file_that_fails_for_good_is_tried_again_by_the_button(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("PutObject", *[CUT_OFF] * 100)
    visit.choose({"a.txt": b"a" * 100_000})
    visit.wait_for_state("photos/a.txt", "failed")
    page_oss.fail("PutObject")
    row = visit.row("photos/a.txt")
    assert f"No reply from {page_oss.url.removeprefix('http://')}." in visit.text(row)

    visit.click(f"{row} [data-action=resume]")

    visit.wait_for_state("photos/a.txt", "done")
    assert page_bucket.read("photos/a.txt") == b"a" * 100_000


def test_a_cancelled_upload_leaves_nothing_behind(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    visit.open()
    visit.speed(SLOW)
    visit.choose({"large 大.bin": LARGE})
    wait_for(lambda: operations(page_oss)["UploadPart", ""] > 0, True)

    visit.click(f"{visit.row(LARGE_KEY)} [data-action=cancel]")

    wait_for(lambda: operations(page_oss)["AbortMultipartUpload", ""], 1)
    assert visit.text("#upload-section") == ""
    assert (page_bucket.keys(), page_bucket.uploads()) == ([], [])


def test_an_upload_that_failed_can_be_cancelled(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("UploadPart", *["InternalError"] * 100)
    visit.choose({"large 大.bin": LARGE})
    visit.wait_for_state(LARGE_KEY, "failed")

    visit.find(f"{visit.row(LARGE_KEY)} [data-action=cancel]").send_keys(Keys.ENTER)

    wait_for(lambda: operations(page_oss)["AbortMultipartUpload", ""], 1)
    assert page_bucket.uploads() == []
    assert focused(visit) == "file-input"


def test_a_cancelled_upload_that_cannot_be_removed_is_reported(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("UploadPart", *["InternalError"] * 100)
    page_oss.fail("AbortMultipartUpload", "AccessDenied")
    visit.choose({"large 大.bin": LARGE})
    visit.wait_for_state(LARGE_KEY, "failed")

    visit.click(f"{visit.row(LARGE_KEY)} [data-action=cancel]")

    wait_for(lambda: visit.text("#error").startswith("AccessDenied: "), True)


def test_many_files_wait_their_turn(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
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
    assert len(page_bucket.keys()) == 12
    assert visit.js("return most") == 2
    assert operations(page_oss)["ListObjectsV2", ""] <= 3


# --- Reloads and outages --------------------------------------------------------
def test_a_large_upload_goes_on_after_a_reload(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    visit.speed(SLOW)
    visit.choose({"large 大.bin": LARGE, "other.bin": LARGE[:-1]})
    wait_for(lambda: operations(page_oss)["UploadPart", ""] >= 5, True)

    visit.js("running = 0")  # so that it does not ask whether that is meant
    visit.open()

    visit.speed(-1)
    (begun,) = [it for it in page_bucket.uploads() if it.key == LARGE_KEY]
    there = len(page_bucket.parts(begun.id, LARGE_KEY))
    page_oss.clear()

    row = visit.row(LARGE_KEY)
    visit.wait_for_state(LARGE_KEY, "unfinished")
    assert visit.text(f"{row} .state") == (
        "Unfinished · 12 MB · choose the same file to go on"
    )
    visit.js("byId('same-file').click = () => {}")  # no window opens in a test
    visit.click(f"{row} [data-action=choose]")
    visit.choose_again("other.bin", into="#same-file")
    wait_for(lambda: visit.text(f"{row} .problem")[:22], "That is another file: ")
    visit.choose_again("large 大.bin", into="#same-file")
    visit.wait_for_state(LARGE_KEY, "done")
    assert page_bucket.read(LARGE_KEY) == LARGE
    assert there > 0
    assert operations(page_oss)["UploadPart", ""] <= 12 - there
    assert operations(page_oss)["ListParts", ""] == 1
    assert operations(page_oss)["InitiateMultipartUpload", ""] == 0

    # What nobody goes on with can be thrown away, and does not come back.
    visit.click(f"{visit.row('photos/other.bin')} [data-action=cancel]")
    wait_for(lambda: len(page_bucket.uploads()), 0)
    visit.open()
    assert visit.text("#upload-section") == ""


def test_an_upload_of_another_tab_is_not_offered(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.speed(SLOW // 10)
    visit.choose({"large 大.bin": LARGE})
    wait_for(lambda: operations(page_oss)["InitiateMultipartUpload", ""], 1)
    wait_for(lambda: visit.js("return Object.keys(keptUploads.read()).length"), 1)
    first = visit.browser.current_window_handle
    visit.browser.switch_to.new_window("tab")

    visit.open()

    assert visit.resolved("(await findUnfinished(connection)).length") == 0
    assert visit.text("#upload-section") == ""
    visit.browser.close()
    visit.browser.switch_to.window(first)
    visit.click(f"{visit.row(LARGE_KEY)} [data-action=cancel]")
    wait_for(lambda: operations(page_oss)["AbortMultipartUpload", ""], 1)


def test_twenty_files_go_up_by_themselves_when_oss_is_back(
    visit: Visit, page_oss: OssStandIn, page_bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("PutObject", CUT_OFF, always=True)

    visit.choose({f"{number}.txt": b"x" * 1000 for number in range(20)})

    wait_for(lambda: visit.text("#status"), "0 of 20 done, 20 failed")
    # A network that is back while OSS is not helps nobody.
    visit.js("window.dispatchEvent(new Event('online'))")
    wait_for(lambda: visit.text("#status") != "0 of 20 done, 20 failed", True)
    wait_for(lambda: visit.text("#status"), "0 of 20 done, 20 failed")
    page_oss.fail("PutObject")
    visit.pass_seconds(30)
    wait_for(lambda: visit.text("#status"), "20 of 20 done")
    assert len(page_bucket.keys()) == 20


def test_uploads_wait_for_the_network_or_for_retry_all(
    blank_visit: Visit,
) -> None:
    visit = blank_visit
    visit.expects_complaints = True
    network = Network(host="oss.test")  # what is on this device is never offline
    with LocalCloud("demo-bucket", "photos/", network=network) as cloud:
        visit.open()
        visit.fill_in(app_server=cloud.token_url)
        visit.set()
        visit.wait_for_list()
        visit.stop_time()
        visit.offline(True)
        visit.choose({"a.txt": b"a", "b.txt": b"b"})
        wait_for(lambda: visit.text("#status"), "0 of 2 done, 2 failed")
        assert "This device is offline." in visit.text(visit.row("photos/a.txt"))

        visit.offline(False)

        wait_for(lambda: visit.text("#status"), "2 of 2 done")
        assert set(cloud.objects.keys()) == {"photos/a.txt", "photos/b.txt"}

        cloud.oss.fail("PutObject", "AccessDenied", "AccessDenied")
        visit.choose({"c.txt": b"c", "d.txt": b"d"})
        wait_for(lambda: visit.text("#status"), "2 of 4 done, 2 failed")
        visit.click("#retry-all")
        wait_for(lambda: visit.text("#status"), "4 of 4 done")


def test_what_is_under_way_is_on_top_and_what_is_done_newest_first(
    visit: Visit, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("PutObject", "AccessDenied")
    visit.drop("refused.txt", "a")
    visit.wait_for_state("photos/refused.txt", "failed")
    visit.choose({"one.txt": b"1"})
    visit.wait_for_state("photos/one.txt", "done")
    visit.choose({"two.txt": b"2"})
    visit.wait_for_state("photos/two.txt", "done")
    visit.speed(SLOW // 10)

    visit.choose({"large 大.bin": LARGE})

    visit.wait_for_state(LARGE_KEY, "uploading")
    order = visit.js("""
        return Array.from(document.querySelectorAll("#uploads li"), ({ dataset }) =>
          dataset.key);
    """)
    assert order == [
        LARGE_KEY, "photos/refused.txt", "photos/two.txt", "photos/one.txt",
    ]  # fmt: skip
    visit.click(f"{visit.row(LARGE_KEY)} [data-action=cancel]")
