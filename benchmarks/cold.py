"""From the start of a process to its first token, and where the time goes."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.servers import (
    LATENCY_SECONDS,
    PYTHON,
    Peer,
    Sts,
    running,
)

ROUNDS = 5
# What a process does that does no more than that, each more than the one before
STAGES = {
    "Python": "pass",
    "our modules": "import tokenserver.cli",
    "STS SDK": "import tokenserver.cli, tokenserver.sts.client, tokenserver.app",
}


def cold_start(peer: Peer, root: Path, sts: Sts, folder: Path) -> dict[str, float]:
    """Return the seconds of each part of a start of *peer*, the server in *root*.

    Files are in the page cache, and modules compiled.  The parts are differences of
    medians of rounds that take turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in [*STAGES, "token"]}
    for _ in range(ROUNDS):
        for name, code in STAGES.items():
            command = [PYTHON, "-c", code]
            seconds[name].append(
                timed(lambda c=command: subprocess.run(c, cwd=root, check=True))  # type: ignore[misc]
            )
        with tempfile.TemporaryDirectory(dir=folder) as name:
            place = Path(name) / "cold"
            with running(peer, sts.url, place, place) as server:
                seconds["token"].append(server.first_token_seconds)
    parts: dict[str, float] = {}
    before = 0.0
    for name, found in seconds.items():
        median = statistics.median(found)
        parts[name] = median - before
        before = median
    parts["configuration, socket, request"] = parts.pop("token") - LATENCY_SECONDS
    parts["AssumeRole"] = LATENCY_SECONDS
    parts["together"] = before
    return parts


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
