"""The upload page in Firefox: the settings by hand, and what is to be uploaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.browser import wait_for
from helpers.firefox import running_firefox
from helpers.page.visit import LARGE, png

from localcloud import LocalCloud
from localcloud.page import UploadPage

pytestmark = pytest.mark.browser


def test_firefox_uploads_where_the_settings_say(
    page_cloud: LocalCloud, tmp_path: Path
) -> None:
    (tmp_path / "猫.png").write_bytes(png())
    (tmp_path / "large.bin").write_bytes(LARGE)
    is_shown = "return document.querySelector('#objects img')?.naturalWidth > 0"
    with UploadPage({}) as page, running_firefox(tmp_path) as firefox:
        for host in ("127.0.0.1", "oss.localhost"):
            firefox.open(page.url)
            assert firefox.text("#place") == "Say in the settings where files go."
            for field, value in {
                "#app-server": page_cloud.token_url,
                "#bucket": "demo-bucket",
                "#region": "cn-hangzhou",
                "#endpoint": f"http://{host}:{page_cloud.oss.port}",
            }.items():
                firefox.type(field, value)
            firefox.js("document.querySelector('#pattern').value = ''")
            firefox.type("#pattern", f"photos/{host}/$FILENAME")
            firefox.click("#set")
            wait_for(lambda: firefox.text("#form-status"), "Set.")

            firefox.type("#file-input", str(tmp_path / "猫.png"))
            firefox.type("#file-input", str(tmp_path / "large.bin"))

            wait_for(lambda: firefox.text("#status"), "2 of 2 done")
            assert page_cloud.objects.read(f"photos/{host}/large.bin") == LARGE
            assert page_cloud.objects.read(f"photos/{host}/猫.png") == png()
            wait_for(lambda: firefox.js(is_shown), True)
            firefox.js("localStorage.clear()")
