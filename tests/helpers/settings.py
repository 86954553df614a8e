"""A working config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenserver.config.grants import AssumeRoleCall, CallTemplate, UserCall
from tokenserver.config.load import Config
from tokenserver.config.policy import SessionPolicy

ACCESS_KEY_ID = "LTAItestAccessKeyId"
ACCESS_KEY_SECRET = "testAccessKeySecret+/="
ROLE_ARN = "acs:ram::1234567890123456:role/app-uploader"
ROOT = Path(__file__).parents[2]  # of the project
POLICY_DIRECTORY = ROOT / "policy"


def settings(**changes: Any) -> dict[str, Any]:
    """Return the settings of a working config.json; a change to None removes one."""
    values: dict[str, Any] = {
        "AccessKeyID": ACCESS_KEY_ID,
        "AccessKeySecret": ACCESS_KEY_SECRET,
        "RoleArn": ROLE_ARN,
        "TokenExpireTime": "900",
        "PolicyFile": str(POLICY_DIRECTORY / "bucket_write_policy.txt"),
        "BucketName": "my-bucket",
        "ObjectPrefix": "photos/",
        "TokenReuseTime": 0,  # so that a test sees STS behind each request,
        "StsCallsPerSecond": 10_000,  # at once
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def write_config(folder: Path, **changes: Any) -> Path:
    """Write a config.json that only its owner may read into *folder*."""
    path = folder / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings(**changes)), encoding="utf-8")
    return path


def call_of(config: Config) -> AssumeRoleCall:
    """Return the AssumeRole call of a configuration that serves any path."""
    return config.grants["/"].call_for(None).complete()


def asking(call: AssumeRoleCall) -> UserCall:
    """Return the UserCall with the same inputs as *call*."""
    policy = None if call.policy is None else SessionPolicy(call.policy)
    return UserCall(CallTemplate(**vars(call) | {"policy": policy}), None)
