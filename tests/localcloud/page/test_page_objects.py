"""What the upload page does with objects: pictures, links, deleting, refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.browser import wait_for
from helpers.page.fixtures import REUSE
from helpers.page.visit import Visit, css_string, fetched, png

from localcloud import LocalCloud
from localcloud.__main__ import page_policy

pytestmark = pytest.mark.browser


@pytest.fixture
def own_cloud() -> Iterator[LocalCloud]:
    """A cloud as the demo has it, whose users may delete."""
    policy = page_policy()
    with LocalCloud("demo-bucket", "photos/", policy=policy, settings=REUSE) as cloud:
        yield cloud


def item(key: str) -> str:
    """Return the selector of an object in the list."""
    return f"#objects li[data-key={css_string(key)}]"


def test_an_object_can_be_linked_to_and_deleted(
    blank_visit: Visit, own_cloud: LocalCloud
) -> None:
    visit, cloud = blank_visit, own_cloud
    for name in ("a.txt", "猫 1.txt"):
        cloud.objects.put(f"photos/{name}", name.encode())
    visit.open()
    visit.fill_in(app_server=cloud.token_url)
    visit.set()
    wait_for(lambda: len(visit.listed()), 2)

    cat = item("photos/猫 1.txt")
    visit.click(f"{cat} [data-action=copy]")
    wait_for(lambda: visit.text(f"{cat} .about"), "Link copied · works for 14 min")
    assert fetched(visit.clipboard()) == "猫 1.txt".encode()

    visit.click(f"{cat} [data-action=delete]")
    assert visit.text(f"{cat} [data-action=delete]") == "Really delete?"
    assert len(cloud.objects.keys()) == 2
    visit.click(f"{cat} [data-action=delete]")
    wait_for(visit.listed, ["photos/a.txt"])
    assert cloud.objects.keys() == ["photos/a.txt"]


def test_what_oss_refuses_is_said_above_the_list_and_blames_no_upload(
    blank_visit: Visit, page_cloud: LocalCloud
) -> None:
    visit = blank_visit
    visit.expects_complaints = True
    page_cloud.objects.put("photos/a.txt", b"a")
    visit.open()
    visit.fill_in(app_server=page_cloud.token_url)
    visit.set()
    wait_for(visit.listed, ["photos/a.txt"])
    for _ in range(2):
        visit.click(f"{item('photos/a.txt')} [data-action=delete]")
    wait_for(lambda: visit.text("#objects-problem") != "", True)
    problem = visit.text("#objects-problem")
    assert problem.startswith("The token may not delete a.txt. It is still there.")
    assert "OSS said this to DELETE demo-bucket/photos/a.txt · HTTP 403" in problem

    page_cloud.oss.fail("ListObjectsV2", "AccessDenied")
    visit.choose({"b.txt": b"b"})
    wait_for(lambda: "may not list" in visit.text("#objects-problem"), True)
    assert "OSS said this to GET demo-bucket/photos/ " in visit.text("#objects-problem")
    assert visit.text("#status") == "1 of 1 done"
    assert visit.text("#error") == ""

    visit.click("#refresh")
    wait_for(lambda: len(visit.listed()), 2)
    assert visit.text("#objects-problem") == ""


def test_pictures_are_made_small_by_oss_and_a_switch_adds_a_watermark(
    blank_visit: Visit, page_cloud: LocalCloud
) -> None:
    visit = blank_visit
    visit.expects_complaints = True
    page_cloud.objects.put("photos/a.png", png(800, 600))
    page_cloud.objects.put("photos/b.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    visit.open()
    visit.fill_in(app_server=page_cloud.token_url)
    visit.set()
    wait_for(lambda: len(visit.listed()), 2)
    small, mark = visit.js("return [THUMBNAIL, WATERMARK]")
    links = """
        return Object.fromEntries(Array.from(document.querySelectorAll("#objects a"),
          (link) => [references.get(link).key, new URL(link.href).searchParams]
            .map((part) => part.get?.("x-oss-process") ?? part)));
    """
    fetched_pictures = """
        return performance.getEntriesByType("resource")
          .map(({ name }) => new URL(name))
          .filter(({ pathname }) => pathname.endsWith(".png"))
          .map(({ searchParams }) => searchParams.get("x-oss-process"));
    """
    wait_for(lambda: f"image/{small}" in visit.js(fetched_pictures), True)

    visit.click("#watermark")

    wait_for(lambda: f"image/{small}/{mark}" in visit.js(fetched_pictures), True)
    opened = visit.js(links)
    assert opened["photos/a.png"] == f"image/{mark}"
    assert "image" not in opened["photos/b.svg"]
    is_shown = "return document.querySelector(arguments[0]).naturalWidth > 0"
    picture = f"{item('photos/a.png')} img"
    wait_for(lambda: visit.js(is_shown, picture), True)  # as it is, if need be
