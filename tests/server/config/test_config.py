"""What an operator notices of config.json: its problems, its warnings, its edits."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.server import look
from helpers.settings import (
    ACCESS_KEY_ID,
    ACCESS_KEY_SECRET,
    ROLE_ARN,
    ROOT,
    call_of,
    settings,
    write_config,
)

from tokenserver.config.files import read_file
from tokenserver.config.load import Config, LiveConfig, load_config
from tokenserver.errors import ConfigError


def load(folder: Path, **changes: Any) -> Config:
    """Return the configuration of a config.json with *changes*."""
    return load_config(write_config(folder, **changes), read_file)


def problems(folder: Path, **changes: Any) -> list[str]:
    """Return what is wrong with a config.json with *changes*, without its path."""
    with pytest.raises(ConfigError) as raised:
        load(folder, **changes)
    return [problem.partition("config.json: ")[2] for problem in raised.value.problems]


def policy(effect: str = "Allow", resource: str = "acs:oss:*:*:my-bucket/*") -> str:
    """Return a policy with one statement."""
    statement = {"Effect": effect, "Action": "oss:GetObject", "Resource": resource}
    document = {"Version": "1", "Statement": [statement]}
    return json.dumps(document, separators=(",", ":"))


def test_settings_reach_the_assume_role_call(tmp_path: Path) -> None:
    grant = load(tmp_path, TokenExpireTime="3600", RoleSessionName="alice@x").grants[
        "/"
    ]
    call = grant.call_for(None).complete()

    assert (call.protocol, call.endpoint) == ("https", "sts.aliyuncs.com")
    assert call.role_arn == ROLE_ARN
    assert call.role_session_name == "alice@x"
    assert call.duration_seconds == 3600
    assert call.policy == (
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":["oss:PutObject",'
        '"oss:ListParts","oss:AbortMultipartUpload"],'
        '"Resource":["acs:oss:*:*:my-bucket/photos/*"]}]}'
    )


def test_defaults_are_those_of_the_reference_servers(tmp_path: Path) -> None:
    config = load(
        tmp_path, TokenExpireTime=None, TokenReuseTime=None, StsCallsPerSecond=None
    )

    assert call_of(config).duration_seconds == 900
    assert call_of(config).role_session_name == "client_name"
    assert config.grants["/"].token_reuse_seconds == 300
    assert config.sts_calls_per_second == 80
    assert config.warnings == ()


def test_the_config_json_of_a_reference_package_is_read(tmp_path: Path) -> None:
    """Its keys, its quoted number; BucketName and ObjectPrefix came later."""
    template = tmp_path / "policy.txt"
    template.write_text(policy("Deny"))

    config = load(tmp_path, BucketName=None, ObjectPrefix=None, PolicyFile="policy.txt")

    assert call_of(config).policy == policy("Deny")
    assert config.warnings == ()


def test_the_shipped_config_json_names_what_is_to_be_filled_in(tmp_path: Path) -> None:
    root = ROOT
    shutil.copy(root / "config.json", tmp_path)
    shutil.copytree(root / "policy", tmp_path / "policy")

    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "config.json", read_file)

    assert [problem.rpartition("/")[2] for problem in raised.value.problems] == [
        "<name>, as the RAM console shows it",
        "bucket_write_policy.txt: uses $BUCKET_NAME, but BucketName is empty",
        "bucket_write_policy.txt: uses $OBJECT_PREFIX, but ObjectPrefix is empty",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"RoleArn": ""},
            "RoleArn is empty; it must be acs:ram::<account>:role/<name>, "
            "as the RAM console shows it",
            id="role missing",
        ),
        pytest.param(
            {"RoleArn": f"{ROLE_ARN}\n"},
            "RoleArn is 'acs:ram::1234567890123456:role/app-uploader\\n'; it must be "
            "acs:ram::<account>:role/<name>, as the RAM console shows it",
            id="role with a line end",
        ),
        pytest.param(
            {"TokenExpireTime": 899},
            "TokenExpireTime is 899; it must be a whole number of seconds "
            "from 900 to 43200",
            id="too short",
        ),
        pytest.param(
            {"TokenExpireTime": "43201"},
            "TokenExpireTime is 43201; it must be a whole number of seconds "
            "from 900 to 43200",
            id="too long",
        ),
        pytest.param(
            {"TokenExpireTime": True},
            "TokenExpireTime is true; it must be a whole number of seconds "
            "from 900 to 43200",
            id="no number",
        ),
        pytest.param(
            {"TokenExpireTime": "15 min"},
            'TokenExpireTime is "15 min"; it must be a whole number of seconds '
            "from 900 to 43200",
            id="number with a unit",
        ),
        pytest.param(
            {"TokenReuseTime": 601},
            "TokenReuseTime is 601; it must be a whole number of seconds from 0 to 600",
            id="reuse beyond what the mobile SDKs accept",
        ),
        pytest.param(
            {"StsCallsPerSecond": 0},
            "StsCallsPerSecond is 0; it must be a whole number from 1 to 10000",
            id="no calls at all",
        ),
        pytest.param(
            {"StsCallsPerSecond": "10001"},
            "StsCallsPerSecond is 10001; it must be a whole number from 1 to 10000",
            id="more calls than one process can make",
        ),
        pytest.param(
            {"RoleSessionName": "a"},
            "RoleSessionName is 'a'; it must be 2 to 64 letters, digits and . @ - _",
            id="session name too short",
        ),
        pytest.param(
            {"RoleSessionName": 7},
            "RoleSessionName must be a string, not int",
            id="session name no string",
        ),
        pytest.param(
            {"BucketName": "My_Bucket"},
            "BucketName is 'My_Bucket'; it must be 3 to 63 lower-case letters, "
            "digits and -, as the OSS console shows it",
            id="no bucket name",
        ),
        pytest.param(
            {"ObjectPrefix": "a*"},
            "ObjectPrefix is 'a*'; it must be the beginning of an object name: no / "
            "or \\ first, no control characters, no * or ?, which a policy takes for "
            "wildcards",
            id="wildcard in the prefix",
        ),
        pytest.param(
            {"StsEndpoint": "ftp://sts.aliyuncs.com"},
            "StsEndpoint is 'ftp://sts.aliyuncs.com'; it must be a host, host:port, "
            "http://host:port or https://host:port",
            id="endpoint of another kind",
        ),
        pytest.param(
            {"StsEndpoint": "sts.aliyuncs.com:70000"},
            "StsEndpoint is 'sts.aliyuncs.com:70000'; it must be a host, host:port, "
            "http://host:port or https://host:port",
            id="endpoint with no port",
        ),
        pytest.param(
            {"PolicyFile": None},
            "PolicyFile is missing; it must name a session policy template, such as "
            "policy/bucket_write_policy.txt",
            id="no template",
        ),
        pytest.param(
            {"AccessKeySecret": ""},
            "AccessKeySecret is empty; set it too, or leave both out to use the "
            "default credential chain (environment, OIDC, profile, ECS role)",
            id="half a pair",
        ),
        pytest.param(
            {"AccessKeyID": ""},
            "AccessKeyID is empty; set it too, or leave both out to use the "
            "default credential chain (environment, OIDC, profile, ECS role)",
            id="the other half",
        ),
        pytest.param(
            {"AccessKeyId": "another"},
            "AccessKeyID and AccessKeyId differ; leave one of them out",
            id="both spellings",
        ),
        pytest.param(
            {"AccessKeySecret": f"{ACCESS_KEY_SECRET} "},
            "AccessKeySecret contains a space or another character that cannot occur "
            "in a key",
            id="blank in the secret",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_value_and_bound(
    tmp_path: Path, changes: dict[str, Any], expected: Any
) -> None:
    assert problems(tmp_path, **changes) == [expected]


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, RoleArn="x", TokenExpireTime=1, RoleSessionName="?")

    assert [problem.split()[0] for problem in found] == [
        "RoleArn",
        "RoleSessionName",
        "TokenExpireTime",
    ]


def test_problems_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, RoleArn="x")

    assert str(raised.value).startswith(f"{tmp_path / 'config.json'}: RoleArn ")


@pytest.mark.parametrize(
    "secret",
    [ACCESS_KEY_SECRET + "\n", ACCESS_KEY_SECRET + "\u3000", ["s3cret"], 12345],
)
def test_a_wrong_secret_is_not_shown(tmp_path: Path, secret: Any) -> None:
    found = problems(tmp_path, AccessKeySecret=secret)

    assert len(found) <= 2
    assert ACCESS_KEY_SECRET not in str(found)
    assert "12345" not in str(found)
    assert "s3cret" not in str(found)


def test_a_secret_is_in_no_repr(tmp_path: Path) -> None:
    assert ACCESS_KEY_SECRET not in repr(load(tmp_path))
    assert ACCESS_KEY_SECRET not in repr(load(tmp_path, AccessKeyID=ACCESS_KEY_SECRET))


@pytest.mark.parametrize("name", ["AccessKeyID", "AccessKeyId"])
def test_a_swapped_key_pair_is_refused_and_not_shown(tmp_path: Path, name: str) -> None:
    swapped = {name: ACCESS_KEY_SECRET, "AccessKeySecret": ACCESS_KEY_ID}
    found = problems(tmp_path, **{"AccessKeyID": None} | swapped)

    (line,) = found
    assert "AccessKeyID and AccessKeySecret look swapped" in line
    assert ACCESS_KEY_SECRET not in line


@pytest.mark.parametrize(
    ("access_key_id", "shown"),
    [
        (ACCESS_KEY_ID, ACCESS_KEY_ID),
        ("STS.abc", "STS.abc"),
        (ACCESS_KEY_SECRET, "set"),
        ("ltai5tAbc", "set"),
        ("LTAI", "set"),
        ("LTAI5t+/", "set"),
    ],
)
def test_an_access_key_id_is_shown_only_if_it_looks_like_one(
    tmp_path: Path, access_key_id: str, shown: str
) -> None:
    config = load(tmp_path, AccessKeyID=access_key_id)

    assert config.shown["AccessKeyID"] == shown


def test_both_spellings_of_the_access_key_id_are_read(tmp_path: Path) -> None:
    call = call_of(load(tmp_path, AccessKeyID=None, AccessKeyId="LTAIother"))

    assert call.access_key_id == "LTAIother"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            b"", "is not JSON: Expecting value, line 1 column 1", id="empty file"
        ),
        pytest.param(
            b'{"RoleArn": "x",}',
            "is not JSON: ",
            id="comma too many",
        ),
        pytest.param(b"[]", "must hold one JSON object, {...}", id="a list"),
        pytest.param(b'{"a": 1, "a": 2}', "a occurs twice", id="a key twice"),
        pytest.param(b'{"a": NaN}', "NaN is not a number", id="NaN"),
        pytest.param(b"\xff\xfe{\x00}\x00", "is not UTF-8 text", id="UTF-16"),
        pytest.param(b'{"a": "\\ud800"}', "is not UTF-8 text", id="half a surrogate"),
        pytest.param(b"[" * 100_000, "is nested too deeply", id="nested"),
        pytest.param(
            b" " * 1_048_577, "is larger than 1048576 bytes", id="a huge file"
        ),
        pytest.param(b"1" * 5000, "", id="a huge number"),
    ],
)
def test_what_is_no_configuration_is_refused(
    tmp_path: Path, content: bytes, expected: Any
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as raised:
        load_config(path, read_file)

    (problem,) = raised.value.problems
    assert problem.startswith(f"{path}: ")
    assert expected in problem
    assert "\n" not in problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "config.json", read_file)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings()), encoding="utf-8-sig")

    assert call_of(load_config(path, read_file)).role_arn == ROLE_ARN


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        pytest.param(
            "TokenExpiretime", "; did you mean TokenExpireTime?", id="other case"
        ),
        pytest.param("BucketNames", "; did you mean BucketName?", id="misspelt"),
        pytest.param("Colour", "", id="nothing near"),
    ],
)
def test_an_unknown_key_is_a_warning_with_the_nearest_known_one(
    tmp_path: Path, key: str, hint: str
) -> None:
    (warning,) = load(tmp_path, **{key: "x"}).warnings

    assert warning.endswith(f"config.json: {key} is not a setting{hint}")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
def test_a_secret_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    write_config(tmp_path).chmod(0o644)

    (warning,) = load_config(tmp_path / "config.json", read_file).warnings

    assert "other users may read it" in warning


def test_no_session_policy_is_a_warning(tmp_path: Path) -> None:
    config = load(tmp_path, PolicyFile="")

    assert call_of(config).policy is None
    assert "a token may do everything" in str(config.warnings)


BUCKET_ONLY = "acs:oss:*:*:$BUCKET_NAME/*"
NO_EFFECT = (
    "{} is {!r}, but has no effect: no session policy uses ${} from it, so it "
    "does not limit tokens"
)
NO_PREFIX = NO_EFFECT.format("ObjectPrefix", "photos/", "OBJECT_PREFIX")
NO_BUCKET = NO_EFFECT.format("BucketName", "my-bucket", "BUCKET_NAME")


def warnings(folder: Path, **changes: Any) -> list[str]:
    """Return the warnings about a config.json in *folder*, without its path."""
    found = load(folder, **changes).warnings
    return [warning.partition("config.json: ")[2] for warning in found]


@pytest.mark.parametrize(
    ("resource", "changes", "expected"),
    [
        pytest.param(BUCKET_ONLY, {}, [NO_PREFIX], id="a template without prefix"),
        pytest.param(
            "acs:oss:*:*:my-bucket/photos/*",
            {},
            [NO_BUCKET, NO_PREFIX],
            id="a template that was filled in by hand",
        ),
        pytest.param(BUCKET_ONLY, {"ObjectPrefix": None}, [], id="no prefix"),
        pytest.param(BUCKET_ONLY, {"ObjectPrefix": ""}, [], id="an empty prefix"),
        pytest.param(BUCKET_ONLY + "$OBJECT_PREFIX*", {}, [], id="both are used"),
    ],
)
def test_a_setting_that_no_placeholder_uses_is_a_warning(
    tmp_path: Path, resource: str, changes: Any, expected: Any
) -> None:
    (tmp_path / "policy.txt").write_text(policy(resource=resource))

    assert warnings(tmp_path, PolicyFile="policy.txt", **changes) == expected


def test_settings_that_no_policy_uses_are_a_warning(tmp_path: Path) -> None:
    assert warnings(tmp_path, PolicyFile="") == [
        "PolicyFile is empty; a token may do everything that the role may do",
        NO_BUCKET,
        NO_PREFIX,
    ]


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        pytest.param(
            {"/a": {}, "/b": {"PolicyFile": "bucket.txt"}}, [], id="one uses it"
        ),
        pytest.param(
            {"/a": {"PolicyFile": "bucket.txt"}, "/b": {"ObjectPrefix": "b/"}},
            [NO_PREFIX],
            id="none uses it",
        ),
        pytest.param(
            {"/a": {}, "/b": {"PolicyFile": "bucket.txt", "ObjectPrefix": "b/"}},
            ["Grants: /b: " + NO_EFFECT.format("ObjectPrefix", "b/", "OBJECT_PREFIX")],
            id="one has its own and does not use it",
        ),
        pytest.param(
            {
                "/a": {"ObjectPrefix": "a/"},
                "/b": {"PolicyFile": "bucket.txt", "ObjectPrefix": ""},
            },
            [NO_PREFIX],
            id="each has its own prefix",
        ),
        pytest.param(
            {
                "/a": {
                    "PolicyFile": "both.txt",
                    "BucketName": "bucket-a",
                    "ObjectPrefix": "a/",
                    "TokenExpireTime": 1200,
                    "TokenReuseTime": 60,
                }
            },
            [
                "PolicyFile has no effect: each grant has its own",
                NO_BUCKET,
                NO_PREFIX,
                "TokenExpireTime has no effect: each grant has its own",
                "TokenReuseTime has no effect: each grant has its own",
            ],
            id="each has all of its own",
        ),
    ],
)
def test_a_setting_that_no_grant_uses_is_a_warning(
    tmp_path: Path, grants: Any, expected: list[str]
) -> None:
    (tmp_path / "bucket.txt").write_text(policy(resource=BUCKET_ONLY))
    both = policy(resource="acs:oss:*:*:$BUCKET_NAME/$OBJECT_PREFIX*")
    (tmp_path / "both.txt").write_text(both)

    assert warnings(tmp_path, PolicyFile="both.txt", Grants=grants) == expected


@pytest.mark.parametrize(
    "prefix",
    [
        "{USER_ID}/",
        "<user>/",
        "%USER_ID%/",
        "users/USER_ID/",
        "$(user)/",
        "{{ user }}/",
    ],
)
def test_a_prefix_with_a_placeholder_of_another_tool_is_named(
    tmp_path: Path, prefix: str
) -> None:
    (problem,) = problems(tmp_path, ObjectPrefix=prefix)

    assert problem.startswith("ObjectPrefix has '")
    assert problem.endswith(", which is not filled in; use $USER_ID")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            "sts.cn-x.aliyuncs.com", ("https", "sts.cn-x.aliyuncs.com"), id="host"
        ),
        pytest.param("127.0.0.1:7090", ("https", "127.0.0.1:7090"), id="host and port"),
        pytest.param("http://127.0.0.1:7090", ("http", "127.0.0.1:7090"), id="http"),
        pytest.param("http://[::1]:7090/", ("http", "[::1]:7090"), id="IPv6"),
        pytest.param("https://sts-vpc.x", ("https", "sts-vpc.x"), id="https"),
    ],
)
def test_sts_endpoint_may_be_a_host_or_a_url(
    tmp_path: Path, value: Any, expected: Any
) -> None:
    config = load(tmp_path, StsEndpoint=value)

    assert (
        call_of(config).protocol,
        call_of(config).endpoint,
    ) == expected
    assert config.warnings == ()


@pytest.mark.parametrize(
    "host",
    [
        "sts.aliyuncs.com",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.evil.example",
        "[::2]",
        "192.0.2.1:7090",
    ],
)
def test_plain_http_to_another_machine_is_a_warning(tmp_path: Path, host: str) -> None:
    (warning,) = load(tmp_path, StsEndpoint=f"http://{host}").warnings

    assert "StsEndpoint is plain HTTP" in warning


# Edits while the server runs


class Edited:
    """A config.json that is edited while a LiveConfig has it."""

    def __init__(self, folder: Path) -> None:
        self.path = write_config(folder)
        self.live = LiveConfig(self.path)

    def session(self) -> str:
        """Return the session name in force once the files were looked at."""
        look(self.live)
        return call_of(self.live.current()).role_session_name


@pytest.fixture
def edited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Edited:
    caplog.set_level(logging.INFO, "tokenserver")
    return Edited(tmp_path)


def test_an_edit_in_place_takes_effect(tmp_path: Path, edited: Edited) -> None:
    write_config(tmp_path, RoleSessionName="edited")

    assert edited.session() == "edited"


def test_an_edit_that_keeps_size_and_time_takes_effect(
    tmp_path: Path, edited: Edited
) -> None:
    before = edited.path.stat()
    write_config(tmp_path, BucketName="my-kucket")
    os.utime(edited.path, ns=(before.st_atime_ns, before.st_mtime_ns))

    look(edited.live)
    policy = call_of(edited.live.current()).policy
    assert policy
    assert "my-kucket" in policy


def test_an_edit_is_taken_up_when_two_looks_agree(
    tmp_path: Path, edited: Edited, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is overwritten in place is a valid mixture for a while."""
    old = edited.path.read_text("utf-8")
    new = write_config(tmp_path, RoleSessionName="edited", BucketName="my-kucket")
    written = new.read_text("utf-8")
    mixed = old.replace("my-bucket", "my-kucket")
    seen = []

    for content in (old, mixed, written, written, old, written, old, old[:50], old):
        edited.path.write_text(content, "utf-8")
        edited.live.look()
        seen.append(edited.live.current())

    names = [call_of(config).role_session_name for config in seen]
    assert names == ["client_name"] * 3 + ["edited"] * 6
    assert "my-kucket" not in str(call_of(seen[2]).policy)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_wrong_edit_is_no_error_before_two_looks_agree(edited: Edited) -> None:
    edited.path.write_text("{", "utf-8")

    assert edited.live.look()
    assert not edited.live.problems
    assert not edited.live.look()
    assert edited.live.problems


