"""The files that --init writes: files to fill in, and the session policy templates.

The templates are files of the project, at the top of a checkout, and are installed with
it.  The config.json of a checkout is not installed: it may contain a secret already.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

POLICIES = Path(__file__).parent.parent / "policy"
INSTALLED = "share/sts-server/policy/"  # below the prefix, as setup.cfg has it

# The keys of the reference packages, and the region of the bucket
CONFIG = {
    "AccessKeyID": "",
    "AccessKeySecret": "",
    "RoleArn": "",
    "TokenExpireTime": "900",
    "PolicyFile": "policy/bucket_write_policy.txt",
    "BucketName": "",
    "ObjectPrefix": "",
    "Region": "",
}
# For the role of RoleArn: what the templates allow together
ROLE_POLICY = {
    "Version": "1",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "oss:GetObject",
                "oss:PutObject",
                "oss:ListParts",
                "oss:AbortMultipartUpload",
            ],
            "Resource": "acs:oss:*:*:my-bucket/*",
        }
    ],
}


def policy_files() -> list[Path]:
    """Return the paths of the templates.

    Raises FileNotFoundError if the server was installed without them.
    """
    found = sorted(POLICIES.glob("*.txt"))
    if found:
        return found
    try:
        installed = files("sts-server") or []
    except PackageNotFoundError:
        installed = []
    found = [Path(str(p.locate())) for p in installed if INSTALLED in p.as_posix()]
    if not found:
        raise FileNotFoundError("the templates of policy/ were not installed")
    return sorted(found)


def write_starter_files(folder: Path) -> dict[Path, bool]:
    """Write the files into *folder*; return each path, and whether it is new.

    Existing files are left as they are.  Only its owner can read config.json, because
    it will contain a secret.  Raises OSError.
    """
    contents = {
        "config.json": json_text(CONFIG),
        "role-policy.json": json_text(ROLE_POLICY),
        **{f"policy/{path.name}": path.read_bytes() for path in policy_files()},
    }
    (folder / "policy").mkdir(parents=True, exist_ok=True)
    return {
        folder / name: write_new(
            folder / name, content, 0o600 if name == "config.json" else 0o644
        )
        for name, content in contents.items()
    }


def json_text(document: Any) -> bytes:
    """Return *document* as the content of a file."""
    return json.dumps(document, indent=2).encode() + b"\n"


def write_new(path: Path, content: bytes, mode: int) -> bool:
    """Write *path* unless it exists; return whether it is new.  Raises OSError.

    A file that cannot be written completely is removed.
    """
    try:
        path.touch(mode, exist_ok=False)
    except FileExistsError:
        return False
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink()
        raise
    return True
