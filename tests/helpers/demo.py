"""A running demo: python -m localcloud without a command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import localcloud
from helpers.machine import PATIENCE_SECONDS

ROOT = Path(localcloud.__file__).parent.parent
PICTURE = ROOT / "localcloud" / "page" / "upload-page.png"
PORTS = ("--port", "--sts-port", "--oss-port", "--page-port")
ANY_PORTS = [word for option in PORTS for word in (option, "0")]


class Demo:
    """A running demo and what it printed."""

    def __init__(self, process: subprocess.Popen[str], output: str) -> None:
        self.process = process
        self.output = output

    def address(self, name: str) -> str:
        """Return the address printed for *name*."""
        (address,) = re.findall(rf"^{name}: +([^ ,\n]+)", self.output, re.MULTILINE)
        return str(address)

    def command(self, beginning: str) -> list[str]:
        """Return the words of the only printed command that contains this."""
        (line,) = [
            line
            for line in self.output.splitlines()
            if line.startswith("  ") and beginning in line
        ]
        return shlex.split(line)


@contextlib.contextmanager
def running(*arguments: str, folder: Path, exit_status: int = 0) -> Iterator[Demo]:
    """Run the demo on free ports; its temporary files go into *folder*."""
    with subprocess.Popen(
        [sys.executable, "-m", "localcloud", *ANY_PORTS, *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout
            output = ""
            while "Ctrl-C" not in output:
                line = process.stdout.readline()
                assert line, f"the demo ended: {process.communicate()[1]}"
                output += line
            yield Demo(process, output)
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == exit_status
        finally:
            process.kill()


def run(*command: str) -> str:
    """Return the output of a command, which must succeed."""
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    ).stdout


def stored(folder: Path) -> dict[str, bytes]:
    """Return the objects in the folder of a bucket, by their keys."""
    records = [
        json.loads(path.read_text("utf-8")) for path in folder.glob("objects/*.json")
    ]
    return {
        record["key"]: (folder / "data" / record["content"]["file"]).read_bytes()
        for record in records
    }
