"""The options of the command line: those of http.server, and more."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from tokenserver import __version__
from tokenserver.check.texts import LANGUAGES, language_of
from tokenserver.errors import UserNotAllowed
from tokenserver.httpd.connection import IDLE_SECONDS
from tokenserver.login import users

DEFAULT_PORT = 7080  # the port of the reference servers
SAMPLE_USER = "sample-user"  # the user of --check and --once without --user


def program() -> str:
    """Return the name of this program, as it was started."""
    name = Path(sys.argv[0]).name
    return "python -m tokenserver" if name == "__main__.py" else name


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Serve temporary credentials for direct uploads to OSS.",
    )
    parser.add_argument(
        "port",
        nargs="?",
        type=port_number,
        default=DEFAULT_PORT,
        help="port to listen on (default: %(default)s; 0: any free port)",
    )
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        help="address to listen on (default: all addresses)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=Path("config.json"),
        help="configuration file (default: %(default)s)",
    )
    add_actions(parser)
    add_serving(parser)
    return parser.parse_args(argv)


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Add the options that do something else than serve, and the options of these."""
    parser.add_argument(
        "--init",
        metavar="DIR",
        type=Path,
        nargs="?",
        const=Path(),
        help="write config.json and role-policy.json, to fill in, and policy/ into DIR "
        "(default: .), leave files that exist as they are, and exit",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="show the configuration, ask STS for a token of each grant, say what is "
        "wrong and what to do, and exit",
    )
    parser.add_argument(
        "--once",
        metavar="PATH",
        nargs="?",
        const="/",
        help="print the token document of PATH (default: /) and exit",
    )
    parser.add_argument(
        "--user",
        metavar="ID",
        type=user_id,
        help=f"user of --check and --once, if users log in (default: {SAMPLE_USER}); "
        "--check then also says how to shut this user out",
    )
    parser.add_argument(
        "--language",
        choices=LANGUAGES,
        default=language_of(os.environ),
        help="language in which --check says what to do (default: zh if LC_ALL, "
        "LC_MESSAGES or LANG begins with zh, otherwise en)",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Add the options of serving."""
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        type=Path,
        help="serve HTTPS with this certificate chain (PEM)",
    )
    parser.add_argument(
        "--tls-key",
        metavar="FILE",
        type=Path,
        help="key of the certificate, if in another file (PEM)",
    )
    parser.add_argument(
        "--keep-alive",
        metavar="SECONDS",
        type=keep_alive_seconds,
        help="how long an idle connection stays open, 1 to 3600 seconds "
        f"(default: {IDLE_SECONDS:g})",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="format of the log on stderr (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics-port",
        metavar="N",
        type=port_number,
        help="also serve metrics for Prometheus on this port, at /metrics",
    )


def port_number(text: str) -> int:
    """Return the port number in *text*.  Raises ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def keep_alive_seconds(text: str) -> int:
    """Return the seconds in *text*.  Raises ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to 3600 seconds")
    return int(text)


def user_id(text: str) -> str:
    """Return the user ID in *text*.  Raises ArgumentTypeError."""
    try:
        return users.user_id(text)
    except UserNotAllowed as error:
        raise argparse.ArgumentTypeError(error.reason) from None
