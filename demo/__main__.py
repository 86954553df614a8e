"""Run the whole tutorial on this machine: ``python3 -m demo``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import sts_server
from demo.sts import StsStandIn

ACCESS_KEY_ID = "LTAIdemoAccessKeyId"
ACCESS_KEY_SECRET = "demoAccessKeySecret"
ROLE_ARN = "acs:ram::1234567890123456:role/demo-app"
POLICY_FILE = Path(sts_server.__file__).parent / "policy" / "bucket_write_policy.txt"

# The STS SDK would send even what is meant for this machine through them.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def main(argv: list[str] | None = None) -> int:
    """Start the STS stand-in and a token server that calls it; return the status."""
    options = parse_arguments(argv)
    for name in PROXY_VARIABLES:
        os.environ.pop(name, None)
    sts_server.log_to_stderr()
    with contextlib.ExitStack() as stack:
        try:
            sts = stack.enter_context(StsStandIn(port=options.sts_port))
        except OSError as error:
            return complain(options.sts_port, "--sts-port", error)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
        sts.add_role(ROLE_ARN)
        config = sts_server.LiveConfig(write_config(Path(folder), sts.url))
        try:
            server = sts_server.TokenServer(
                "127.0.0.1", options.port, config, sts_server.StsClient()
            )
        except OSError as error:
            return complain(options.port, "--port", error)
        address = f"http://127.0.0.1:{server.server_port}"
        return sts_server.serve(
            server,
            f"STS stand-in:  {sts.url}\n"
            f"token server:  {address}/\n"
            f"configuration: {folder}/config.json\n"
            "\n"
            "Nothing leaves this machine, and the tokens are good for nothing else.\n"
            "In another terminal:\n"
            "\n"
            f"  curl {address}/sts/getsts\n"
            "\n"
            "Ctrl-C stops.",
        )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 -m demo",
        description="Run a token server and the STS it calls on this machine.",
    )
    parser.add_argument(
        "--port",
        type=sts_server.port_number,
        default=sts_server.DEFAULT_PORT,
        help="port of the token server (default: %(default)s; 0 takes any)",
    )
    parser.add_argument(
        "--sts-port",
        type=sts_server.port_number,
        default=7090,
        help="port of the STS stand-in (default: %(default)s; 0 takes any)",
    )
    return parser.parse_args(argv)


def complain(port: int, option: str, error: OSError) -> int:
    """Say which port cannot be had and how to take another one; return 1."""
    print(f"demo: port {port}: {error.strerror}; use {option} N", file=sys.stderr)
    return 1


def write_config(folder: Path, sts_url: str) -> Path:
    """Write a config.json as an operator would fill it in."""
    path = folder / "config.json"
    path.touch(mode=0o600)
    path.write_text(
        json.dumps(
            {
                "AccessKeyID": ACCESS_KEY_ID,
                "AccessKeySecret": ACCESS_KEY_SECRET,
                "RoleArn": ROLE_ARN,
                "TokenExpireTime": "900",
                "PolicyFile": str(POLICY_FILE),
                "BucketName": "demo-bucket",
                "ObjectPrefix": "photos/",
                "StsEndpoint": sts_url,
            },
            indent=2,
        ),
        encoding="utf-8",
    )
    return path


if __name__ == "__main__":
    raise SystemExit(main())
