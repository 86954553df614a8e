"""The advice of --check is there in English and in Chinese, and says the same."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.sts import StsStandIn
from tokenserver.check import (
    bucket_texts,
    callback_texts,
    hint_texts,
    report,
    texts,
)
from tokenserver.check.hints import HintLog, hint
from tokenserver.check.texts import LANGUAGES, Language, Text, language_of
from tokenserver.config.files import read_file
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.config.load import load_config
from tokenserver.documents import failed
from tokenserver.errors import Cause, Failure
from tokenserver.options import parse_arguments
from tokenserver.sts.client import CallerIdentity, StsClient

ROOT = Path(__file__).parents[3]
CHINESE = re.compile("[\u4e00-\u9fff]")
# Words that Chinese uses where English says "pair" and "token"
WORDS = {"AccessKey", "SecurityToken"}
CALL = AssumeRoleCall(
    protocol="https",
    endpoint="sts.aliyuncs.com",
    access_key_id="LTAIexample",
    access_key_secret="example",
    role_arn="acs:ram::1234567890123456:role/app-uploader",
    role_session_name="sample",
    duration_seconds=900,
    policy=None,
)
ALICE = CallerIdentity(
    "1234567890123456", "acs:ram::1234567890123456:user/alice", "RAMUser"
)


def texts_of(name: str, value: object) -> Iterator[tuple[str, Text]]:
    """Yield each text in *value*, with where it stands."""
    if isinstance(value, Text):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_of(f"{name} {getattr(key, 'name', key)}", item)


TEXTS = {
    name: text
    for module in (texts, hint_texts, bucket_texts, callback_texts)
    for variable, value in vars(module).items()
    for name, text in texts_of(variable, value)
}
each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


def placeholders(text: str) -> set[str]:
    """Return the names of the {placeholders} in *text*."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@each_text
def test_both_languages_are_filled_with_the_same_values(text: Text) -> None:
    assert placeholders(text.en) == placeholders(text.zh)


@each_text
def test_chinese_names_the_same_settings_codes_and_commands(text: Text) -> None:
    # Key or KEY, with at least a second capital or a digit in it, and host names
    named = re.compile(
        r"[A-Z]+[a-z0-9]+[A-Z]\w*|[A-Z]+_[A-Z_]+|[a-z-]+\.[<>a-z.-]+\w|https?://"
    )

    english, chinese = (
        set(named.findall(re.sub(r"\{\w+\}", "", said))) - WORDS for said in text
    )
    assert english == chinese


@each_text
def test_chinese_is_chinese(text: Text) -> None:
    assert not CHINESE.search(text.en)
    has_words = bool(re.search(r"[a-z]{3}", re.sub(r"\{\w+\}", "", text.en)))
    if has_words and text is not texts.KEY:
        assert CHINESE.search(text.zh)
        # Its own punctuation, not that of English, between its own words
        assert not re.search("[\u4e00-\u9fff][,;:()?!][\u4e00-\u9fff]", text.zh)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("owner", [ALICE, None], ids=["known owner", "no owner"])
def test_each_hint_is_filled_in(
    language: Language, owner: CallerIdentity | None
) -> None:
    failures = [
        *(failed(cause).failure for cause in hint_texts.HINTS_BY_CAUSE),
        *(Failure(Cause.REFUSED, code, "", "") for code in hint_texts.HINTS),
        *(
            Failure(Cause.REFUSED, "NoPermission", message, "", denied_by=kind)
            for kind in ("", "ControlPolicy", "AssumeRolePolicy ExplicitDeny")
            for message in ("", "Roles may not be assumed by root accounts.")
        ),
    ]
    other = replace(CALL, role_arn="acs:ram::9876543210987654:role/other")
    for failure in failures:
        for call in (CALL, other, replace(CALL, access_key_id="")):
            said = hint(failure, call, owner, language)

            assert said
            assert not re.search(r"[{}]", said)
            assert bool(CHINESE.search(said)) == (language == "zh")


def test_each_cause_and_code_has_a_hint_in_both_languages() -> None:
    assert set(hint_texts.HINTS_BY_CAUSE) == set(Cause) - {Cause.REFUSED, Cause.DEFECT}


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh"}, "zh"),
        ({"LANG": "ZH_TW"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
        ({"LC_ALL": "C", "LC_MESSAGES": "zh_CN", "LANG": "zh_CN"}, "en"),
        ({"LC_ALL": "zh_CN.GB18030", "LANG": "en_US"}, "zh"),
        ({"LC_ALL": "", "LANG": "zh_CN"}, "zh"),
        ({"LANGUAGE": "zh_CN", "LC_CTYPE": "zh_CN"}, "en"),
    ],
    ids=str,
)
def test_the_first_variable_that_is_set_decides(
    variables: dict[str, str], language: str
) -> None:
    assert language_of(variables) == language


