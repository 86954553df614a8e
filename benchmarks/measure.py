"""Loads, and the measurement of servers under them, in rounds that take turns."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import HERE, Running, Sts

MOST_REQUESTS = 10_000_000  # without -n, ab stops at 50,000 whatever -t says


@dataclass(frozen=True)
class Load:
    """A load: a number of clients at once.

    Each client keeps its connection, or opens a new one for each request; with
    *resumes* it uses the TLS session of the connection before.
    """

    connections: int
    is_kept: bool = True
    key: str = ""  # kind of the certificate's key; "" for plain HTTP
    resumes: bool = False
    quota: int | None = None  # AssumeRole calls per second

    @property
    def title(self) -> str:
        if self.is_kept:
            text = f"{self.connections} connections kept alive"
        else:
            text = f"{self.connections} connections at a time, one for each request"
        if self.key:
            text += f", TLS with {self.key}"
            text += ", sessions resumed" if self.resumes else ", whole handshakes"
        if self.quota:
            text += f", STS allows {self.quota} calls/s"
        return text


@dataclass(frozen=True)
class Run:
    """One round.  The CPU seconds are those of the server and of the stand-in."""

    replies: int
    good: int  # tokens, forms or URLs
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float
    sts_calls: int
    cpu_seconds: float
    sts_cpu_seconds: float
    megabytes: float

    @property
    def per_second(self) -> float:
        return self.replies / self.seconds


@dataclass(frozen=True)
class Row:
    """The rounds of one server under one load."""

    peer: str
    load: Load
    runs: Sequence[Run]
    first_token_seconds: float

    def median(self, figure: Callable[[Run], float]) -> float:
        return statistics.median(map(figure, self.runs))

    @property
    def per_second(self) -> float:
        return self.median(lambda run: run.per_second)

    @property
    def p99_ms(self) -> float:
        return self.median(lambda run: run.p99_ms)


def measure(
    servers: Sequence[Running], load: Load, sts: Sts, rounds: int, seconds: int
) -> list[Row]:
    """Return a row for each server.  The servers take turns in each round."""
    runs: dict[str, list[Run]] = {server.peer.name: [] for server in servers}
    for number in range(rounds):
        for server in servers if number % 2 == 0 else servers[::-1]:
            runs[server.peer.name].append(one_run(server, load, sts, seconds))
        print(f"  round {number + 1}: {load.title}", file=sys.stderr)
    return [
        Row(one.peer.name, load, runs[one.peer.name], one.first_token_seconds)
        for one in servers
    ]


def one_run(server: Running, load: Load, sts: Sts, seconds: int) -> Run:
    sts.calls()
    cpu, sts_cpu = cpu_seconds(*server.processes), cpu_seconds(sts.process.pid)
    is_whole = load.key and not load.resumes
    found = ab(server, load, seconds) if is_whole else wrk(server, load, seconds)
    return Run(
        sts_calls=sts.calls(),
        cpu_seconds=cpu_seconds(*server.processes) - cpu,
        sts_cpu_seconds=cpu_seconds(sts.process.pid) - sts_cpu,
        megabytes=megabytes(*server.processes),
        **found,
    )


# --- Clients --------------------------------------------------------------------


def wrk(server: Running, load: Load, seconds: int) -> dict[str, Any]:
    """Send requests with wrk, which resumes its latest TLS session."""
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s"]
    command += ["--timeout", "10s", "-s", str(HERE / "count_replies.lua")]
    command += [] if load.is_kept else ["-H", "Connection: close"]
    output = subprocess.run(
        [*command, server.url],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "LOGINS": str(server.logins)},
    ).stdout
    (result,) = re.findall(r"^RESULT (.*)$", output, re.MULTILINE)
    found: dict[str, Any] = json.loads(result)
    return found


def ab(server: Running, load: Load, seconds: int) -> dict[str, Any]:
    """Send requests with ab, which resumes no sessions and has one login token.

    It counts a reply of another length than the first one as failed.
    """
    command = ["ab", "-q", "-c", str(load.connections), "-t", str(seconds)]
    command += ["-n", str(MOST_REQUESTS)]
    if server.peer.logins:
        command += ["-H", f"Authorization: Bearer {server.peer.logins[0]}"]
    result = subprocess.run([*command, server.url], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"benchmarks: ab: {result.stderr[-200:]}")
    return ab_figures(result.stdout)


def ab_figures(output: str) -> dict[str, Any]:
    """Return the figures in the *output* of ab."""

    def figure(pattern: str) -> float:
        match = re.search(rf"^ *{pattern} +([0-9.]+)", output, re.MULTILINE)
        return float(match[1]) if match else 0

    replies = int(figure("Complete requests:"))
    failed = int(figure("Failed requests:") + figure("Non-2xx responses:"))
    return {
        "replies": replies,
        "good": replies - failed,
        "errors": failed,
        "seconds": figure("Time taken for tests:"),
        "p50_ms": figure("50%"),
        "p99_ms": figure("99%"),
    }


# --- Processes ------------------------------------------------------------------


def family(*pids: int) -> list[int]:
    """Return processes and all their descendants."""
    found = []
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found += [pid, *family(*map(int, children))]
    return found


def cpu_seconds(*pids: int) -> float:
    ticks = 0
    for one in family(*pids):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def megabytes(*pids: int) -> float:
    """Return the memory (MB) of processes and descendants; shared pages count once."""
    total = 0
    for one in family(*pids):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        (kilobytes,) = re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE)
        total += int(kilobytes)
    return total / 1024
