"""Tokens of the upload page in a real browser: expiry and outages."""

from __future__ import annotations

import re

import pytest
from helpers.browser import wait_for
from helpers.page.visit import (
    LARGE,
    LARGE_KEY,
    SLOW,
    Visit,
    create_bucket,
    focused,
    operations,
)
from helpers.server import MakeServer, RunningServer
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from localcloud.clock import Clock
from localcloud.oss import OssStandIn
from localcloud.oss.storage import Bucket
from localcloud.page import UploadPage
from localcloud.sts import Close, Fail, StsStandIn

pytestmark = pytest.mark.browser


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
    visit: Visit,
    clock: Clock,
    sts: StsStandIn,
    page_oss: OssStandIn,
    page_bucket: Bucket,
) -> None:
    clock.offset_seconds = -500  # so the token is good for 400 s by the browser's clock
    visit.open()
    visit.expects_complaints = True
    clock.offset_seconds = 401

    visit.choose({"a.txt": b"a"})

    visit.wait_for_state("photos/a.txt", "done")
    assert page_bucket.read("photos/a.txt") == b"a"
    assert operations(page_oss)["PutObject", "SecurityTokenExpired"] == 1
    assert (len(sts.requests), visit.text("#error")) == (2, "")


def test_a_token_that_expires_is_renewed_unnoticed_in_the_middle_of_an_upload(
    visit: Visit,
    clock: Clock,
    sts: StsStandIn,
    page_oss: OssStandIn,
    page_bucket: Bucket,
) -> None:
    clock.offset_seconds = -500
    visit.open()
    visit.expects_complaints = True
    visit.speed(SLOW)
    visit.choose({"large 大.bin": LARGE})
    wait_for(lambda: operations(page_oss)["UploadPart", ""] > 0, True)

    clock.offset_seconds = 401
    wait_for(
        lambda: operations(page_oss)["UploadPart", "SecurityTokenExpired"] > 0, True
    )
    visit.speed(-1)

    visit.wait_for_state(LARGE_KEY, "done")
    assert page_bucket.read(LARGE_KEY) == LARGE
    assert (
        len({access.access_key_id for access in page_oss.requests}) == 2 + 1
    )  # preflights
    assert (len(sts.requests), visit.text("#error")) == (2, "")


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "InvalidSecurityToken"])
def test_a_token_that_oss_does_not_know_is_replaced_unnoticed(
    visit: Visit, sts: StsStandIn, page_oss: OssStandIn, code: str
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("PutObject", code)

    visit.choose({"a.txt": b"a"})

    visit.wait_for_state("photos/a.txt", "done")
    assert (len(sts.requests), visit.text("#error")) == (2, "")


def test_a_second_token_that_is_refused_is_not_replaced(
    visit: Visit, sts: StsStandIn, page_oss: OssStandIn
) -> None:
    visit.open()
    visit.expects_complaints = True
    page_oss.fail("PutObject", "SecurityTokenExpired", "SecurityTokenExpired")

    visit.choose({"a.txt": b"a"})

    visit.wait_for_state("photos/a.txt", "failed")
    problem = visit.text(f"{visit.row('photos/a.txt')} .problem")
    assert problem.startswith(
        "SecurityTokenExpired: The security token you provided has expired."
    )
    assert operations(page_oss)["PutObject", "SecurityTokenExpired"] == 2
    assert len(sts.requests) == 2


def test_a_token_that_is_refused_late_does_not_cost_another(
    visit: Visit, sts: StsStandIn
) -> None:
    visit.open()

    takes_current = visit.resolved(
        "await connection.tokens.replace({}) === connection.tokens.current"
    )

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
    visit: Visit, clock: Clock, sts: StsStandIn, page_bucket: Bucket
) -> None:
    clock.offset_seconds = -650
    visit.open()
    sts.always(Fail("Throttling.User"))
    visit.pass_seconds(30)
    visit.stop_time()

    visit.choose({f"{number}.txt": b"x" for number in range(6)})

    wait_for(lambda: visit.text("#status"), "6 of 6 done")
    assert len(page_bucket.keys()) == 6
    assert 1 < len(sts.requests) <= 1 + 2 * 2  # the token server asks twice each time
    wait_for(lambda: "Throttling.User" in visit.text("#error"), True)

    sts.always(None)
    visit.pass_seconds(60)

    wait_for(lambda: visit.text("#error"), "")


def test_an_outage_of_sts_is_shown_as_an_app_sees_it_and_ends(
    visit: Visit, sts: StsStandIn, page_bucket: Bucket
) -> None:
    page_bucket.put("photos/a.txt", b"a")
    sts.always(Close())
    visit.open()
    document = visit.resolved(
        "await (await fetch(connection.settings.appServer)).json()"
    )
    assert document["ErrorCode"] == "SDK.ServerUnreachable"
    error = f"{document['ErrorCode']}: {document['ErrorMessage']}"
    assert visit.text("#error .problem").startswith(f"{error}\nApp server said")
    assert visit.text("#token") == "No token yet"

    sts.always(None)
    visit.find("#retry").send_keys(Keys.ENTER)

    wait_for(visit.listed, ["photos/a.txt"])
    wait_for(lambda: visit.text("#error"), "")
    assert focused(visit) == "refresh"


def test_an_upload_during_an_outage_of_sts_can_be_tried_again(
    visit: Visit, sts: StsStandIn, page_bucket: Bucket
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
    assert page_bucket.read("photos/a.txt") == b"a"


def test_the_end_of_an_outage_is_noticed_without_a_click(
    visit: Visit, sts: StsStandIn, page_bucket: Bucket
) -> None:
    page_bucket.put("photos/a.txt", b"a")
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
    assert visit.text("#error .problem").startswith(f"No reply from {host}.")


# --- What the token may not do --------------------------------------------------
def test_a_write_outside_the_prefix_is_refused_as_expected(
    visit: Visit, page_bucket: Bucket
) -> None:
    visit.open()
    visit.expects_complaints = True

    visit.click("#outside-button")

    outcome = visit.find("#outside-result")
    wait_for(visit.outcome, "refused")
    assert "as it should" in outcome.text
    assert "AccessDenied: Access denied by authorizer's policy." in outcome.text
    assert "HTTP 403" in outcome.text
    assert page_bucket.keys() == []


def test_a_write_outside_the_prefix_that_succeeds_is_called_out(
    browser: webdriver.Chrome,
    visit: Visit,
    make_server: MakeServer,
    page_oss: OssStandIn,
) -> None:
    with UploadPage() as page:
        server = make_server(
            PolicyFile="",
            BucketName="demo-bucket",
            Region="cn-hangzhou",
            Endpoint=page_oss.url,
            AllowedOrigins=page.origins,
        )
        create_bucket(page_oss, page)
        page.show({"appServer": server.url})
        visit.url = page.url
        visit.open()

        visit.click("#outside-button")

        outcome = visit.find("#outside-result")
        wait_for(visit.outcome, "written")
        assert outcome.get_attribute("role") == "alert"
        assert "may do more than it should" in outcome.text
