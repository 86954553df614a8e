"""Run the whole tutorial on this machine: ``python -m localcloud``.

With a command it runs that instead, such as the tests of an app:
``python -m localcloud -- node --test``.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud import PACKAGES
from localcloud.network import (
    EVERYWHERE,
    LOOPBACK,
    Network,
    make_tls,
    qr_code,
)
from localcloud.page import UploadPage
from tokenserver.hosts import own_address

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
COMMAND_SETTINGS: dict[str, Any] = {"Callback": {}}  # OSS reports uploads
DEMO_SETTINGS: dict[str, Any] = {  # those of the server
    "TokenReuseTime": 300,
    "StsCallsPerSecond": 80,
    **COMMAND_SETTINGS,
}
TOKEN_PATHS = ("/", "/sts/getsts", "/sts.php")  # that apps ask at, and the manual has
FORM_PATH, URL_PATH = "/form", "/put"
# Of what is signed: folders that no token may write to, so that limits hold there.
FORM_FOLDER, URL_FOLDER = "forms/", "urls/"
FORM_LIMITS = {"MaxSize": 10 * 2**20, "ContentTypes": ["image/*"]}


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
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network = make_network(options, folder)
        page = UploadPage(port=options.page_port, network=network)
        # The page gets its port first, because the others have to know its origins.
        try:
            stack.enter_context(page)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                reason = f"--bind {options.bind}: this machine has no such address"
                raise DemoError(f"{reason}; use --bind {EVERYWHERE}") from None
            reason = f"port {options.page_port}: {error.strerror}"
            raise DemoError(f"{reason}; use --page-port N") from None
        cloud = make_cloud(options, network, page.origins)

        def begin() -> str:
            page.show(
                {
                    "appServer": cloud.token_url,
                    "formPath": FORM_PATH,
                    "urlPath": URL_PATH,
                }
            )
            return welcome(page.url, cloud, folder)

        with explained():
            from localcloud.token_server import log_to_stderr

            log_to_stderr()
            return cloud.run(begin)


def run_command(options: argparse.Namespace) -> int:
    """Run the command beside a cloud; return its exit status.  Raises DemoError."""
    with contextlib.ExitStack() as stack:
        with explained():
            cloud = stack.enter_context(make_cloud(options, Network(), ()))
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


def make_network(options: argparse.Namespace, folder: Path) -> Network:
    """Return the network that the options ask for; *folder* is for a certificate.

    Raises DemoError.
    """
    host = options.bind
    if host == EVERYWHERE:
        try:
            host = own_address()
        except OSError:
            raise DemoError(
                f"--bind {EVERYWHERE}: this machine has no address in a network; "
                "connect it to one, or use --bind with an address that it has"
            ) from None
    with naming_packages():
        tls = make_tls(folder, host) if options.tls else None
        if host != LOOPBACK:
            qr_code(host, is_unicode=False)
    return Network(options.bind, host, tls)


def make_cloud(
    options: argparse.Namespace, network: Network, origins: Collection[str]
) -> LocalCloud:
    """Return the cloud that the options ask for, open to pages of *origins*, too."""
    from localcloud.cloud import LocalCloud, Ports

    return LocalCloud(
        options.bucket,
        options.prefix,
        logins=options.logins,
        allow_v1=options.allow_v1,
        origins=[*origins, *options.origin],
        folder=options.folder,
        policy=None if options.command else page_policy(),
        ports=Ports(options.port, options.sts_port, options.oss_port),
        network=network,
        settings=COMMAND_SETTINGS if options.command else demo_settings(options.prefix),
    )


def demo_settings(prefix: str) -> dict[str, Any]:
    """Return settings by which the page uploads with tokens, forms and URLs.

    Grants are for their own paths alone; those of tokens are what apps ask at.
    """
    tokens: dict[str, Any] = {path: {} for path in TOKEN_PATHS}
    tokens["/"] = {"CredentialsUri": True}
    form = {"Type": "PostForm", "ObjectPrefix": f"{FORM_FOLDER}{prefix}"}
    url = {"Type": "PresignedUrl", "ObjectPrefix": f"{URL_FOLDER}{prefix}"}
    signed = {FORM_PATH: form | FORM_LIMITS, URL_PATH: url}
    return DEMO_SETTINGS | {"Grants": tokens | signed}


def page_policy() -> str:
    """Return the policy of those who use the page.

    They may delete, too, and read what is uploaded without a token.
    """
    from localcloud.cloud import POLICY_FILE

    policy = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    upload, listing = policy["Statement"]
    upload["Action"].append("oss:DeleteObject")
    prefix = "$OBJECT_PREFIX*"
    folders = [f"{folder}{prefix}" for folder in (FORM_FOLDER, URL_FOLDER)]
    listing["Condition"]["StringLike"]["oss:Prefix"] = [prefix, *folders]
    reading = {
        "Effect": "Allow",
        "Action": ["oss:GetObject", "oss:DeleteObject"],
        "Resource": [f"acs:oss:*:*:$BUCKET_NAME/{folder}" for folder in folders],
    }
    policy["Statement"].append(reading)
    return json.dumps(policy)


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


def welcome(page_url: str, cloud: LocalCloud, folder: Path) -> str:
    """Return where everything is, and what to try; *folder* has the certificate."""
    parts = [
        addresses(page_url, cloud, folder),
        reach(page_url, cloud),
        curl_commands(cloud, folder),
    ]
    if cloud.network.tls is None and not cloud.logins:
        parts.append(sdk_commands(cloud))
    return "\n".join([*parts, "Ctrl-C stops."])


def addresses(page_url: str, cloud: LocalCloud, folder: Path) -> str:
    """Return where everything is."""
    lines = f"""\
