"""Uploads from the page without a token: by forms and URLs of the app server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.browser import wait_for
from helpers.page.fixtures import REUSE
from helpers.page.visit import Visit, png

from localcloud import LocalCloud

pytestmark = pytest.mark.browser

PICTURE = png()
GRANTS: dict[str, Any] = {
    "/": {},
    "/form": {
        "Type": "PostForm",
        "ObjectPrefix": "forms/",
        "MinSize": 100,
        "MaxSize": 2000,
        "ContentTypes": ["image/*"],
    },
    "/put": {
        "Type": "PresignedUrl",
        "ObjectPrefix": "urls/",
        "ObjectName": "$UUID/$FILENAME",
        "ForbidOverwrite": True,
    },
}
READS_ALL = """\
{"Version": "1", "Statement": [
  {"Effect": "Allow", "Action": ["oss:PutObject", "oss:ListParts",
    "oss:AbortMultipartUpload"],
   "Resource": "acs:oss:*:*:$BUCKET_NAME/$OBJECT_PREFIX*"},
  {"Effect": "Allow", "Action": ["oss:GetObject", "oss:ListObjects"],
   "Resource": ["acs:oss:*:*:$BUCKET_NAME", "acs:oss:*:*:$BUCKET_NAME/*"]}]}
"""


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    """A cloud that hands out tokens, forms and URLs."""
    settings = REUSE | {"Grants": GRANTS, "Callback": {}}
    with LocalCloud(
        "demo-bucket", "photos/", settings=settings, policy=READS_ALL
    ) as cloud:
        yield cloud


def problem(visit: Visit, key: str) -> str:
    visit.wait_for_state(key, "failed")
    return visit.text(f"{visit.row(key)} .problem")


def operations(cloud: LocalCloud) -> set[tuple[str, str]]:
    """Return what stored objects, or tried to."""
    stores = ("PutObject", "PostObject", "InitiateMultipartUpload")
    return {
        (access.operation, access.code)
        for access in cloud.oss.requests
        if access.operation in stores
    }


def test_files_go_by_forms_whose_limits_are_named_by_server_and_oss(
    blank_visit: Visit, cloud: LocalCloud
) -> None:
    visit = blank_visit
    visit.expects_complaints = True  # of what is refused
    visit.open()
    visit.fill_in(app_server=cloud.token_url)
    visit.set()
    assert visit.text("#form-path") == ""
    visit.click("[value=form]")
    visit.fill_in(form_path="form")
    visit.click("#set")
    wait_for(lambda: visit.text("#form-path-problem")[:12], "Enter a path")
    visit.fill_in(form_path="/form")
    visit.set()

    # What was offered for tokens is not what is entered for forms.
    assert visit.js("return entered().pattern") == "forms/$FILENAME"
    assert "demo-bucket/forms/ by forms" in visit.text("#place")
    assert visit.text("#hint") == "Allowed: image/*, up to 2 kB, 100 bytes or more"
    visit.choose({"a b+猫.png": PICTURE})
    wait_for(lambda: visit.text("#status"), "1 of 1 done")
    assert cloud.objects.keys() == ["forms/a b+猫.png"]
    assert cloud.objects.read("forms/a b+猫.png") == PICTURE
    assert operations(cloud) == {("PostObject", "")}
    row = visit.row("forms/a b+猫.png")
    assert "image/png" in visit.text(f"{row} .report")
    assert visit.read(f"{row} .address") == PICTURE

    # The app server refuses what it hears of before.
    visit.choose(
        {"large.png": b"x" * 2001, "small.png": b"x" * 99, "a.txt": b"x" * 200}
    )
    said = problem(visit, "forms/large.png")
    assert "EntityTooLarge: At most 2000 bytes are allowed." in said
    assert "The limit is MaxSize: 2 kB." in said
    assert "The limit is MinSize: 100 bytes" in problem(visit, "forms/small.png")
    said = problem(visit, "forms/a.txt")
    assert "ContentTypeNotAllowed: content_type must be image/*." in said
    assert "The limit is ContentTypes: image/*." in said
    assert "/form" in said
    assert operations(cloud) == {("PostObject", "")}

    # OSS refuses what it did not hear of.
    visit.click("#untold")
    visit.set()
    for name, code, limit in (
        ("large2.png", "EntityTooLarge", "MaxSize: 2 kB"),
        ("small2.png", "EntityTooSmall", "MinSize: 100 bytes"),
        ("b.txt", "AccessDenied", "ContentTypes: image/*"),
    ):
        size = {"large2.png": 2001, "small2.png": 99}.get(name, 200)
        visit.choose({name: b"x" * size})
        said = problem(visit, f"forms/{name}")
        assert said.startswith(code)
        assert f"The limit is {limit}" in said
        assert "OSS said this to POST demo-bucket/forms/" in said
    assert ("PostObject", "AccessDenied") in operations(cloud)
    visit.choose({"c.png": PICTURE})
    visit.wait_for_state("forms/c.png", "done")
    assert cloud.objects.keys() == ["forms/a b+猫.png", "forms/c.png"]

    # It is kept.
    visit.open()
    assert "by forms" in visit.text("#place")
    assert visit.js("return keptSettings.read()") == {
        "appServer": cloud.token_url,
        "way": "form",
        "formPath": "/form",
        "untold": True,
    }


def test_files_go_by_urls_under_names_that_the_app_server_chooses(
    blank_visit: Visit, cloud: LocalCloud
) -> None:
    visit = blank_visit
    visit.open()
    visit.fill_in(app_server=cloud.token_url)
    visit.click("[value=url]")
    visit.fill_in(url_path="/put")
    visit.click("#fill")
    wait_for(lambda: visit.text("#form-status")[:9], "Filled in")
    visit.set()
    assert visit.text("#hint") == "Any file, in one request"

    # Each attempt has a URL of its own, for the name that the file has.
    cloud.oss.fail("PutObject", "InternalError", "FileAlreadyExists")
    visit.expects_complaints = True
    visit.choose({"cat.png": PICTURE})
    wait_for(lambda: visit.text("#status"), "0 of 1 done, 1 failed")
    said = visit.text("#uploads .problem")
    assert "The limit is ForbidOverwrite: true." in said
    visit.click("[data-action=resume]")
    wait_for(lambda: visit.text("#status"), "1 of 1 done")

    (key,) = cloud.objects.keys()
    assert re.fullmatch(r"urls/[^/]+/cat\.png", key)
    assert cloud.objects.read(key) == PICTURE
    assert visit.text(f"{visit.row(key)} .name") == key.removeprefix("urls/")
    assert visit.read(f"{visit.row(key)} .address") == PICTURE
    wait_for(visit.listed, [key])


def test_an_app_server_that_hands_out_no_tokens_is_enough(
    blank_visit: Visit, cloud: LocalCloud
) -> None:
    visit = blank_visit
    visit.open()
    visit.fill_in(app_server=f"{cloud.token_url}form")
    visit.set()

    visit.choose({"a.png": PICTURE})
    wait_for(lambda: visit.text("#status"), "1 of 1 done")

    assert cloud.objects.keys() == ["forms/a.png"]
    said = "No token: the app server signs each upload"
    assert visit.text("#objects-status") == said
    assert visit.text("#token-expires") == said
    assert visit.text("#error") == ""
    assert visit.text("#outside") == ""
    assert visit.text("[data-action=copy]") == ""
    assert len(cloud.sts.requests) == 1


def test_a_secret_of_one_app_server_is_for_no_other(blank_visit: Visit) -> None:
    blank_visit.open()
    secret = "http://a.test/sts?access_token=secret"

    signers = blank_visit.js(
        """
        const [appServer, ...paths] = arguments;
        return paths.map((formPath) =>
          signerOf(tidy({ appServer, formPath, way: "form" })));
        """,
        *(secret, "", "/form", "/form?a=b", "https://b.test/form"),
    )
    problems = blank_visit.js(
        """
        return Array.from(arguments, (formPath) =>
          problemsOf(tidy({ formPath, way: "form" })).formPath ?? null);
        """,
        *("", "/form", "https://b.test/form", "form", "//b.test/form", "/\\\\b.test"),
    )
    link = blank_visit.js(
        "return linkTo(tidy({ appServer: arguments[0], formPath: arguments[1] }))",
        *(secret, "https://b.test/form?access_token=secret"),
    )

    assert signers == [
        secret,
        "http://a.test/form?access_token=secret",
        "http://a.test/form?a=b",
        "https://b.test/form",
    ]
    assert problems == [None, None, None, "badPath", "badPath", "badPath"]
    assert "secret" not in link