def test_the_option_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")

    assert parse_arguments(["--check"]).language == "zh"
    assert parse_arguments(["--check", "--language", "en"]).language == "en"


def test_a_running_server_logs_its_hints_in_english(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")

    said = HintLog().hint(Failure(Cause.REFUSED, "NoPermission", "", ""), CALL)

    assert not CHINESE.search(said)


def test_remedies_of_the_report_are_chinese(
    sts: StsStandIn, sts_client: StsClient, capsys: pytest.CaptureFixture[str]
) -> None:
    call = replace(CALL, protocol="http", endpoint=sts.endpoint)
    samples = [report.Sample("/", call)]

    findings = report.diagnose(samples, sts_client, language="zh")
    status = report.run_check({}, samples, [], findings, "zh")

    shown = capsys.readouterr().out
    what_is, what_to_do = shown.split("\n处理办法\n")
    assert status == 1
    assert "problem  AssumeRole for /: InvalidAccessKeyId.NotFound" in what_is
    assert not CHINESE.search(what_is)
    assert what_to_do.startswith("  - STS 中不存在 AccessKeyID LTAIexample。请将")
    assert (
        "RAM 控制台 > 身份管理 > 用户 > 目标用户 > 认证管理 > AccessKey" in what_to_do
    )
    assert what_to_do.endswith("\nThere are problems.\n")


@pytest.mark.parametrize(
    ("offset", "words"),
    [(-1200.0, "比 STS 慢 20 分钟，"), (10800.0, "比 STS 快 3 小时，")],
)
def test_a_clock_that_is_off_is_told_in_chinese(offset: float, words: str) -> None:
    said = report.clock_remedy(offset, "zh")

    assert words in said
    assert "超过 15 分钟的请求" in said


@pytest.fixture
def config(tmp_path: Path, sts: StsStandIn) -> Path:
    """A configuration with logins, whose AccessKey pair STS does not know."""
    path = tmp_path / "config.json"
    path.touch(mode=0o600)
    (tmp_path / "login.key").touch(mode=0o600)
    (tmp_path / "login.key").write_text("k" * 32)
    values = {
        "AccessKeyID": "LTAIexample",
        "AccessKeySecret": "example",
        "RoleArn": CALL.role_arn,
        "PolicyFile": str(ROOT / "policy" / "bucket_write_policy.txt"),
        "BucketName": "my-bucket",
        "ObjectPrefix": "users/$USER_ID/",
        "StsEndpoint": sts.url,
        "Authentication": {
            "Issuer": "https://login.example.com",
            "Audience": "sts-server",
            "SecretFile": "login.key",
        },
    }
    path.write_text(json.dumps(values), "utf-8")
    return path


def test_how_to_shut_a_user_out_is_told_in_chinese(config: Path) -> None:
    grants = load_config(config, read_file).grants.values()

    english = report.how_to_end("alice", grants)
    chinese = report.how_to_end("alice", grants, "zh")

    policy = [line for line in english if line.startswith("    ")]
    assert policy == [line for line in chinese if line.startswith("    ")]
    assert not CHINESE.search("".join(english))
    assert chinese[1] == "拒绝用户 alice"
    assert "RAM 控制台 > 身份管理 > 角色 > app-uploader > 权限管理" in chinese[3]
    assert "（15 分钟内）" in chinese[3]


@pytest.mark.parametrize(
    ("arguments", "is_chinese"),
    [([], True), (["--language", "en"], False)],
    ids=["environment", "option"],
)
def test_the_command_speaks_the_language_of_the_terminal(
    config: Path, arguments: list[str], is_chinese: bool
) -> None:
    line = [sys.executable, str(ROOT / "sts_server.py"), "--check", "--user", "alice"]
    result = subprocess.run(
        [*line, "--config", str(config), *arguments],
        capture_output=True,
        env=os.environ | {"LC_ALL": "zh_CN.UTF-8"},
        timeout=60,
        check=False,
    )

    shown = result.stdout.decode("utf-8")
    assert result.returncode == 1
    assert ("处理办法" in shown, "拒绝用户 alice" in shown) == (is_chinese, is_chinese)
    assert ("What to do" in shown) == (not is_chinese)


def test_errors_of_the_configuration_stay_english(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "sts_server.py"), "--check", "--config", "no"],
        cwd=tmp_path,
        capture_output=True,
        env=os.environ | {"LC_ALL": "zh_CN.UTF-8"},
        timeout=60,
        check=False,
    )

    assert result.returncode == 1
    assert result.stderr.isascii()
    assert result.stdout == b""
