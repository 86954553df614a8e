"""Run the whole tutorial on this machine: ``python -m localcloud``.

With a command it runs that instead, such as the tests of an app:
``python -m localcloud -- node --test``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import PACKAGES
from localcloud.page import UploadPage

if TYPE_CHECKING:
    from localcloud.cloud import LocalCloud

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
PICTURE = HERE / "page" / "upload-page.png"  # one that is at hand
UPLOAD_DEFAULTS = {  # of clients/upload.py and clients/upload.mjs
    "token-url": "http://127.0.0.1:7080/",
    "endpoint": "http://127.0.0.1:7091",
    "bucket": "demo-bucket",
    "prefix": "photos/",
}
OPTION_OF = {"token_server": "--port", "sts": "--sts-port", "oss": "--oss-port"}
DEMO_SETTINGS = {"TokenReuseTime": 300, "StsCallsPerSecond": 80}  # those of the server


class DemoError(Exception):
    """Why there is nothing to run, and what to change."""


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal, or run a command; return the exit status."""
    try:
        with naming_packages():
            from localcloud.options import parse_arguments
        options = parse_arguments(argv)
        return run_command(options) if options.command else run_demo(options)
    except DemoError as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1


def run_demo(options: argparse.Namespace) -> int:
    """Serve a cloud and the page until a signal; return the exit status.

    Raises DemoError.
    """
    page = UploadPage(port=options.page_port)
    with contextlib.ExitStack() as stack:
        # The page gets its port first, because the others have to know its origins.
        try:
            stack.enter_context(page)
        except OSError as error:
            reason = f"port {options.page_port}: {error.strerror}"
            raise DemoError(f"{reason}; use --page-port N") from None
        cloud = make_cloud(options, page.origins)

        def begin() -> str:
            page.show(
                {
                    "tokenUrl": cloud.token_url,
                    "endpoint": cloud.endpoint,
                    "region": cloud.region,
                    "bucket": cloud.bucket,
                    "prefix": options.prefix,
                }
            )
            return welcome(page.url, cloud)

        with explained():
            from localcloud.token_server import log_to_stderr

            log_to_stderr()
            return cloud.run(begin)


def run_command(options: argparse.Namespace) -> int:
    """Run the command beside a cloud; return its exit status.  Raises DemoError."""
    with contextlib.ExitStack() as stack:
        with explained():
            cloud = stack.enter_context(make_cloud(options, ()))
        from localcloud.control import ControlServer

        control = stack.enter_context(ControlServer(cloud))
        addresses = {
            "LOCALCLOUD_TOKEN_URL": cloud.token_url,
            "LOCALCLOUD_ENDPOINT": cloud.endpoint,
            "LOCALCLOUD_REGION": cloud.region,
            "LOCALCLOUD_BUCKET": cloud.bucket,
            "LOCALCLOUD_CONTROL_URL": control.url,
        }
        return run_to_its_end(options.command, addresses)


def run_to_its_end(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run *command*; return its exit status, as a shell has it.  Raises DemoError."""
    try:
        process = subprocess.Popen(command, env=os.environ | environment)
    except OSError as error:
        raise DemoError(f"{command[0]}: {error.strerror or error}") from None
    with process:
        # A terminal sends SIGINT to the command itself, which then decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
    return status if status >= 0 else 128 - status


def make_cloud(options: argparse.Namespace, origins: Collection[str]) -> LocalCloud:
    """Return the cloud that the options ask for, open to pages of *origins*, too."""
    from localcloud.cloud import LocalCloud, Ports

    return LocalCloud(
        options.bucket,
        options.prefix,
        logins=options.logins,
        allow_v1=options.allow_v1,
        origins=[*origins, *options.origin],
        folder=options.folder,
        ports=Ports(options.port, options.sts_port, options.oss_port),
        settings={} if options.command else DEMO_SETTINGS,
    )


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise a DemoError that says what to change instead of errors of the block."""
    with naming_packages():
        from localcloud.cloud import PortError
        from localcloud.oss import FolderError
        from localcloud.token_server import ConfigError

    try:
        yield
    except PortError as error:
        raise DemoError(f"{error}; use {OPTION_OF[error.server]} N") from None
    except FolderError as error:
        raise DemoError(f"{error}; use --folder DIR") from None
    except ConfigError as error:
        raise DemoError(str(error)) from None


@contextlib.contextmanager
def naming_packages() -> Iterator[None]:
    """Raise a DemoError with the command that helps if a package is missing."""
    try:
        yield
    except ImportError as error:
        missing, packages = error.name, " ".join(PACKAGES.values())
        module = (missing or "").partition(".")[0]
        if module in PACKAGES:
            missing = PACKAGES[module]
        else:
            packages = "'alibabacloud-sts20150401>=1.2.0'"
        python = shlex.quote(sys.executable)
        raise DemoError(
            f"{missing} is missing; run: {python} -m pip install -U {packages}"
        ) from None


def welcome(page_url: str, cloud: LocalCloud) -> str:
    """Return where everything is, and what to try."""
    python = shlex.quote(shown(Path(sys.executable)))
    values = {
        "token-url": cloud.token_url,
        "endpoint": cloud.endpoint,
        "bucket": cloud.bucket,
        "prefix": cloud.prefix,
    }
    arguments = "".join(
        f" --{name} {shlex.quote(value)}"
        for name, value in values.items()
        if value != UPLOAD_DEFAULTS[name]
    )
    clients, picture = shlex.quote(shown(CLIENTS)), shlex.quote(shown(PICTURE))
    return f"""\
upload page:    {page_url}
token server:   {cloud.token_url}
STS stand-in:   {cloud.sts.url}
OSS stand-in:   {cloud.endpoint}, bucket {cloud.bucket}
objects:        {cloud.oss.folder}
configuration:  {cloud.config_file}

Nothing leaves this machine, and the tokens are good for nothing else.
Open the upload page in a browser, or try one of these in another terminal:

  curl {cloud.token_url}sts/getsts

  {python} -m pip install -q oss2
  {python} {clients}/upload.py {picture}{arguments}

  npm install --silent --no-package-lock --prefix {clients}
  node {clients}/upload.mjs {picture}{arguments}

Ctrl-C stops."""


def shown(path: Path) -> str:
    """Return *path* as it is shortest to type here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


if __name__ == "__main__":
    raise SystemExit(main())
