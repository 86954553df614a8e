"""What the page shows of uploads that OSS reports to the app server."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.browser import wait_for
from helpers.page.fixtures import REUSE
from helpers.page.visit import Visit, png

from localcloud import LocalCloud

pytestmark = pytest.mark.browser

TIMES = "\N{MULTIPLICATION SIGN}"


def asked_how(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often a client has asked where to upload, and how to report it."""
    return sum(" GET /upload-config 200 " in line for line in caplog.messages)


def test_what_the_app_server_heard_is_shown(
    blank_visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tokenserver")
    settings: dict[str, Any] = REUSE | {"Callback": {}}
    with LocalCloud("demo-bucket", logins=True, settings=settings) as cloud:
        visit = blank_visit
        visit.open()
        visit.fill_in(
            app_server=cloud.token_url, login_token=cloud.login_token("alice")
        )
        visit.click("#fill")
        wait_for(lambda: visit.text("#form-status")[:9], "Filled in")
        visit.set()

        visit.choose({"whole.png": png(1280, 960)})
        wait_for(lambda: visit.text("#status"), "1 of 1 done")
        visit.click("[value=resumable]")
        visit.set()
        asked = asked_how(caplog)
        visit.pass_seconds(3600)  # then the app server is asked anew how to report
        visit.choose({"parts.png": png(64, 48)})
        wait_for(lambda: visit.text("#status"), "2 of 2 done")
        assert asked_how(caplog) == asked + 1

        facts = {upload["object"]: upload for upload in cloud.uploads}
        assert [facts[key]["operation"] for key in sorted(facts)] == [
            "CompleteMultipartUpload",
            "PutObject",
        ]
        row = visit.row("users/alice/whole.png")
        size = facts["users/alice/whole.png"]["size"]
        said = f"Reported: 1280 {TIMES} 960, image/png, {size / 1000:.3g} kB, by alice"
        assert visit.text(f"{row} .report") == said
        row = visit.row("users/alice/parts.png")
        said = f"Reported: 64 {TIMES} 48, image/png, "
        assert visit.text(f"{row} .report").startswith(said)
        visit.js("setLanguage('zh-CN')")
        assert visit.text(f"{row} .report").startswith("已上报")


def test_an_upload_that_could_not_be_reported_is_there_all_the_same(
    blank_visit: Visit,
) -> None:
    nobody = {"Url": "http://127.0.0.1:9/oss/uploaded"}
    settings: dict[str, Any] = REUSE | {"Callback": nobody}
    with LocalCloud("demo-bucket", "photos/", settings=settings) as cloud:
        visit = blank_visit
        visit.open()
        visit.fill_in(app_server=cloud.token_url)
        visit.set()

        visit.choose({"a.png": png()})
        wait_for(lambda: visit.text("#status"), "1 of 1 done")

        row = visit.row("photos/a.png")
        assert visit.text(f"{row} .state").startswith("Uploaded, but not reported")
        assert visit.text(f"{row} .problem").startswith("CallbackFailed: Error status")
        assert visit.text(f"{row} .report") == ""
        assert cloud.objects.keys() == ["photos/a.png"]
