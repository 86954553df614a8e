"""Run this server and its peers against one STS stand-in, and print one table."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tokenserver.config.grants import CallTemplate, UserCall
from tokenserver.documents import Credentials, Token
from tokenserver.sts.client import TIME_FORMAT
from tokenserver.sts.tokens import TOKENS_KEPT, TokenCache

HERE = Path(__file__).parent
ROOT = HERE.parent
KEY_ID, KEY_SECRET = "LTAIbench", "benchSecret"
ROLE_ARN = "acs:ram::1234567890123456:role/bench"
LATENCY_SECONDS = 0.02  # of each AssumeRole
QUOTA = 100  # AssumeRole calls a second, where there is one
KEEP_ALIVE = (1, 8, 64, 256)  # connections
CLOSING = 64  # connections, each for one request
OURS = "sts-server"
USERS = 64  # who log in, where users do


def main() -> int:
    """Measure and print; return the exit status."""
    options = parse_arguments()
    for program in ("wrk", "node"):
        if not shutil.which(program):
            print(f"benchmarks: {program} is missing", file=sys.stderr)
            return 1
    print(describe_machine(), flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for quota in (None, QUOTA):
            seconds = options.quota_seconds if quota else options.seconds
            for peer in peers(Path(name)):
                rows += measure(peer, quota, seconds, Path(name))
                print(f"  measured {peer.name}, quota {quota}", file=sys.stderr)
    print(table(rows))
    print()
    for entries in (1, TOKENS_KEPT):
        microseconds = cost_of_a_reused_token(entries) * 1e6
        print(f"Tokens kept: {entries:,}; finding one takes {microseconds:.1f} µs.")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks")
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    parser.add_argument(
        "--quota-seconds", type=int, default=30, help="of each run with the quota"
    )
    return parser.parse_args()


def describe_machine() -> str:
    """Return what the figures depend on."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, "
        f"{platform.system()}, Python {platform.python_version()}, Node "
        f"{node.strip()}; wrk and the STS stand-in run beside each server"
    )


# --- The servers ----------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A server: its command, in which PORT stands for the port, and its settings."""

    name: str
    command: list[str]
    settings: dict[str, Any]
    logins: tuple[str, ...] = ()  # login tokens, which requests have in turn


def peers(folder: Path) -> list[Peer]:
    python = sys.executable
    ours = [python, str(ROOT / "sts_server.py"), "PORT", "--bind", "127.0.0.1"]
    ours += ["--config", str(folder / "config.json")]
    gunicorn = [python, "-m", "gunicorn", "--bind", "127.0.0.1:PORT"]
    workers = 2 * (os.cpu_count() or 1) + 1  # as gunicorn's documentation advises
    gunicorn += ["--workers", str(workers), "--threads", "16", "peer_flask:app"]
    bare = [python, str(HERE / "peer_bare.py"), "PORT", str(folder / "body.json")]
    express = ["node", str(HERE / "peer_express.mjs"), "PORT"]
    return [
        Peer(OURS, ours, {}),
        Peer("bare http.server", bare, {}),
        *(with_logins(algorithm, ours, folder) for algorithm in ("HS256", "RS256")),
        Peer("without reuse", ours, {"TokenReuseTime": 0, "StsCallsPerSecond": 10_000}),
        Peer("Flask, gunicorn", gunicorn, {}),
        Peer("Express, ali-oss", express, {}),
    ]


def with_logins(algorithm: str, command: list[str], folder: Path) -> Peer:
    """Return ours for users who log in with JWTs of *algorithm*."""
    issuer, audience = "https://login.example.com/", "benchmark"
    private: Any = secrets.token_bytes(32)
    public, place = private, "SecretFile"
    if algorithm == "RS256":
        private = rsa.generate_private_key(65537, 2048)
        key = private.public_key()
        public = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        place = "PublicKeyFile"
    key_file = folder / f"{algorithm}.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(public)
    claims = {"iss": issuer, "aud": audience, "exp": int(time.time()) + 24 * 3600}
    section = {"Issuer": issuer, "Audience": audience, place: str(key_file)}
    return Peer(
        f"{OURS}, {algorithm} logins",
        command,
        {"Authentication": section, "ObjectPrefix": "users/$USER_ID/"},
        tuple(
            jwt.encode({**claims, "sub": f"user-{number}"}, private, algorithm)
            for number in range(USERS)
        ),
    )


class Sts:
    """The STS stand-in in a process of its own."""

    def __init__(self, quota: int | None) -> None:
        command = [sys.executable, "-m", "benchmarks.stand_in", str(quota or 0)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._hear()

    def _hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def calls(self) -> int:
        """Return how many calls came since this was asked last."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self._hear())

    def close(self) -> None:
        with self.process:
            assert self.process.stdin
            self.process.stdin.close()


@contextlib.contextmanager
def running(peer: Peer, sts_url: str, folder: Path) -> Iterator[tuple[int, int, float]]:
    """Run *peer*; yield its process, its port, and the seconds to its first token."""
    config = folder / "config.json"
    config.touch(mode=0o600)
    settings = {
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
    config.write_text(json.dumps(settings), encoding="utf-8")
    (folder / "body.json").write_bytes(sample_reply())
    (folder / "logins").write_text("\n".join(peer.logins), encoding="ascii")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    begin = time.monotonic()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [word.replace("PORT", str(port)) for word in peer.command],
            cwd=HERE,
            env={**os.environ, "CONFIG": str(config), "NODE_ENV": "production"},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            for login in peer.logins or [""]:
                wait_for_token(port, process, login)
            yield process.pid, port, time.monotonic() - begin
        finally:
            process.terminate()


def sample_reply() -> bytes:
    """Return a document of the length of those that the stand-in's tokens make."""
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


def wait_for_token(port: int, process: subprocess.Popen[bytes], login: str) -> None:
    query = f"?access_token={login}" if login else ""
    while process.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/{query}") as reply,
        ):
            if json.load(reply)["StatusCode"] == 200:
                return
        time.sleep(0.002)
    raise SystemExit(f"benchmarks: ended: {process.args!r}")


