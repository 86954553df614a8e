"""What docs/signed-uploads.md prints works as it is printed, on OSS as it judges.

Only addresses are those of a test, and what runs around the code: Node in place of a
browser, and a WeChat and an Uppy that do with the reply what theirs do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browser import wait_for
from helpers.login.service import login_token
from helpers.machine import PATIENCE_SECONDS
from helpers.oss.apps import NODE_MODULES, needs_node
from helpers.oss.signed import Signing, start_signing
from helpers.server import MakeServer
from helpers.settings import ROOT

from localcloud.oss import OssStandIn
from localcloud.sts import StsStandIn
from tokenserver.config import settings as table
from tokenserver.httpd.request import RequestError
from tokenserver.oss import orders

if TYPE_CHECKING:
    from selenium import webdriver

PAGES = [ROOT / "docs" / "signed-uploads.md", ROOT / "docs/zh-CN/signed-uploads.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVER = "https://sts.example.com"
DATA = b"\xff\xd8\xff meow"

pytestmark = pytest.mark.process


def blocks(page: Path = PAGES[0]) -> list[tuple[str, str]]:
    """Return language and code of all blocks of a page."""
    return BLOCK.findall(page.read_text("utf-8"))


def block(language: str, part: str) -> str:
    """Return the one block that has *part* in it."""
    (code,) = [code for name, code in blocks() if name == language and part in code]
    return code


def settings_of(part: str) -> dict[str, Any]:
    """Return the settings in a block, with the templates of the project."""
    settings: dict[str, Any] = json.loads(f"{{{block('json', part)}}}")
    settings["PolicyFile"] = str(ROOT / settings["PolicyFile"])
    return settings


@pytest.fixture
def signing(
    make_server: MakeServer, sts: StsStandIn, own_oss: OssStandIn, tmp_path: Path
) -> Signing:
    """The server that the page sets up."""
    values = settings_of('"/form"')
    return start_signing(
        make_server, sts, own_oss, tmp_path, values.pop("Grants"), **values
    )


def test_both_languages_print_the_same_code_and_name_the_same_things() -> None:
    english, chinese = (
        (blocks(page), names(BLOCK.sub("", page.read_text("utf-8")))) for page in PAGES
    )

    assert english == chinese


def names(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


@pytest.mark.parametrize("page", PAGES, ids=["English", "Chinese"])
def test_each_setting_parameter_and_error_has_a_row(page: Path) -> None:
    cells = re.findall(r"^\|.*", page.read_text("utf-8"), re.MULTILINE)
    documented = {name for cell in cells for name in names(cell)}

    codes = {
        kind.code
        for kind in RequestError.__subclasses__()
        if kind.__module__ == orders.__name__
    }
    settings = {setting.name for setting in table.SIGNED_SETTINGS}
    assert len(codes) == 6
    assert settings | codes | set(orders.PARAMETERS) <= documented


def test_the_documents_shown_are_those_of_the_server(signing: Signing) -> None:
    form = signing.form(filename="cat.jpg", content_type="image/jpeg").document
    url = signing.url(filename="cat.jpg", content_type="image/jpeg").document

    shown_form = json.loads(block("json", '"fields"'))
    shown_url = json.loads(block("json", '"object"'))

    assert list(shown_form) == list(form)
    assert list(shown_form["fields"]) == list(form["fields"])
    assert list(shown_url) == list(url)
    assert shown_url["headers"] == url["headers"]
    assert signing.server.server.config.current().warnings == ()


# --- Shells ---------------------------------------------------------------------


def run(*line: str, folder: Path, **environment: str) -> str:
    """Return what a program prints that has to succeed."""
    result = subprocess.run(
        line,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result
    return result.stdout


@pytest.mark.parametrize(
    ("part", "name"),
    [
        pytest.param("url=$(curl", "files/alice/cat.jpg", id="URL"),
        pytest.param("form.json", "users/alice/cat.jpg", id="form"),
    ],
)
def test_curl_uploads(signing: Signing, tmp_path: Path, part: str, name: str) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    (tmp_path / "cat.jpg").write_bytes(DATA)
    code = block("sh", part).replace(SERVER, signing.server.url)

    run("bash", "-euc", code, folder=tmp_path, LOGIN_TOKEN=login_token("alice"))

    assert signing.bucket.read(name) == DATA


# --- Programs -------------------------------------------------------------------

# In the order of WeChat's own: the fields of formData, then the file.
WECHAT = """
import { readFileSync } from "node:fs";
const filePath = "cat.jpg";
let fail, done;
const ended = new Promise((resolve, reject) => {
  done = resolve;
  fail = (reason) => reject(new Error(reason));
});
globalThis.wx = {
  async request({ url, data, header, success, fail }) {
    const query = new URLSearchParams(data);
    const reply = await fetch(`${url}?${query}`, { headers: header });
    success({ statusCode: reply.status, data: await reply.json() });
  },
  async uploadFile({ url, filePath, name, formData, success }) {
    const form = new FormData();
    for (const key in formData) form.append(key, formData[key]);
    form.append(name, new Blob([readFileSync(filePath)]), "tmp_8f3a.jpg");
    const reply = await fetch(url, { method: "POST", body: form });
    success({ statusCode: reply.status, data: await reply.text() });
  },
};
"""
# As the plugin does it: fields of a POST in a form, "file" last; a PUT with headers.
UPPY = """
const AwsS3 = Symbol("AwsS3");
const uppy = { use(plugin, options) { this.options = options; } };
"""
UPPY_UPLOADS = """
const source = { name: "cat.jpg", type: "image/jpeg", data: file };
const { method = "POST", url, fields, headers: wanted } =
  await uppy.options.getUploadParameters(source);
