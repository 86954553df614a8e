"""The settings of the upload page: by hand, from the app server, from a link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from helpers.browser import wait_for
from helpers.page.fixtures import REUSE, visiting
from helpers.page.visit import LARGE, Visit, fetched, png
from selenium import webdriver

from localcloud import LocalCloud
from localcloud.network import Network, make_tls
from localcloud.oss import CorsRule
from localcloud.page import UploadPage, build_page

pytestmark = pytest.mark.browser


def test_all_can_be_entered_by_hand_is_kept_and_shared(
    blank_visit: Visit, page_cloud: LocalCloud
) -> None:
    visit = blank_visit
    visit.open()
    assert visit.text("#place") == "Say in the settings where files go."
    assert visit.text("#stand-in") == ""

    # What is wrong is said beside its field.
    visit.fill_in(
        app_server=page_cloud.token_url, bucket="My_Bucket", region="Hangzhou"
    )
    visit.click("#set")
    wait_for(lambda: visit.text("#bucket-problem")[:16], "Enter 3 to 63 lo")
    assert visit.text("#region-problem").startswith("Enter a region ID")
    assert visit.js("return document.activeElement.id") == "bucket"

    visit.fill_in(
        bucket="demo-bucket",
        region="oss-cn-hangzhou",
        endpoint=page_cloud.endpoint.removeprefix("http://"),
        pattern="photos/$UUID/$FILENAME",
    )
    visit.click("[value=resumable]")
    shown = (
        rf"cat.jpg will be {page_cloud.endpoint}/demo-bucket/photos/[0-9a-f-]{{36}}/cat"
    )
    assert re.match(shown, visit.text("#preview"))
    visit.set()
    assert "photos/" in visit.text("#place")
    assert visit.text("#stand-in").startswith("Stand-in.")
    visit.choose({"a.png": png()})
    wait_for(lambda: visit.text("#status"), "1 of 1 done")
    (key,) = page_cloud.objects.keys()
    assert re.fullmatch(r"photos/[0-9a-f-]{36}/a\.png", key)
    operations = [access.operation for access in page_cloud.oss.requests]
    assert "UploadPart" in operations
    assert "PutObject" not in operations

    # It is kept, and what was not changed is as the app server says.
    visit.open()
    visit.click("#panel-button")
    assert visit.js("return entered()") == {
        "appServer": page_cloud.token_url,
        "bucket": "demo-bucket",
        "region": "cn-hangzhou",
        "endpoint": page_cloud.endpoint,
        "cname": False,
        "pattern": "photos/$UUID/$FILENAME",
        "way": "resumable",
        "formPath": "",
        "urlPath": "",
        "untold": False,
    }
    assert visit.js("return keptSettings.read()") == {
        "appServer": page_cloud.token_url,
        "pattern": "photos/$UUID/$FILENAME",
        "way": "resumable",
    }

    # A link has it all, and no secret.
    visit.fill_in(app_server=f"{page_cloud.token_url}?access_token=secret")
    visit.fill_in(login_token="secret")
    visit.click("#share")
    wait_for(lambda: visit.text("#form-status")[:12], "Link copied.")
    link = visit.clipboard()
    assert parse_qs(urlsplit(link).fragment) == {
        "appServer": [page_cloud.token_url],
        "bucket": ["demo-bucket"],
        "region": ["cn-hangzhou"],
        "endpoint": [page_cloud.endpoint],
        "pattern": ["photos/$UUID/$FILENAME"],
        "way": ["resumable"],
    }

    # Elsewhere the link fills the settings in; files go there only after Set.
    visit.click("#reset")
    wait_for(lambda: visit.text("#place"), "Say in the settings where files go.")
    visit.browser.get("about:blank")
    visit.browser.get(link)
    wait_for(lambda: "came with the link" in visit.text("#from-link"), True)
    assert visit.text("#place") == "Say in the settings where files go."
    visit.set()
    wait_for(visit.listed, [key])
    assert visit.js("return location.hash") == ""


def test_the_app_server_fills_in_the_rest(
    blank_visit: Visit, page_cloud: LocalCloud
) -> None:
    blank_visit.open()

    blank_visit.fill_in(app_server=page_cloud.token_url)
    blank_visit.click("#fill")

    wait_for(lambda: blank_visit.text("#form-status")[:9], "Filled in")
    expected = f"cat.jpg will be {page_cloud.endpoint}/demo-bucket/photos/cat.jpg"
    assert blank_visit.text("#preview") == expected


@pytest.mark.parametrize(
    ("endpoint", "cname", "base"),
    [
        ("http://oss.localhost:{port}", False, "http://demo-bucket.oss.localhost"),
        ("http://img.localhost:{port}", True, "http://img.localhost"),
    ],
    ids=["the bucket in the host name", "custom domain"],
)
def test_buckets_have_names_of_their_own(
    blank_visit: Visit, page_cloud: LocalCloud, endpoint: str, cname: bool, base: str
) -> None:
    visit = blank_visit
    page_cloud.objects.put("photos/a.png", png())
    visit.open()
    visit.fill_in(
        app_server=page_cloud.token_url,
        bucket="demo-bucket",
        region="cn-hangzhou",
        endpoint=endpoint.format(port=page_cloud.oss.port),
        pattern="photos/$FILENAME",
    )
    if cname:
        visit.click("#cname")
    visit.set()
    wait_for(visit.listed, ["photos/a.png"])

    visit.choose({"b 猫.png": png(), "large.bin": LARGE})

    wait_for(lambda: visit.text("#status"), "2 of 2 done")
    assert page_cloud.objects.read("photos/large.bin") == LARGE
    loaded = "return document.querySelector('#objects img')?.naturalWidth > 0"
    wait_for(lambda: visit.js(loaded), True)
    visit.click(f"{visit.row('photos/b 猫.png')} [data-action=copy]")
    wait_for(lambda: visit.clipboard()[:4], "http")
    link = visit.clipboard()
    assert link.startswith(f"{base}:{page_cloud.oss.port}/photos/b%20%E7%8C%AB.png?")
    assert fetched(link.replace(base, "http://127.0.0.1", 1), base) == png()


OWN_NAME = "https://b-1.oss-cn-hangzhou.aliyuncs.com"
ADDRESSES = [
    ("oss-cn-hangzhou.aliyuncs.com", OWN_NAME, False),
    ("", OWN_NAME, False),
    ("b-1.oss-cn-hangzhou.aliyuncs.com", OWN_NAME, False),
    ("https://oss.aliyuncs.com/", "https://b-1.oss.aliyuncs.com", False),
    ("img.example.com", "https://img.example.com", True),
    ("http://192.168.1.5:7091", "http://192.168.1.5:7091/b-1", False),
    ("127.0.0.1:7091", "http://127.0.0.1:7091/b-1", False),
    ("localhost:7091", "http://localhost:7091/b-1", False),
    ("[::1]:7091", "http://[::1]:7091/b-1", False),
]  # fmt: skip


def test_addresses_of_real_buckets_and_stand_ins_follow_from_what_is_entered(
    blank_visit: Visit,
) -> None:
    blank_visit.open()

    found = blank_visit.js(
        """
        return arguments[0].map((endpoint) => {
          const cname = looksLikeDomain(endpoint);
          const settings = { bucket: "b-1", region: "cn-hangzhou", endpoint, cname };
          return [endpoint, baseOf(tidy(settings)), cname];
        });
        """,
        [endpoint for endpoint, _, _ in ADDRESSES],
    )

    assert [tuple(row) for row in found] == ADDRESSES


def test_object_names_follow_the_pattern(blank_visit: Visit) -> None:
    blank_visit.open()

    names = blank_visit.js("""
        return [
          keyOf("a/$FILENAME", "cat.jpg", 2), keyOf("a/cat.jpg", "x.png", 3),
          keyOf("$EXTENSION/$FILENAME", "no ending"),
          keyOf("$DATE-$FILENAME.$EXTENSION", "x.y"),
          prefixOf("a/b/$FILENAME"), prefixOf("a/b-$UUID"), prefixOf("$FILENAME"),
        ];
    """)

    assert re.fullmatch(r"\d{4}-\d\d-\d\d-x\.y\.y", names.pop(3))
    assert names == ["a/cat (2).jpg", "a/cat (3).jpg", "/no ending", "a/b/", "a/", ""]


@pytest.fixture
def closed_cloud() -> Iterator[LocalCloud]:
    """A cloud with a bucket that has no CORS rule for uploads."""
    with LocalCloud("demo-bucket", "photos/", settings=REUSE) as cloud:
        cloud.oss.create_bucket("demo-bucket", [CorsRule(allowed_methods=("GET",))])
        yield cloud


def test_what_keeps_a_page_from_a_bucket_is_named(
    blank_visit: Visit, closed_cloud: LocalCloud
) -> None:
    visit, cloud = blank_visit, closed_cloud
    visit.expects_complaints = True
    visit.open()
    visit.fill_in(app_server=cloud.token_url)
    visit.click("#set")
    visit.wait_for_list()
    assert visit.text("#objects-problem") == ""

    # The rule lets pages read, so that the list is there, but not write.
    visit.choose({"a.txt": b"a"})
    visit.wait_for_state("photos/a.txt", "failed")
    problem = visit.text(f"{visit.row('photos/a.txt')} .problem")
    host, origin = cloud.endpoint.removeprefix("http://"), visit.url.rstrip("/")
    assert re.split(r"\n+", problem) == [
        f"No reply from {host}.",
        f"{host} answers, but not for this page. The likely cause: the bucket has no "
        f"CORS rule that lets pages of {origin} send PUT with all headers. Or there is "
        "no such bucket.",
        "The request to OSS was PUT demo-bucket/photos/a.txt",
    ]

    # A wrong bucket: the list says so, and no upload is blamed.
    visit.fill_in(bucket="other-bucket")
    visit.set()
    wait_for(
        lambda: "Or there is no such bucket" in visit.text("#objects-problem"), True
    )
    assert visit.text("#objects-problem").startswith("The list could not be loaded.")
    assert visit.text("#objects-status") == "Not loaded"
    assert visit.text("#error") == ""

    # Nobody there.
    visit.fill_in(bucket="demo-bucket", endpoint="http://127.0.0.1:9")
    visit.set()
    wait_for(lambda: "Nothing answers there." in visit.text("#objects-problem"), True)


def test_users_log_in_with_a_token_that_only_their_app_server_gets(
    blank_visit: Visit,
) -> None:
    visit = blank_visit
    visit.expects_complaints = True
    with LocalCloud("demo-bucket", logins=True, settings=REUSE) as cloud:
        visit.open()
        visit.fill_in(app_server=cloud.token_url)
        visit.click("#fill")
        wait_for(lambda: "Unauthenticated: " in visit.text("#form-problem"), True)
        assert "App server said this to GET" in visit.text("#form-problem")

        visit.fill_in(login_token=cloud.login_token("alice"))
        visit.click("#set")
        wait_for(lambda: "users/alice/" in visit.text("#place"), True)
        visit.choose({"a.txt": b"a"})
        wait_for(lambda: visit.text("#status"), "1 of 1 done")
        assert cloud.objects.keys() == ["users/alice/a.txt"]

        visit.open()  # the tab still knows it
        wait_for(visit.listed, ["users/alice/a.txt"])
        kept = visit.js("return [JSON.stringify(localStorage), location.href].join()")
        assert cloud.login_token("alice").partition(".")[0] not in kept
        assert visit.js("return loginTokenFor('http://evil.example/')") == ""


def test_the_page_works_from_a_file(
    browser: webdriver.Chrome, page_cloud: LocalCloud, tmp_path: Path
) -> None:
    file = tmp_path / "upload page.html"
    file.write_text(build_page({"appServer": page_cloud.token_url}), encoding="utf-8")
    with visiting(browser, file.as_uri(), tmp_path) as visit:
        visit.open()

        visit.choose({"猫.png": png(), "large.bin": LARGE})

        wait_for(lambda: visit.text("#status"), "2 of 2 done")
        wait_for(lambda: set(visit.listed()), {"photos/猫.png", "photos/large.bin"})
        assert visit.js("return location.origin") in ("null", "file://")


def test_the_page_works_on_a_phone_without_https(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with (
        LocalCloud(
            "demo-bucket",
            "photos/",
            settings=REUSE,
            network=Network("127.0.0.1", "oss.test"),
        ) as cloud,
        UploadPage({"appServer": cloud.token_url}) as page,
        visiting(
            browser, page.url.replace("127.0.0.1", "phone.test"), tmp_path
        ) as visit,
    ):
        visit.open(width=390)
        assert visit.js("return [isSecureContext, crypto.subtle ?? null]") == [
            False,
            None,
        ]

        visit.choose({"a.png": png(), "large.bin": LARGE})
        wait_for(lambda: visit.text("#status"), "2 of 2 done")
        assert cloud.objects.read("photos/large.bin") == LARGE
        row = visit.row("photos/a.png")
        visit.click(f"{row} [data-action=copy]")

        wait_for(lambda: visit.text(f"{row} .state")[:11], "Link copied")


def test_the_page_works_over_https_with_a_certificate_of_its_own(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    network = Network(tls=make_tls(tmp_path, "127.0.0.1"))
    with (
        LocalCloud("demo-bucket", "photos/", settings=REUSE, network=network) as cloud,
        UploadPage({"appServer": cloud.token_url}, network=network) as page,
        visiting(browser, page.url, tmp_path) as visit,
    ):
        visit.cdp("Security.setIgnoreCertificateErrors", ignore=True)
        visit.open()
        assert visit.js("return [location.protocol, isSecureContext]") == [
            "https:",
            True,
        ]

        visit.choose({"a.png": png(), "large.bin": LARGE})

        wait_for(lambda: visit.text("#status"), "2 of 2 done")
        assert cloud.objects.read("photos/large.bin") == LARGE

        # Only https can be called from there, but for this machine.
        visit.fill_in(endpoint="http://192.0.2.1:7091")
        visit.click("#set")
        wait_for(
            lambda: visit.text("#endpoint-problem"),
            "This page came over https, so it can call https only.",
        )
        visit.cdp("Security.setIgnoreCertificateErrors", ignore=False)
