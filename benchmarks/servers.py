"""The servers to measure, and how each is started."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import ipaddress
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tokenserver.documents import Credentials, Token

HERE = Path(__file__).parent
ROOT = HERE.parent
KEY_ID, KEY_SECRET = "LTAIbench", "benchSecret"
ROLE_ARN = "acs:ram::1234567890123456:role/bench"
LATENCY_SECONDS = 0.02  # of each AssumeRole
OURS, BEFORE = "sts-server", "sts-server, before"
USERS = 64  # for servers with logins
KEYS = ("P-256", "RSA 2048")  # of certificates

# All requests go to this machine, whose certificates are made for each run.
ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname, ANYBODY.verify_mode = False, ssl.CERT_NONE


# --- Servers --------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A server: its command and settings.

    In the command PORT stands for its port, FOLDER for its folder, and PEM for a file
    with a certificate and its key.  It speaks TLS if its command has PEM, or if *proxy*
    puts nginx with TLS in front of it.
    """

    name: str
    command: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    logins: tuple[str, ...] = ()  # login tokens, which requests use in turn
    proxy: bool = False
    path: str = "/"  # to request, with its query

    @property
    def speaks_tls(self) -> bool:
        return self.proxy or "PEM" in self.command


PYTHON = sys.executable
SIGNED_PATH = "/signed"
SIGNED = {"forms": {"Type": "PostForm"}, "URLs": {"Type": "PresignedUrl"}}
BARE = "bare http.server"
BARE_COMMAND = [PYTHON, str(HERE / "peer_bare.py"), "PORT", "FOLDER/body.json"]


def our_command(root: Path) -> list[str]:
    """Return the command of the server in *root*."""
    command = [PYTHON, str(root / "sts_server.py"), "PORT", "--bind", "127.0.0.1"]
    return [*command, "--config", "FOLDER/config.json"]


def our_versions(before: Path | None) -> dict[str, Path]:
    """Return the roots of our versions by name; *before* is another version's."""
    return {OURS: ROOT} | ({BEFORE: before} if before else {})


def our_peers(before: Path | None, *options: str) -> list[Peer]:
    """Return each version of ours, started with *options*."""
    return [
        Peer(name, [*our_command(root), *options])
        for name, root in our_versions(before).items()
    ]


def plain_peers(folder: Path, before: Path | None) -> list[Peer]:
    """Return the peers for HTTP; *before* is the root of another version of ours."""
    ours = our_peers(before)
    gunicorn = [PYTHON, "-m", "gunicorn", "--bind", "127.0.0.1:PORT"]
    workers = 2 * (os.cpu_count() or 1) + 1  # as gunicorn's documentation advises
    gunicorn += ["--workers", str(workers), "--threads", "16", "peer_flask:app"]
    express = ["node", str(HERE / "peer_express.mjs"), "PORT"]
    no_reuse = {"TokenReuseTime": 0, "StsCallsPerSecond": 10_000}
    return [
        *ours,
        Peer(BARE, BARE_COMMAND),
        *login_peers(ours, folder),
        Peer("without reuse", our_command(ROOT), no_reuse),
        Peer("Flask, gunicorn", gunicorn),
        Peer("Express, ali-oss", express),
    ]


def tls_peers(folder: Path, before: Path | None) -> list[Peer]:
    """Return the peers for HTTPS."""
    ours = our_peers(before, "--tls-cert", "PEM")
    node = ["node", str(HERE / "peer_node.mjs"), "PORT", "FOLDER/body.json", "PEM"]
    return [
        *ours,
        Peer(f"nginx, {OURS}", our_command(ROOT), proxy=True),
        Peer(BARE, [*BARE_COMMAND, "PEM"]),
        Peer("Node", node),
        *login_peers(ours, folder),
    ]


