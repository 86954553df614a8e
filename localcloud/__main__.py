"""Run the whole tutorial on this machine: ``python3 -m localcloud``."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from localcloud.page import UploadPage
from localcloud.sts import StsStandIn
from tokenserver import app, cli, logs
from tokenserver import errors as errors_module
from tokenserver import options as options_module
from tokenserver.config import files as config_files
from tokenserver.config import load as config_load
from tokenserver.config import resources as config_resources
from tokenserver.config import settings as config_settings
from tokenserver.sts import client as sts_client_module
from tokenserver.sts import tokens as sts_tokens

try:
    from localcloud.oss import CorsRule, OssStandIn
    from localcloud.oss.folder import FolderError
except ImportError as error:
    raise SystemExit(
        f"demo: {error.name} is missing; run: "
        f"{shlex.quote(sys.executable)} -m pip install fastcrc multipart"
    ) from None

ACCESS_KEY_ID = "LTAIdemoAccessKeyId"
ACCESS_KEY_SECRET = "demoAccessKeySecret"
ROLE_ARN = "acs:ram::1234567890123456:role/demo-app"
POLICY_FILE = Path(__file__).parent / "page" / "upload_page_policy.txt"
PICTURE = "localcloud/page/upload-page.png"  # one that is at hand
UPLOAD_DEFAULTS = {  # of localcloud/clients/upload.py and localcloud/clients/upload.mjs
    "token-url": "http://127.0.0.1:7080/",
    "endpoint": "http://127.0.0.1:7091",
    "bucket": "demo-bucket",
    "prefix": "photos/",
}

# The STS SDK would send even what is meant for this machine through them.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class DemoError(Exception):
    """Why the demo cannot start, and what to change."""


def main(argv: list[str] | None = None) -> int:
    """Start the stand-ins, a token server and the page; return the exit status."""
    options = parse_arguments(argv)
    for name in PROXY_VARIABLES:
        os.environ.pop(name, None)
    log_to_stderr()
    with contextlib.ExitStack() as stack:
        try:
            server, message = start(options, stack)
        except (DemoError, errors_module.ConfigError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        watch = config_files.FileWatch(server.config)
        watch.start()
        return cli.serve(server, message, watch)


def start(
    options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[app.TokenServer, str]:
    """Return a token server for all the rest, which *stack* ends, and what to say.

    Raises DemoError and ConfigError.
    """
    page = UploadPage(port=options.page_port)
    with port_of("--page-port", options.page_port):
        stack.enter_context(page)
    origins = [*page.origins, *options.origin]

    sts = StsStandIn(port=options.sts_port)
    with port_of("--sts-port", options.sts_port):
        stack.enter_context(sts)
    sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
    sts.add_role(ROLE_ARN, policies=[role_policy(options.bucket)])

    oss = OssStandIn(sts, options.folder, options.oss_port)
    try:
        with port_of("--oss-port", options.oss_port):
            stack.enter_context(oss)
        oss.create_bucket(options.bucket, [CorsRule(allowed_origins=origins)])
    except FolderError as error:
        raise DemoError(f"{error}; use --folder DIR") from None

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    config = write_config(folder, sts.url, options.bucket, options.prefix, origins)
    tokens = sts_tokens.TokenCache(sts_client_module.StsClient().assume_role)
    with port_of("--port", options.port):
        server = app.TokenServer(
            ("127.0.0.1", options.port), config_load.LiveConfig(config), tokens
        )
    token_url = f"http://127.0.0.1:{server.server_port}/"

    page.show(
        {
            "tokenUrl": token_url,
            "endpoint": oss.url,
            "region": oss.region,
            "bucket": options.bucket,
            "prefix": options.prefix,
        }
    )
    return server, welcome(page.url, token_url, config, sts, oss, options)


@contextlib.contextmanager
def port_of(option: str, port: int) -> Iterator[None]:
    """Say which option helps if *port* cannot be had in the block."""
    try:
        yield
    except OSError as error:
        message = f"port {port}: {error.strerror}; use {option} N"
        raise DemoError(message) from None


def welcome(
    page_url: str,
    token_url: str,
    config: Path,
    sts: StsStandIn,
    oss: OssStandIn,
    options: argparse.Namespace,
) -> str:
    """Return where everything is, and what to try."""
    python = os.path.relpath(sys.executable)
    if python.startswith(".."):
        python = sys.executable
    python = shlex.quote(python)
    values = {
        "token-url": token_url,
        "endpoint": oss.url,
        "bucket": options.bucket,
        "prefix": options.prefix,
    }
    arguments = "".join(
        f" --{name} {shlex.quote(value)}"
        for name, value in values.items()
        if value != UPLOAD_DEFAULTS[name]
    )
    return f"""\
