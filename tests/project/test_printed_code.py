"""What the README and the manual print works as it is printed.

Addresses and ports are those of a test; nothing else is changed.  nginx has a file of
its own.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import alibabacloud_oss_v2
import oss2
import pytest
from helpers import android, java_sdk
from helpers.machine import PATIENCE_SECONDS, find_program
from helpers.manual import PAGES
from helpers.oss.apps import NODE_MODULES, needs_node
from helpers.processes import call
from helpers.server import MakeServer
from helpers.settings import ROOT, settings, write_config

from localcloud import LocalCloud, ram
from localcloud.oss import CorsRule, OssStandIn
from localcloud.sts import StsStandIn
from tokenserver.config.files import read_file
from tokenserver.config.load import load_config

ACCOUNT = "1234567890123456"
TOKEN_SERVER = "https://sts.example.com/"  # the address in all recipes
README, CLIENTS = PAGES["README.md"], PAGES["docs/clients.md"]


def the_block(page: str, language: str, part: str) -> str:
    """Return the one block of a page that has *part* in it."""
    (block,) = [code for code in PAGES[page].code(language) if part in code]
    return block


def changed(code: str, **changes: str) -> str:
    """Return *code* with changes, none of which may be without effect."""
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    return code


def run(
    *line: str | Path, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in *folder* until it ends."""
    return subprocess.run(
        list(map(str, line)),
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


# --- Shells ---------------------------------------------------------------------

SHELL = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES.values()
    for number, code in enumerate(page.code("sh"))
]