def signed_peers(folder: Path, before: Path | None) -> list[Peer]:
    """Return our servers with tokens, forms and URLs, without and with logins.

    A version before that has no forms and URLs has tokens only.
    """
    ours = our_peers(before)
    has_forms = {
        name: (root / "tokenserver" / "signed.py").exists()
        for name, root in our_versions(before).items()
    }
    peers = [
        variant
        for peer in ours
        for variant in [peer, *(signing(peer) if has_forms[peer.name] else [])]
    ]
    return [*peers, *login_peers(peers, folder, ["HS256"])]


def signing(peer: Peer) -> Iterator[Peer]:
    """Yield *peer* with forms, and with URLs, instead of tokens."""
    for what, terms in SIGNED.items():
        settings = {"Region": "cn-hangzhou", "Grants": {SIGNED_PATH: terms}}
        yield replace(
            peer,
            name=f"{peer.name}, {what}",
            settings={**peer.settings, **settings},
            path=f"{SIGNED_PATH}?filename=cat.jpg&content_type=image/jpeg",
        )


def login_peers(
    peers: Iterable[Peer], folder: Path, algorithms: Iterable[str] = ("HS256", "RS256")
) -> Iterator[Peer]:
    """Yield *peers* with logins."""
    for algorithm in algorithms:
        for peer in peers:
            yield with_logins(peer, algorithm, folder, USERS)


def with_logins(peer: Peer, algorithm: str, folder: Path, users: int) -> Peer:
    """Return *peer* with logins of this many users, by JWTs of *algorithm*.

    Each user has a separate prefix.
    """
    issuer, audience = "https://login.example.com/", "benchmark"
    private: Any = secrets.token_bytes(32)
    public, place = private, "SecretFile"
    if algorithm == "RS256":
        private = rsa.generate_private_key(65537, 2048)
        key = private.public_key()
        public = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        place = "PublicKeyFile"
    key_file = folder / f"{secrets.token_hex(4)}.key"
    write_secret(key_file, public)
    claims = {"iss": issuer, "aud": audience, "exp": int(time.time()) + 24 * 3600}
    section = {"Issuer": issuer, "Audience": audience, place: str(key_file)}
    own = {"Authentication": section, "ObjectPrefix": "users/$USER_ID/"}
    return replace(
        peer,
        name=f"{peer.name}, {algorithm} logins",
        settings={**peer.settings, **own},
        logins=tuple(
            jwt.encode({**claims, "sub": f"user-{number}"}, private, algorithm)
            for number in range(users)
        ),
    )


def write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def write_certificate(path: Path, kind: str) -> None:
    """Write a certificate for 127.0.0.1 and its key of *kind* into one file."""
    key: Any = ec.generate_private_key(ec.SECP256R1())
    if kind != "P-256":
        key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(path, certificate.public_bytes(Encoding.PEM) + private)


