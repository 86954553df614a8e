"""The command line of python -m localcloud."""

from __future__ import annotations

import argparse
import re
from ipaddress import IPv4Address
from pathlib import Path

from localcloud.network import LOOPBACK
from localcloud.oss.request import BUCKET_NAME

PORT = re.compile(r"[0-9]{1,5}")
OBJECT_PREFIX = re.compile(r"(?![/\\])[^*?\x00-\x1f\x7f-\x9f]+")

DEFAULT_PORTS = {  # option, port and what is there
    "--port": (7080, "the token server"),
    "--sts-port": (7090, "the STS stand-in"),
    "--oss-port": (7091, "the OSS stand-in"),
    "--page-port": (7092, "the upload page"),
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options; *command* is what follows --, if anything.

    With a command, ports are free ones unless they are given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m localcloud",
        usage="%(prog)s [options] [-- command ...]",
        description="Run a token server, the STS and the OSS it is for, and a page "
        "that uploads, on this machine.",
        epilog="With a command: run it with the addresses in the environment as "
        "LOCALCLOUD_TOKEN_URL, _ENDPOINT, _REGION, _BUCKET and _CONTROL_URL, on free "
        "ports and without the page, and end with its exit status.",
    )
    for option, (port, what) in DEFAULT_PORTS.items():
        parser.add_argument(
            option,
            type=port_number,
            metavar="N",
            help=f"port of {what} (default: {port}; 0 takes any)",
        )
    add_network_options(parser)
    add_content_options(parser)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    for option, (port, _) in DEFAULT_PORTS.items():
        name = option.removeprefix("--").replace("-", "_")
        if getattr(options, name) is None:
            setattr(options, name, 0 if options.command else port)
    if options.command and (options.tls or options.bind != LOOPBACK):
        parser.error("arguments --bind and --tls: they are for the page, not a command")
    if options.prefix is None and not options.command:
        options.prefix = "users/$USER_ID/" if options.logins else "photos/"
    options.prefix = options.prefix or ""
    return options


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who can reach the servers."""
    parser.add_argument(
        "--bind",
        type=address,
        default=LOOPBACK,
        metavar="ADDRESS",
        help="address to listen on: 0.0.0.0 for phones in the same network, or one of "
        "this machine's (default: %(default)s)",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="serve HTTPS, with a certificate made now, which a browser warns about",
    )


def add_content_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is in the cloud and who may use it."""
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
        help="what the names of all objects begin with (default: photos/, with "
        "--logins users/$USER_ID/; with a command nothing or the same)",
    )
    parser.add_argument(
        "--logins",
        action="store_true",
        help="users have to log in, with login tokens: one is printed for the page, "
        "and a command has them from the API at LOCALCLOUD_CONTROL_URL",
    )
    parser.add_argument(
        "--allow-v1",
        action="store_true",
        help="let OSS take Signature V1, as it does for a bucket made before September "
        "2025 (default: V4 alone)",
    )
    parser.add_argument(
        "--origin",
        type=page_origin,
        action="append",
        default=[],
        metavar="URL",
        help="origin of a web page of yours that may use the token server and OSS as "
        "the upload page does, such as http://localhost:3000, or * for any, as a page "
        "needs that is opened from a file; may be given repeatedly",
    )


def port_number(text: str) -> int:
    """Return a port.  Raises ArgumentTypeError."""
    if not PORT.fullmatch(text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def bucket_name(text: str) -> str:
    """Return the name of a bucket.  Raises ArgumentTypeError."""
    if not BUCKET_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 3 to 63 lower-case letters, digits and -"
        )
    return text


def object_prefix(text: str) -> str:
    """Return the beginning of an object name.  Raises ArgumentTypeError."""
    if not OBJECT_PREFIX.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the beginning of an object name without * and ?"
        )
    return text


def page_origin(text: str) -> str:
    """Return an origin.  Raises ArgumentTypeError."""
    from tokenserver.config.load import ORIGIN  # the server has to take it, too

    if text != "*" and not ORIGIN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an origin as browsers send it, such as "
            "http://localhost:3000, without a default port or a slash, nor * for any"
        )
    return text


def address(text: str) -> str:
    """Return an IPv4 address.  Raises ArgumentTypeError."""
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an IPv4 address such as 0.0.0.0 or 192.168.1.5"
        ) from None
