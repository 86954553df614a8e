"""Measures this server and its peers with one STS stand-in, and prints tables."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.cold import cold_starts
from benchmarks.handshake import handshake_seconds
from benchmarks.measure import Load, Row, measure
from benchmarks.report import cold_table, table, users_table
from benchmarks.servers import (
    KEY_ID,
    KEY_SECRET,
    KEYS,
    OURS,
    ROLE_ARN,
    Peer,
    Sts,
    our_peers,
    our_versions,
    plain_peers,
    running,
    signed_peers,
    signing,
    tls_peers,
    version_before,
    write_certificate,
)
from benchmarks.users import ask_as_users
from tokenserver.config.grants import CallTemplate, UserCall
from tokenserver.documents import Credentials
from tokenserver.sts.client import TIME_FORMAT
from tokenserver.sts.tokens import TOKENS_KEPT, TokenCache

QUOTA = 100  # AssumeRole calls per second, in the loads with a quota
KEPT = (1, 8, 64, 256)  # connections
CLOSING = 64  # connections, each for one request
TOKEN_USERS = 1000  # each of them costs an AssumeRole call
PROGRAMS = ("wrk", "ab", "node", "nginx")
PARTS = ("start", "plain", "signed", "tls", "handshake", "quota", "lookup")


def main() -> int:
    """Measure and print; return the exit status."""
    options = parse_arguments()
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [one for one in PROGRAMS if not shutil.which(one, path=path)]
    if missing:
        print(f"benchmarks: please install {', '.join(missing)}", file=sys.stderr)
        return 1
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(options, Path(name))
        for part in options.parts:
            print(getattr(bench, part)(), flush=True)
    return 0


def parse_arguments() -> argparse.Namespace:
    lines = [f"  {part:10} {getattr(Bench, part).__doc__}" for part in PARTS]
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks",
        description="Compare this server with others, in tables on standard output.",
        epilog="\n".join(["parts:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help="parts to run; by default all")
    add("--base", default="", metavar="COMMIT", help="also measure ours at this commit")
    add("--rounds", type=int, default=3, help="rounds for each figure (default: 3)")
    add("--seconds", type=int, default=3, help="length of a round (default: 3)")
    add("--quota-seconds", type=int, default=10, help="a round of quota (default: 10)")
    add("--users", type=int, default=100_000, help="users in signed (default: 100000)")
    add("--only", default="", metavar="TEXT", help="ours, and names with this text")
    options = parser.parse_args()
    options.parts = options.parts or PARTS
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(unknown)}; choose {', '.join(PARTS)}")
    return options


def describe_machine() -> str:
    """Return a line about the machine, on which the figures depend."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, "
        f"{platform.system()}, Python {platform.python_version()}, Node "
        f"{node.strip()}; the clients and the STS stand-in run beside each server"
    )


class Bench:
    """The parts of a run.  Each returns the text to print."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._before = version_before(options.base, folder)

    def start(self) -> str:
        """The time from the start of a process to its first token."""
        with contextlib.closing(Sts(None)) as sts:
            versions = our_versions(self._before)
            return cold_table(cold_starts(versions, sts, self._folder))

    def plain(self) -> str:
        """HTTP, on connections that are kept alive or closed."""
        loads = [*map(Load, KEPT), Load(CLOSING, is_kept=False)]
        return self._tables(plain_peers(self._folder, self._before), loads)

    def signed(self) -> str:
        """Forms and URLs next to tokens, and the STS calls of many users of each."""
        loads = [Load(8), Load(CLOSING, is_kept=False)]
        tables = self._tables(signed_peers(self._folder, self._before), loads)
        (ours,) = our_peers(None)
        tokens = replace(ours, settings={"StsCallsPerSecond": 10_000})
        with contextlib.closing(Sts(None)) as sts:
            found = [
                ask_as_users(peer, users, sts, self._folder)
                for peer, users in [
                    (tokens, min(TOKEN_USERS, self._options.users)),
                    *((peer, self._options.users) for peer in signing(ours)),
                ]
            ]
        return f"{tables}\n{users_table(found)}"

    def quota(self) -> str:
        """HTTP, with the STS quota of an account."""
        peers = plain_peers(self._folder, self._before)
        return self._tables(peers, [Load(CLOSING, quota=QUOTA)])

    def tls(self) -> str:
        """HTTPS, with a new connection for each request."""
        loads = [
            Load(CLOSING, is_kept=False, key=key, resumes=resumes)
            for key in KEYS
            for resumes in (False, True)
        ]
        return self._tables(tls_peers(self._folder, self._before), loads)

    def handshake(self) -> str:
        """The time that a TLS handshake takes in OpenSSL."""
        lines = [""]
        for key in KEYS:
            pem = self._folder / f"{key}.pem"
            write_certificate(pem, key)
            whole, resumed = (handshake_seconds(pem, one) for one in (False, True))
            lines.append(
                f"TLS with {key}: a whole handshake takes the server "
                f"{whole * 1e6:.0f} µs in OpenSSL, a resumed one {resumed * 1e6:.0f}."
            )
        return "\n".join(lines)

    def lookup(self) -> str:
        """The time to find a token among few and among many."""
        lines = [""]
        for entries in (1, TOKENS_KEPT):
            microseconds = cost_of_a_reused_token(entries) * 1e6
            lines.append(
                f"Tokens kept: {entries:,}; finding one takes {microseconds:.1f} µs."
            )
        return "\n".join(lines)

    def _tables(self, peers: list[Peer], loads: list[Load]) -> str:
        """Return the tables of *peers* under *loads*."""
        wanted = [p for p in peers if p.name == OURS or self._options.only in p.name]
        rows: list[Row] = []
        for key, quota in dict.fromkeys((load.key, load.quota) for load in loads):
            seconds = self._options.quota_seconds if quota else self._options.seconds
            with (
                tempfile.TemporaryDirectory(dir=self._folder) as name,
                contextlib.closing(Sts(quota)) as sts,
                contextlib.ExitStack() as stack,
            ):
                pem = Path(name) / "both.pem"
                if key:
                    write_certificate(pem, key)
                servers = [
                    stack.enter_context(
                        running(peer, sts.url, Path(name) / str(number), pem)
                    )
                    for number, peer in enumerate(wanted)
                ]
                for load in loads:
                    if (load.key, load.quota) == (key, quota):
                        rounds = self._options.rounds
                        rows += measure(servers, load, sts, rounds, seconds)
        return table(rows)


def cost_of_a_reused_token(entries: int) -> float:
    """Return the seconds that TokenCache needs to find one of *entries* tokens."""
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


if __name__ == "__main__":
    raise SystemExit(main())
