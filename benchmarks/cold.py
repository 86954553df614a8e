"""The time from the start of a process to its first token, part by part."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.servers import (
    LATENCY_SECONDS,
    PYTHON,
    Peer,
    Sts,
    our_command,
    running,
)

ROUNDS = 5
# The code of a process for each stage.  Each does more than the one before, and uses
# only names that every version has.
STAGES = {
    "Python": "pass",
    "our modules": "import sts_server",
    "STS SDK": "import sts_server, alibabacloud_credentials.client, "
    "alibabacloud_sts20150401.client",
}
END = "; import os; os._exit(0)"  # without the end of a process, which takes time
REST = "our late modules, configuration, socket, request"


def cold_starts(
    versions: Mapping[str, Path], sts: Sts, folder: Path
) -> dict[str, dict[str, float]]:
    """Return the seconds of each part of the start of each version, given by its root.

    Files are in the page cache, and modules are compiled.  The versions take turns in
    each round; a part is the difference between the medians of two stages.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    for _ in range(ROUNDS):
        for name, root in versions.items():
            found[name].append(
                one_start(Peer(name, our_command(root)), root, sts, folder)
            )
    return {name: parts_of(rounds) for name, rounds in found.items()}


def one_start(peer: Peer, root: Path, sts: Sts, folder: Path) -> dict[str, float]:
    """Return the seconds that each stage takes from its beginning."""
    seconds: dict[str, float] = {}
    for stage, code in STAGES.items():
        command = [PYTHON, "-c", f"{code}{END}"]
        begin = time.perf_counter()
        subprocess.run(command, cwd=root, check=True)
        seconds[stage] = time.perf_counter() - begin
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name) / "cold"
        with running(peer, sts.url, place, place) as server:
            seconds["token"] = server.first_token_seconds
    return seconds


def parts_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the seconds that each stage adds, from the medians of *rounds*."""
    parts: dict[str, float] = {}
    before = 0.0
    for stage in rounds[0]:
        median = statistics.median(seconds[stage] for seconds in rounds)
        parts[stage] = median - before
        before = median
    parts[REST] = parts.pop("token") - LATENCY_SECONDS
    parts["AssumeRole"] = LATENCY_SECONDS
    parts["together"] = before
    return parts