# --- Measuring ------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One run.  CPU is of the server and of the stand-in, in seconds."""

    peer: str
    quota: int | None
    connections: int
    keeps_alive: bool
    replies: int
    tokens: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float
    sts_calls: int
    cpu_seconds: float
    sts_cpu_seconds: float
    megabytes: float
    first_token_seconds: float

    @property
    def per_second(self) -> float:
        return self.replies / self.seconds

    @property
    def setting(self) -> tuple[int | None, int, bool]:
        """What rows to compare have in common."""
        return self.quota, self.connections, self.keeps_alive


def measure(peer: Peer, quota: int | None, seconds: int, folder: Path) -> Iterator[Row]:
    """Yield the runs of *peer*; with the quota, the one that shows what it does."""
    loads = [(64, True)] if quota else [(n, True) for n in KEEP_ALIVE]
    loads += [] if quota else [(CLOSING, False)]
    sts = Sts(quota)
    try:
        with running(peer, sts.url, folder) as (pid, port, first_token_seconds):
            for connections, keeps_alive in loads:
                sts.calls()
                cpu, sts_cpu = cpu_seconds(pid), cpu_seconds(sts.process.pid)
                logins = folder / "logins"
                result = wrk(port, connections, keeps_alive, seconds, logins)
                yield Row(
                    peer=peer.name,
                    quota=quota,
                    connections=connections,
                    keeps_alive=keeps_alive,
                    sts_calls=sts.calls(),
                    cpu_seconds=cpu_seconds(pid) - cpu,
                    sts_cpu_seconds=cpu_seconds(sts.process.pid) - sts_cpu,
                    megabytes=megabytes(pid),
                    first_token_seconds=first_token_seconds,
                    **result,
                )
    finally:
        sts.close()


def wrk(
    port: int, connections: int, keeps_alive: bool, seconds: int, logins: Path
) -> dict[str, Any]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(HERE / "count_tokens.lua")]
    command += [] if keeps_alive else ["-H", "Connection: close"]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "LOGINS": str(logins)},
    ).stdout
    (result,) = re.findall(r"^RESULT (.*)$", output, re.MULTILINE)
    found: dict[str, Any] = json.loads(result)
    return found


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    ticks = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    """Return the memory of a process and all below it; what they share counts once."""
    total = 0
    for one in family(pid):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        (kilobytes,) = re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE)
        total += int(kilobytes)
    return total / 1024


def cost_of_a_reused_token(entries: int) -> float:
    """Return the seconds that TokenCache takes, when all of its tokens are in use."""
    expiration = time.strftime(TIME_FORMAT, time.gmtime(time.time() + 900))
    fetched = Credentials("id", "secret", "token", expiration, "")
    tokens = TokenCache(lambda _call: fetched)
    template = CallTemplate(
        protocol="https",
        endpoint="sts.aliyuncs.com",
        access_key_id=KEY_ID,
        access_key_secret=KEY_SECRET,
        role_arn=ROLE_ARN,
        role_session_name="client_name",
        duration_seconds=900,
        policy=None,
    )
    calls = [UserCall(template, f"user{number}") for number in range(entries)]
    for call in calls:
        tokens.get(call, 300)
    rounds = 200_000 // entries
    begin = time.perf_counter()
    for _ in range(rounds):
        for call in calls:
            tokens.get(call, 300)
    return (time.perf_counter() - begin) / (rounds * entries)


# --- The table ------------------------------------------------------------------

COLUMNS = [
    "server",
    "connections",
    "requests/s",
    "to ours",
    "p50 ms",
    "p99 ms",
    "to ours",
    "tokens",
    "STS calls/1000",
    "CPU µs/request",
    "MB",
    "first token s",
    "",
]


def table(rows: list[Row]) -> str:
    """Return all runs as tables in Markdown, one for each load."""
    lines = []
    for setting in dict.fromkeys(row.setting for row in rows):
        group = [row for row in rows if row.setting == setting]
        (ours,) = [row for row in group if row.peer == OURS]
        quota = f"STS allows {setting[0]} calls/s" if setting[0] else "no quota"
        lines += ["", f"**{load(ours)}, {quota}**", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
        lines += ["| " + " | ".join(cells(row, ours)) + " |" for row in group]
    return "\n".join(lines)


def load(row: Row) -> str:
    if row.keeps_alive:
        return f"{row.connections} connections kept alive"
    return f"{row.connections} connections at a time, one for each request"


def cells(row: Row, ours: Row) -> list[str]:
    # The stand-in is one process with one core at most; near that it sets the pace.
    is_bound = row.sts_cpu_seconds > 0.7 * row.seconds
    notes = ["the stand-in is the bottleneck"] if is_bound else []
    notes += [f"{row.errors} errors"] if row.errors else []
    return [
        row.peer,
        str(row.connections),
        f"{row.per_second:,.0f}",
        f"{row.per_second / ours.per_second:.2f}",
        f"{row.p50_ms:.1f}",
        f"{row.p99_ms:.1f}",
        f"{row.p99_ms / ours.p99_ms:.2f}",
        f"{row.tokens / max(1, row.replies):.2%}",
        f"{row.sts_calls / max(1, row.replies) * 1000:.3g}",
        f"{row.cpu_seconds / max(1, row.replies) * 1e6:,.0f}",
        f"{row.megabytes:.0f}",
        f"{row.first_token_seconds:.2f}",
        "; ".join(notes),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
