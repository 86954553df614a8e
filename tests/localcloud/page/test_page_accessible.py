"""The upload page for everybody: what axe finds, and what a finger hits."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.browser import wait_for
from helpers.oss.apps import NODE_MODULES
from helpers.page.visit import Visit, png

from localcloud.oss import OssStandIn
from localcloud.oss.storage import Bucket

AXE = NODE_MODULES / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not AXE.exists(), reason="needs what localcloud/clients/package.json names"
    ),
]

RUN_AXE = """
const { violations } = await axe.run(document, { resultTypes: ["violations"] });
return violations.flatMap(({ id, nodes }) =>
  nodes.map(({ html }) => `${id}: ${html.slice(0, 120)}`));
"""
SMALL_TARGETS = """
const things = "button, summary, input, .choice, .button, a[href]";
return Array.from(document.querySelectorAll(things))
  .filter((element) => element.checkVisibility())
  .filter((element) => !element.closest(".choice > *, #file-input")) // of a label
  .map((element) => [element.getBoundingClientRect(), element])
  .filter(([{ width, height }]) => width < 44 || height < 43.9)
  .map(([{ width, height }, element]) =>
    `${width}x${height} ${element.outerHTML.slice(0, 90)}`);
"""


@pytest.fixture
def busy(visit: Visit, page_oss: OssStandIn, page_bucket: Bucket) -> Visit:
    """A visit that shows everything the page can show."""
    page_bucket.put("photos/a.png", png())
    page_bucket.put(f"photos/{'a long name ' * 12}.txt", b"b")
    page_oss.fail("PutObject", "", "AccessDenied")
    visit.expects_complaints = True
    visit.open(width=390)
    visit.choose({"done.png": png()})
    visit.wait_for_state("photos/done.png", "done")
    visit.choose({f"{'refused' * 20}.txt": b"a"})
    wait_for(lambda: visit.text("#status"), "1 of 2 done, 1 failed")
    visit.click("#outside-button")
    wait_for(lambda: "AccessDenied" in visit.text("#outside-result"), True)
    visit.js("""
        byId("panel").open = true;
        byId("from-link").hidden = false;
        showProblems({ bucket: "badBucket", pattern: "badPattern" });
        const said = { ErrorCode: "Code", ErrorMessage: "Message" };
        showError("token", new TokenError(said, "GET /", 200));
        showObjectsProblem("listRefused", {}, errors.get("token"));
        for (const path of Object.values(PATH_OF)) byId(`${path}-field`).hidden = false;
        const report = document.querySelector(".report");
        const heard = { width: 1280, height: 960, type: "image/jpeg", size: 35891 };
        say(report, "reported", { facts: () => factsOf({ ...heard, user: "alice" }) });
        report.hidden = false;
        const limit = { setting: "MaxSize", value: "2 kB" };
        const large = Object.assign(errors.get("token"), { limit });
        showProblem(document.querySelector("[data-state=failed] .problem"), large);
    """)
    return visit


def test_axe_finds_nothing(busy: Visit) -> None:
    # As a user would add it: what the page allows its own scripts is not touched.
    source = Path(AXE).read_text("utf-8")
    busy.cdp("Runtime.evaluate", expression=source)
    found = []
    for language, width in (("en", 390), ("zh-CN", 1280)):
        busy.resize(width)
        for scheme in ("light", "dark"):
            features = [
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
            busy.cdp("Emulation.setEmulatedMedia", features=features)
            busy.js("setLanguage(arguments[0])", language)
            violations = busy.resolved(f"{{ {RUN_AXE} }}")
            found += [f"{language} {scheme} {line}" for line in violations]
    busy.cdp("Emulation.setEmulatedMedia", features=[])

    assert found == []


def test_a_finger_hits_what_it_aims_at_and_no_name_is_cut(busy: Visit) -> None:
    assert busy.js(SMALL_TARGETS) == []
    cut = busy.js("""
        return Array.from(document.querySelectorAll(".name"))
          .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
          .map(({ textContent }) => textContent);
    """)
    assert cut == []
    assert busy.js("return document.documentElement.scrollWidth") <= 390