upload page:    {page_url}
token server:   {cloud.token_url}
STS stand-in:   {cloud.sts.url}
OSS stand-in:   {cloud.endpoint}, bucket {cloud.bucket}
objects:        {cloud.oss.folder}
configuration:  {cloud.config_file}
"""
    if cloud.network.tls:
        lines += f"certificate:    {folder / 'certificate.pem'}\n"
    if cloud.logins:
        lines += f"login token:    {cloud.login_token('alice')}\n"
    return lines


def reach(page_url: str, cloud: LocalCloud) -> str:
    """Return who can use it all, and how."""
    if cloud.network.host == LOOPBACK:
        return """\
Nothing leaves this machine, and the tokens are good for nothing else.
Open the upload page in a browser, or try one of these in another terminal:
"""
    encoding = sys.stdout.encoding or ""
    code = qr_code(page_url, is_unicode=encoding.lower().startswith("utf"))
    return f"""\
Everybody in the network of {cloud.network.host} can use it, with tokens that are good
for nothing else. Open the upload page on a phone there:

{code}
Or try one of these in another terminal:
"""


def curl_commands(cloud: LocalCloud, folder: Path) -> str:
    """Return commands that get a token, and that upload by a form and by a URL.

    *folder* has the certificate, if there is one.
    """
    options = ["-sS"]
    login = []
    if cloud.network.tls:
        options += ["--cacert", str(folder / "certificate.pem")]
    if cloud.logins:
        login = ["-H", f"Authorization: Bearer {cloud.login_token('alice')}"]
    curl, ask = shlex.join(["curl", *options]), shlex.join(["curl", *options, *login])
    python = shlex.quote(shown(Path(sys.executable)))
    to_options = shlex.quote(shown(CLIENTS / "curl_form.py"))
    picture = shlex.quote(shown(PICTURE))
    query = f"?filename={PICTURE.name}&content_type=image/png"
    form, url = (
        shlex.quote(f"{cloud.token_url}{path[1:]}{query}")
        for path in (FORM_PATH, URL_PATH)
    )
    text = "Accept: text/plain"
    return f"""\
  {ask} {cloud.token_url}sts/getsts

  {ask} {form} | {python} {to_options} {picture} | {curl} -K -

  {curl} -T {picture} -H 'Content-Type: image/png' "$({ask} -H '{text}' {url})"
"""


def sdk_commands(cloud: LocalCloud) -> str:
    """Return commands that upload a picture with official SDKs."""
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
  {python} -m pip install -q oss2
  {python} {clients}/upload.py {picture}{arguments}

  npm install --silent --no-package-lock --prefix {clients}
  node {clients}/upload.mjs {picture}{arguments}
"""


def shown(path: Path) -> str:
    """Return *path* as it is shortest to type here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


if __name__ == "__main__":
    raise SystemExit(main())