def version_before(commit: str, folder: Path) -> Path | None:
    """Return a folder with the project at *commit*, or None without a commit."""
    if not commit:
        return None
    root = folder / "before"
    root.mkdir()
    git = ["git", "-C", str(ROOT), "archive", commit]
    archive = subprocess.run(git, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", str(root)], input=archive, check=True)
    return root


# --- STS ------------------------------------------------------------------------


class Sts:
    """The STS stand-in in a process of its own."""

    def __init__(self, quota: int | None) -> None:
        command = [PYTHON, "-m", "benchmarks.stand_in", str(quota or 0)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._hear()

    def _hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def calls(self) -> int:
        """Return the number of STS calls since calls() was last called."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self._hear())

    def close(self) -> None:
        with self.process:
            assert self.process.stdin
            self.process.stdin.close()


# --- Running servers ------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A running server: its processes, its URL, and the file of login tokens."""

    peer: Peer
    processes: tuple[int, ...]
    url: str
    logins: Path
    first_token_seconds: float


@contextlib.contextmanager
def running(peer: Peer, sts_url: str, folder: Path, pem: Path) -> Iterator[Running]:
    """Run *peer* in *folder*, with nginx in front of it if it has a proxy."""
    folder.mkdir()
    write_secret(folder / "config.json", json.dumps(settings(peer, sts_url)).encode())
    (folder / "body.json").write_bytes(sample_reply())
    logins = folder / "logins"
    logins.write_text("\n".join(peer.logins), encoding="ascii")
    with contextlib.ExitStack() as stack:
        port = behind = stack.enter_context(reserved_port())
        values = {"FOLDER": str(folder), "PEM": str(pem), "PORT": str(port)}
        begin = time.monotonic()
        processes = [stack.enter_context(started(peer.command, values))]
        if peer.proxy:
            port = stack.enter_context(reserved_port())
            values |= {"PORT": str(port), "BEHIND": str(behind)}
            conf = filled((HERE / "nginx.conf").read_text(), values)
            (folder / "nginx.conf").write_text(conf)
            nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
            command = [nginx or "nginx", "-p", "FOLDER", "-c", "FOLDER/nginx.conf"]
            command += ["-e", "FOLDER/nginx.error.log"]
            processes.append(stack.enter_context(started(command, values)))
        url = f"{'https' if peer.speaks_tls else 'http'}://127.0.0.1:{port}{peer.path}"
        for login in peer.logins or [""]:
            if not has_begun(url, processes, login):
                raise SystemExit(f"benchmarks: {peer.name} ended:\n{tail(folder)}")
        seconds = time.monotonic() - begin
        pids = tuple(process.pid for process in processes)
        yield Running(peer, pids, url, logins, seconds)


def settings(peer: Peer, sts_url: str) -> dict[str, Any]:
    return {
        "AccessKeyID": KEY_ID,
        "AccessKeySecret": KEY_SECRET,
        "RoleArn": ROLE_ARN,
        "TokenExpireTime": "900",
        "PolicyFile": str(ROOT / "policy" / "bucket_write_policy.txt"),
        "BucketName": "my-bucket",
        "ObjectPrefix": "photos/",
        "StsEndpoint": sts_url,
        **peer.settings,
    }


def filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


@contextlib.contextmanager
def started(
    command: list[str], values: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with *values* in place of the words in capitals."""
    folder = Path(values["FOLDER"])
    environment = {"CONFIG": str(folder / "config.json"), "NODE_ENV": "production"}
    with (
        (folder / "log").open("ab") as log,
        subprocess.Popen(
            [filled(word, values) for word in command],
            cwd=HERE,
            env=os.environ | environment,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port that only a server that asks for it can get, as all of these do.

    A socket that does not listen keeps it: the system gives the port to no other, but
    to who binds it by its number, with SO_REUSEADDR.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def sample_reply() -> bytes:
    """Return a document as long as those with tokens of the stand-in."""
    token = Token(
        Credentials(
            access_key_id="STS." + "0" * 24,
            access_key_secret="x" * 40,
            security_token="x" * 406,
            expiration="2026-01-02T03:04:05Z",
            last_updated="",
        )
    )
    return token.document


def has_begun(url: str, processes: list[subprocess.Popen[bytes]], login: str) -> bool:
    """Wait until *url* has a good reply for *login*; return False if a process ends."""
    while all(process.poll() is None for process in processes):
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if is_good(ask(url, login)):
                return True
        time.sleep(0.002)
    return False


def tail(folder: Path) -> str:
    """Return the end of the output of a server."""
    return (folder / "log").read_text(errors="replace")[-1000:]


def ask(url: str, login: str) -> Any:
    """Return the document that *url* returns to *login*."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.netloc, timeout=10, context=ANYBODY
        )
    with contextlib.closing(connection):
        return ask_on(connection, f"{parts.path}?{parts.query}".rstrip("?"), login)


def ask_on(connection: http.client.HTTPConnection, target: str, login: str) -> Any:
    """Request *target*, a path and query, on this connection; return the document."""
    headers = {"Authorization": f"Bearer {login}"} if login else {}
    connection.request("GET", target, headers=headers)
    return json.loads(connection.getresponse().read())


def is_good(document: Any) -> bool:
    """Return whether *document* is a token, a form or a URL."""
    return document.get("StatusCode") == 200 or "url" in document