def test_an_atomic_replacement_takes_effect(tmp_path: Path, edited: Edited) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    write_config(folder, RoleSessionName="replaced").replace(edited.path)

    assert edited.session() == "replaced"


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need a privilege")
def test_a_symlink_swap_takes_effect(tmp_path: Path) -> None:
    """As Kubernetes does it: config.json -> ..data/config.json, ..data -> a version."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        write_config(tmp_path / version, RoleSessionName=version)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "config.json").symlink_to("..data/config.json")
    live = LiveConfig(tmp_path / "config.json")

    (tmp_path / "swap").symlink_to("two")
    (tmp_path / "swap").replace(tmp_path / "..data")
    look(live)

    assert call_of(live.current()).role_session_name == "two"


def test_an_edited_template_takes_effect(tmp_path: Path) -> None:
    template = tmp_path / "policy.txt"
    template.write_text(policy("Deny"))
    write_config(tmp_path, PolicyFile="policy.txt")
    live = LiveConfig(tmp_path / "config.json")

    template.write_text(policy("Allow"))
    look(live)

    assert call_of(live.current()).policy == policy("Allow")


def test_a_template_that_is_gone_and_back_is_read_again(tmp_path: Path) -> None:
    template = tmp_path / "policy.txt"
    content = policy("Deny")
    template.write_text(content)
    path = write_config(tmp_path, PolicyFile="policy.txt")
    live = LiveConfig(path)

    template.unlink()
    write_config(tmp_path, PolicyFile="policy.txt", RoleSessionName="edited")
    look(live)
    assert call_of(live.current()).role_session_name == "client_name"
    template.write_text(content)
    look(live)

    assert call_of(live.current()).role_session_name == "edited"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"AccessKeyID": "LTAI', id="half written"),
        pytest.param(b'{"RoleArn": "wrong"}', id="wrong value"),
    ],
)
def test_a_wrong_edit_changes_nothing_and_is_logged_once(
    edited: Edited, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    edited.path.write_bytes(content)

    assert [edited.session() for _ in range(3)] == ["client_name"] * 3
    assert caplog.messages.count("the previous configuration remains in force") == 1
    assert str(edited.path) in caplog.text


def test_a_file_that_is_gone_and_back_is_read_again(
    tmp_path: Path, edited: Edited, caplog: pytest.LogCaptureFixture
) -> None:
    edited.path.unlink()
    assert [edited.session() for _ in range(2)] == ["client_name"] * 2
    assert caplog.text.count("cannot be read") == 1

    write_config(tmp_path, RoleSessionName="back")
    assert edited.session() == "back"


def test_a_repaired_edit_takes_effect(tmp_path: Path, edited: Edited) -> None:
    edited.path.write_bytes(b"{")
    edited.session()

    write_config(tmp_path, RoleSessionName="repaired")

    assert edited.session() == "repaired"