if (uppy.options.shouldUseMultipart || !/^p(u|os)t$/i.test(method)) throw new Error();
let body = file;
if (method.toUpperCase() === "POST") {
  body = new FormData();
  Object.entries(fields).forEach(([name, value]) => body.set(name, value));
  body.set("file", file);
}
const reply = await fetch(url, { method, headers: wanted, body });
if (!reply.ok) throw new Error(await reply.text());
"""
FILE = """
import { readFileSync as read } from "node:fs";
const file = new File([read("cat.jpg")], "cat.jpg", { type: "image/jpeg" });
const loginToken = process.env.LOGIN_TOKEN;
"""

PROGRAMS = {
    "form in a browser": ("new FormData", "", "", "users/alice/cat.jpg"),
    "URL in a browser": ("method: signed.method", "", "", "files/alice/cat.jpg"),
    "Uppy": ("uppy.use", UPPY, UPPY_UPLOADS, "users/alice/cat.jpg"),
    "WeChat": ("wx.uploadFile", WECHAT, "await ended;", "users/alice/cat.jpg"),
    "uni-app": (
        "wx.uploadFile",
        WECHAT.replace("globalThis.wx", "globalThis.uni"),
        "await ended;",
        "users/alice/cat.jpg",
    ),
}


def run_node(signing: Signing, folder: Path, *parts: str) -> str:
    """Run a program of *parts* for alice, who has a file."""
    (folder / "cat.jpg").write_bytes(DATA)
    code = "\n".join(parts).replace(SERVER, signing.server.url)
    (folder / "app.mjs").write_text(code, encoding="utf-8")
    return run("node", "app.mjs", folder=folder, LOGIN_TOKEN=login_token("alice"))


@needs_node
@pytest.mark.parametrize(
    ("part", "before", "behind", "name"), PROGRAMS.values(), ids=PROGRAMS.keys()
)
def test_a_program_uploads(
    signing: Signing, tmp_path: Path, part: str, before: str, behind: str, name: str
) -> None:
    code = block("js", part)
    if "globalThis.uni" in before:
        code = code.replace("wx.", "uni.")

    run_node(signing, tmp_path, FILE, before, code, behind)

    assert signing.bucket.read(name) == DATA


@needs_node
def test_uppy_takes_the_reply_of_a_url_too(signing: Signing, tmp_path: Path) -> None:
    code = block("js", "uppy.use").replace("/form?", "/put?")

    run_node(signing, tmp_path, FILE, UPPY, code, UPPY_UPLOADS)

    assert signing.bucket.read("files/alice/cat.jpg") == DATA


@needs_node
@pytest.mark.parametrize("part", ["new FormData", "uppy.use", "wx.uploadFile"])
def test_a_program_shows_which_limit_it_met(
    signing: Signing, tmp_path: Path, part: str
) -> None:
    """A type that the grant does not allow; the server says which it does."""
    _, before, behind, _ = next(row for row in PROGRAMS.values() if row[0] == part)
    code = block("js", part).replace("image/jpeg", "image/gif")
    caught = (
        'process.on("uncaughtException", (error) => {'
        "console.log(error.message); process.exit(0); });"
    )

    said = run_node(
        signing,
        tmp_path,
        caught,
        FILE.replace("image/jpeg", "image/gif"),
        before,
        code,
        behind.replace("image/jpeg", "image/gif"),
    )

    assert said == "content_type must be image/jpeg or image/png.\n"
    assert list(signing.bucket.objects()) == []


@needs_node
def test_a_thumbnail_is_signed(signing: Signing, tmp_path: Path) -> None:
    signing.bucket.put("users/alice/cat.jpg", DATA)
    code = block("js", "image.src")

    said = run_node(
        signing, tmp_path, FILE, "const image = {};", code, "console.log(image.src);"
    )

    assert "/users/alice/cat.jpg?" in said
    assert "x-oss-process=image%2Fresize%2Cw_200" in said


@pytest.mark.browser
def test_the_html_form_uploads(
    signing: Signing, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    (tmp_path / "cat.jpg").write_bytes(DATA)
    page = tmp_path / "upload.html"
    code = block("html", "<form").replace(SERVER, signing.server.url)
    token = f"<script>const loginToken = {json.dumps(login_token('alice'))};</script>"
    page.write_text(f"<!doctype html><meta charset=utf-8>{token}{code}", "utf-8")
    browser.get(page.as_uri())

    browser.find_element("css selector", "[name=file]").send_keys(
        str(tmp_path / "cat.jpg")
    )
    browser.find_element("css selector", "button").click()

    wait_for(lambda: list(signing.bucket.objects()), ["users/alice/cat.jpg"])
    assert signing.bucket.read("users/alice/cat.jpg") == DATA
    browser.get("about:blank")


# --- Pages of the official samples ----------------------------------------------

# What their pages do, by the documented names: each takes the reply of one path.
SAMPLE_FORM = """
const asked = await fetch(`${server}/get_post_signature_for_oss_upload`);
const signed = await asked.json();
const form = new FormData();
form.append("success_action_status", "200");
form.append("policy", signed.policy);
form.append("x-oss-signature", signed.signature);
form.append("x-oss-signature-version", VERSION);
form.append("x-oss-credential", signed.x_oss_credential);
form.append("x-oss-date", signed.x_oss_date);
form.append("key", signed.dir + file.name);
form.append("x-oss-security-token", signed.security_token);
form.append("file", file);
const stored = await fetch(signed.host, { method: "POST", body: form });
if (stored.status !== 200) throw new Error(await stored.text());
"""
SAMPLE_URL = """
const asked = await fetch(`${server}/get_presigned_url_for_oss_upload`);
const headers = new Headers({ "Content-Type": "image/png" });
const url = await asked.text();
const stored = await fetch(url, { method: "PUT", headers, body: file });
if (!stored.ok) throw new Error(await stored.text());
"""
SAMPLE_STS = """
import OSS from "ali-oss";
const token = await (await fetch(`${server}/get_sts_token_for_oss_upload`)).json();
const client = new OSS({
  accessKeyId: token.AccessKeyId,
  accessKeySecret: token.AccessKeySecret,
  stsToken: token.SecurityToken,
  bucket: "my-bucket",
  region: "oss-cn-hangzhou",
  endpoint: process.env.ENDPOINT,
  authorizationV4: true,
});
await client.put("sts/cat.jpg", "cat.jpg");
"""


@needs_node
@pytest.mark.parametrize(
    ("code", "name"),
    [
        pytest.param(
            SAMPLE_FORM.replace("VERSION", '"OSS4-HMAC-SHA256"'),
            "user-dir-prefix/cat.jpg",
            id="form",
        ),
        pytest.param(
            SAMPLE_FORM.replace("VERSION", "signed.x_oss_signature_version"),
            "user-dir-prefix/cat.jpg",
            id="form, as for Python",
        ),
        pytest.param(
            SAMPLE_FORM.replace("VERSION", "signed.version"),
            "user-dir-prefix/cat.jpg",
            id="form, as for Java",
        ),
        pytest.param(SAMPLE_URL, r"url/[0-9a-f-]{36}\.png", id="URL"),
        pytest.param(SAMPLE_STS, "sts/cat.jpg", id="token"),
    ],
)
def test_pages_of_the_official_samples_upload(
    make_server: MakeServer,
    sts: StsStandIn,
    own_oss: OssStandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    name: str,
) -> None:
    """Nobody logs in there."""
    values = settings_of("get_sts_token_for_oss_upload")
    values |= {"Authentication": None, "ObjectPrefix": None}
    signing = start_signing(
        make_server, sts, own_oss, tmp_path, values.pop("Grants"), **values
    )
    monkeypatch.setenv("ENDPOINT", own_oss.url)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    server = f"const server = {json.dumps(signing.server.url)};"

    run_node(signing, tmp_path, FILE, server, code)

    (stored,) = signing.bucket.objects()
    assert re.fullmatch(name, stored)
    assert signing.bucket.read(stored) == DATA