upload page:    {page_url}
token server:   {token_url}
STS stand-in:   {sts.url}
OSS stand-in:   {oss.url}, bucket {options.bucket}
objects:        {oss.folder}
configuration:  {config}

Nothing leaves this machine, and the tokens are good for nothing else.
Open the upload page in a browser, or try one of these in another terminal:

  curl {token_url}sts/getsts

  {python} -m pip install -q oss2
  {python} localcloud/clients/upload.py {PICTURE}{arguments}

  npm install --silent --no-package-lock --prefix localcloud/clients
  node localcloud/clients/upload.mjs {PICTURE}{arguments}

Ctrl-C stops."""


def log_to_stderr() -> None:
    """Log what the token server and the stand-ins do, in one form."""
    logs.log_to_stderr()
    logger = logging.getLogger("localcloud")
    logger.handlers = logging.getLogger("tokenserver").handlers
    logger.setLevel(logging.INFO)
    logger.propagate = False


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 -m localcloud",
        description="Run a token server, the STS and the OSS it is for, and a page "
        "that uploads, on this machine.",
    )
    for option, default, what in (
        ("--port", options_module.DEFAULT_PORT, "the token server"),
        ("--sts-port", 7090, "the STS stand-in"),
        ("--oss-port", 7091, "the OSS stand-in"),
        ("--page-port", 7092, "the upload page"),
    ):
        parser.add_argument(
            option,
            type=options_module.port_number,
            default=default,
            metavar="N",
            help=f"port of {what} (default: %(default)s; 0 takes any)",
        )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where objects are kept: a new or an empty folder, or one that was used "
        "before (default: a temporary one)",
    )
    parser.add_argument(
        "--bucket",
        type=bucket_name,
        default="demo-bucket",
        help="bucket to upload to (default: %(default)s)",
    )
    parser.add_argument(
        "--prefix",
        type=object_prefix,
        default="photos/",
        help="what the names of all objects begin with (default: %(default)s)",
    )
    parser.add_argument(
        "--origin",
        type=page_origin,
        action="append",
        default=[],
        metavar="URL",
        help="origin of a web page of yours that may use the token server and OSS as "
        "the upload page does, such as http://localhost:3000; may be given repeatedly",
    )
    return parser.parse_args(argv)


def bucket_name(text: str) -> str:
    if not config_resources.BUCKET_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 3 to 63 lower-case letters, digits and -"
        )
    return text


def object_prefix(text: str) -> str:
    try:
        if text:
            return config_settings.OBJECT_PREFIX.read(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r} is not the beginning of an object name without * and ?"
    )


def page_origin(text: str) -> str:
    if not config_load.ORIGIN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an origin as browsers send it, such as "
            "http://localhost:3000, without a default port or a slash"
        )
    return text


def role_policy(bucket: str) -> str:
    """Return what the role may do: all, in *bucket*."""
    resources = [f"acs:oss:*:*:{bucket}", f"acs:oss:*:*:{bucket}/*"]
    statement = {"Effect": "Allow", "Action": "oss:*", "Resource": resources}
    return json.dumps({"Version": "1", "Statement": [statement]})


def write_config(
    folder: Path, sts_url: str, bucket: str, prefix: str, origins: list[str]
) -> Path:
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
                "BucketName": bucket,
                "ObjectPrefix": prefix,
                "AllowedOrigins": origins,
                "StsEndpoint": sts_url,
            },
            indent=2,
        ),
        encoding="utf-8",
    )
    return path


if __name__ == "__main__":
    raise SystemExit(main())