@pytest.mark.process
@pytest.mark.parametrize("code", SHELL)
def test_a_shell_can_read_it(code: str, tmp_path: Path) -> None:
    result = run("bash", "-n", "-c", code, folder=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.process
def test_make_knows_each_target(tmp_path: Path) -> None:
    targets = {
        target
        for parameters in SHELL
        for target in re.findall(r"\bmake (\w+)", str(parameters.values[0]))
    } | set(re.findall(r"`make (\w+)", "".join(page.text for page in PAGES.values())))

    assert {"demo", "run", "test", "check", "bench"} <= targets
    for target in targets:
        assert run("make", "--dry-run", target, folder=ROOT).returncode == 0


def test_extras_that_are_named_exist() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    text = "".join(page.text for page in PAGES.values())
    named = re.findall(r"install (?:-\w )?'?(?:sts-server|\.)\[([\w,]+)\]", text)

    assert named
    extras = {extra for names in named for extra in names.split(",")}
    assert extras <= set(parser["options.extras_require"])


def test_the_image_takes_a_package_index() -> None:
    command = the_block("docs/configuration.md", "sh", "docker build")
    (argument,) = re.findall(r"--build-arg (\w+)=", command)

    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    stage = dockerfile.split("FROM")[1]
    assert stage.index(f"ARG {argument}\n") < stage.index("RUN")


# A command line of Alibaba Cloud that notes what it is asked, and knows its account.
ALIYUN = """#!{python}
import json, sys
with open("calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if "GetCallerIdentity" in sys.argv:
    print(json.dumps({{"AccountId": "{account}", "IdentityType": "RAMUser"}}, indent=1))
"""


class Cloud:
    """What the commands of the README set up in an account."""

    def __init__(self, folder: Path) -> None:
        lines = (folder / "calls").read_text().splitlines()
        self.calls = [json.loads(line) for line in lines]
        self.cors = ElementTree.parse(folder / "cors.xml").getroot()

    def option(self, command: str, option: str) -> list[str]:
        """Return what is passed for *option* to each call of *command*."""
        calls = [call for call in self.calls if command in call]
        return [call[call.index(option) + 1] for call in calls]

    @property
    def rule(self) -> CorsRule:
        """The CORS rule of the bucket."""

        def texts(name: str) -> list[str]:
            return [element.text or "" for element in self.cors.iter(name)]

        return CorsRule(
            texts("AllowedOrigin"),
            texts("AllowedMethod"),
            texts("AllowedHeader"),
            texts("ExposeHeader"),
        )


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Run the commands of the README."""
    program = tmp_path / "bin" / "aliyun"
    program.parent.mkdir()
    program.write_text(ALIYUN.format(python=sys.executable, account=ACCOUNT))
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    script = the_block("README.md", "sh", "aliyun")
    result = run("bash", "-e", "-u", "-c", script, folder=tmp_path, PATH=path)
    assert (result.returncode, result.stderr) == (0, "")
    return Cloud(tmp_path)


@pytest.mark.process
def test_the_commands_of_the_readme_set_up_what_check_accepts(
    cloud: Cloud, tmp_path: Path
) -> None:
    names = cloud.option("CreatePolicy", "--PolicyName")
    texts = cloud.option("CreatePolicy", "--PolicyDocument")
    policies = dict(zip(names, texts, strict=True))
    for owner in ("Role", "User"):
        command, option = f"AttachPolicyTo{owner}", f"--{owner}Name"
        (attached,) = cloud.option(command, "--PolicyName")
        (to,) = cloud.option(command, option)
        assert to in cloud.option(f"Create{owner}", option)
        assert attached in policies
    (role_name,) = cloud.option("CreateRole", "--RoleName")
    (trust,) = cloud.option("CreateRole", "--AssumeRolePolicyDocument")
    arn = f"acs:ram::{ACCOUNT}:role/{role_name}"
    resource = f"acs:ram:*:{ACCOUNT}:role/{role_name}"
    user = ram.parse(policies["sts-server"])
    allowed = ram.evaluate([user], "sts:AssumeRole", resource, {})
    others = ram.evaluate([user], "sts:AssumeRole", f"{resource}-2", {})
    assert (allowed, others) == ("Allow", None)
    (statement,) = json.loads(trust)["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")

    with StsStandIn() as sts, OssStandIn(sts) as oss:
        key = sts.add_user(may_assume=[arn])
        trusted = statement["Principal"]["RAM"]
        sts.add_role(arn, trusted=trusted, policies=[policies["app-uploader"]])
        oss.create_bucket("my-bucket", [cloud.rule])
        config = write_config(
            tmp_path,
            AccessKeyID=key.access_key_id,
            AccessKeySecret=key.access_key_secret,
            RoleArn=arn,
            Region="cn-hangzhou",
            Endpoint=oss.url,
            AllowedOrigins=["https://app.example.com"],
            StsEndpoint=sts.url,
        )
        result = call("--check", "--config", config)

    assert result.returncode == 0, result.stdout
    assert "Each grant gets a token." in result.stdout
    assert "What to do" not in result.stdout
    assert "CORS of bucket my-bucket for https://app.example.com: allowed" in (
        result.stdout
    )


def role_policy(cloud: Cloud) -> ram.Policy:
    """Return the policy of the role."""
    names = cloud.option("CreatePolicy", "--PolicyName")
    texts = cloud.option("CreatePolicy", "--PolicyDocument")
    return ram.parse(dict(zip(names, texts, strict=True))["app-uploader"])


@pytest.mark.process
def test_the_role_may_do_what_the_templates_allow_and_no_more(cloud: Cloud) -> None:
    policy = role_policy(cloud)
    templates = (ROOT / "policy").glob("*.txt")
    actions = {
        action
        for template in templates
        for statement in json.loads(template.read_text("utf-8"))["Statement"]
        for action in statement["Action"]
    }

    def allows(action: str, bucket: str) -> bool:
        arn = f"acs:oss:*:*:{bucket}/photos/cat.jpg"
        return ram.evaluate([policy], action, arn, {}) == "Allow"

    assert actions
    assert all(allows(action, "my-bucket") for action in actions)
    assert not any(allows(action, "my-bucket2") for action in actions)
    assert not allows("oss:DeleteObject", "my-bucket")


@pytest.mark.process
def test_the_login_of_the_readme_gets_a_token(
    make_server: MakeServer, tmp_path: Path
) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    (fragment,) = README.code("json")
    script = the_block("README.md", "sh", "login.key")
    make_secret, rest = script.split("\n", 1)
    assert run("bash", "-e", "-c", make_secret, folder=tmp_path).returncode == 0
    server = make_server(**json.loads(f"{{{fragment}}}"))

    rest = changed(
        rest, **{".venv/bin/python": sys.executable, ":7080": f":{server.port}"}
    )
    result = run("bash", "-e", "-u", "-c", rest, folder=tmp_path)

    assert json.loads(result.stdout)["StatusCode"] == 200, result.stdout
    assert server.request().status == 401  # without it


# --- Data -----------------------------------------------------------------------

JSON = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES.values()
    for number, code in enumerate(page.code("json"))
]


def documents(code: str) -> list[Any]:
    """Return the documents in a block: a file, some of its lines, or one a line."""
    if code.startswith('"'):
        return [json.loads(f"{{{code}}}")]
    if code.startswith("{\n"):
        return [json.loads(code)]
    return [json.loads(line) for line in code.splitlines()]


@pytest.mark.parametrize("code", JSON)
def test_json_is_json(code: str) -> None:
    assert documents(code)


@pytest.mark.parametrize(
    "name", ["README.md", "docs/configuration.md", "docs/users-and-grants.md"]
)
def test_the_server_takes_the_configuration_shown(name: str, tmp_path: Path) -> None:
    (tmp_path / "login.key").write_text("k" * 64)
    (tmp_path / "login.key").chmod(0o600)
    shutil.copytree(ROOT / "policy", tmp_path / "policy")
    shown = [
        document for code in PAGES[name].code("json") for document in documents(code)
    ]
    logins: dict[str, Any] = {}
    for document in shown:
        logins |= {k: v for k, v in document.items() if k == "Authentication"}
        is_grants = "Grants" in document  # which are for users
        config = write_config(tmp_path, **document | (logins if is_grants else {}))

        assert load_config(config, read_file).grants


def test_the_documents_shown_are_those_of_the_server(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    server = make_server(Region="cn-hangzhou")
    shown = [
        document
        for code in PAGES["docs/http.md"].code("json")
        for document in documents(code)
    ]
    paths = ["/", "/credentials", "/upload-config"]
    replies = [server.request(path).json for path in paths]
    sts.add_user(settings()["AccessKeyID"], is_enabled=False)
    replies += [server.request(path).json for path in paths[:2]]

    forms = [list(reply) for reply in replies]
    assert all(list(document) in forms for document in shown)
    assert server.request("/upload-config").json in shown


@pytest.mark.parametrize("name", ["docs/clients.md", "docs/zh-CN/clients.md"])
def test_xml_is_xml(name: str) -> None:
    network, plist = PAGES[name].code("xml")

    assert ElementTree.fromstring(network).tag == "network-security-config"
    assert ElementTree.fromstring(f"<dict>{plist}</dict>").find("key") is not None


# --- Programs -------------------------------------------------------------------


@pytest.fixture
def local() -> Iterator[LocalCloud]:
    """A cloud whose users log in, and have a folder each."""
    with LocalCloud(logins=True) as cloud:
        yield cloud


def recipe(local: LocalCloud, part: str) -> str:
    """Return the recipe in Python that has *part* in it, for a cloud of this test."""
    return the_block("docs/clients.md", "python", part).replace(
        TOKEN_SERVER, local.token_url
    )


@pytest.fixture
def namespace(
    local: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What an app in Python has before the recipes for its SDK."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(b"meow")
    names: dict[str, Any] = {"login_token": lambda: local.login_token("alice")}
    exec(recipe(local, "class TokenServer"), names)
    return names


@pytest.mark.parametrize(
    ("part", "name", "sdk"),
    [
        pytest.param("import oss2", "oss2", oss2, id="oss2"),
        pytest.param("import alibabacloud", "oss", alibabacloud_oss_v2, id="oss-v2"),
    ],
)
def test_the_recipes_in_python_upload_and_download(
    local: LocalCloud, namespace: dict[str, Any], part: str, name: str, sdk: object
) -> None:
    namespace[name] = sdk

    exec(recipe(local, part), namespace)

    assert local.objects.read("users/alice/cat.jpg") == b"meow"
    assert Path("copy.jpg").read_bytes() == b"meow"


def test_the_recipe_in_python_says_why_it_is_refused(
    local: LocalCloud, namespace: dict[str, Any]
) -> None:
    local.sts.fail("AssumeRole", "NoPermission")
    server = namespace["TokenServer"](
        local.token_url, namespace["login_token"], oss2.credentials.Credentials
    )

    with pytest.raises(RuntimeError, match=r"^NoPermission: "):
        server.get_credentials()


def test_the_recipe_renews_its_token_in_time(
    local: LocalCloud, namespace: dict[str, Any]
) -> None:
    provider = namespace["TokenServer"](
        local.token_url, namespace["login_token"], oss2.credentials.Credentials
    )
    tokens = {provider.get_credentials().get_security_token() for _ in range(2)}
    provider.expires_at -= 601  # so that less than 300 s are left
    tokens.add(provider.get_credentials().get_security_token())

    assert len(tokens) == 2


def test_the_session_name_shown_is_turned_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = PAGES["docs/users-and-grants.md"].code("python")

    exec(code, {})

    assert capsys.readouterr().out == "alice@example.com\n"


def node_app(local: LocalCloud, folder: Path, *parts: str) -> None:
    """Run *parts* as an app with ali-oss that has a file to upload."""
    (folder / "node_modules").symlink_to(NODE_MODULES)
    (folder / "cat.jpg").write_bytes(b"meow")
    code = "\n".join(['import OSS from "ali-oss";', *parts])
    (folder / "app.mjs").write_text(code, encoding="utf-8")
    token = local.login_token("alice")
    result = run("node", "app.mjs", folder=folder, LOGIN_TOKEN=token)
    assert (result.returncode, result.stderr) == (0, "")


@needs_node
@pytest.mark.process
def test_the_recipe_of_the_readme_for_ali_oss_uploads(
    local: LocalCloud, tmp_path: Path
) -> None:
    code = changed(
        the_block("README.md", "js", "new OSS("),
        **{
            TOKEN_SERVER: local.token_url,
            "bucket:": f"endpoint: {json.dumps(local.endpoint)}, bucket:",
        },
    )

    node_app(
        local,
        tmp_path,
        "const loginToken = process.env.LOGIN_TOKEN;",
        code,
        'await client.put("users/alice/cat.jpg", "cat.jpg");',
    )

    assert local.objects.read("users/alice/cat.jpg") == b"meow"


@needs_node
@pytest.mark.process
def test_the_recipe_for_ali_oss_uploads_and_downloads(
    local: LocalCloud, tmp_path: Path
) -> None:
    code = the_block("docs/clients.md", "js", "new OSS(")

    node_app(
        local,
        tmp_path,
        'import { writeFileSync } from "node:fs";',
        "const loginToken = async () => process.env.LOGIN_TOKEN;",
        'const file = "cat.jpg";',
        changed(code, **{TOKEN_SERVER: local.token_url}),
        'writeFileSync("copy.jpg", content);',
    )

    assert local.objects.read("users/alice/cat.jpg") == b"meow"
    assert (tmp_path / "copy.jpg").read_bytes() == b"meow"


@pytest.mark.process
def test_the_recipe_for_curl_uploads_and_downloads(tmp_path: Path) -> None:
    find_program("curl")
    code = the_block("docs/clients.md", "sh", "curl -sSf -T")
    (tmp_path / "cat.jpg").write_bytes(b"meow")
    grants = {
        "/put": {"Type": "PresignedUrl"},
        "/get": {"Type": "PresignedUrl", "Method": "GET"},
    }
    with LocalCloud(logins=True, settings={"Grants": grants}) as local:
        result = run(
            "bash",
            "-e",
            "-u",
            "-c",
            changed(code, **{TOKEN_SERVER: local.token_url}),
            folder=tmp_path,
            LOGIN_TOKEN=local.login_token("alice"),
        )
        stored = local.objects.read("users/alice/cat.jpg")

    assert (result.returncode, result.stderr) == (0, "")
    assert stored == (tmp_path / "copy.jpg").read_bytes() == b"meow"


@pytest.mark.process
def test_the_recipes_in_java_compile(tmp_path: Path) -> None:
    compiler = find_program("javac")
    for name, source in (android.STUBS | java_sdk.STUBS).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    (readme,) = README.code("java")
    first, other_user, own_provider, server, use = CLIENTS.code("java")
    app = android.app(readme, first + other_user, own_provider)
    (tmp_path / "App.java").write_text(app, encoding="utf-8")
    service = java_sdk.service(server, use)
    (tmp_path / "Service.java").write_text(service, encoding="utf-8")

    result = run(compiler, "-d", "out", "App.java", "Service.java", folder=tmp_path)

    assert result.returncode == 0, result.stdout + result.stderr
