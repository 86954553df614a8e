"""The command as an operator runs it, in its own process or within this one."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from helpers import secret_scan
from helpers.machine import PATIENCE_SECONDS
from helpers.settings import ROOT
from tokenserver import cli

SERVER = ROOT / "sts_server.py"


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of a server with *arguments*."""
    sdk = "ignore::DeprecationWarning:alibabacloud_tea_openapi.utils"
    options = ["-W", "error", "-W", sdk]
    return [sys.executable, *options, str(SERVER), *map(str, arguments)]


def with_limits(**limits: float) -> list[str]:
    """Return the beginning of a command line of a server with other time limits.

    A very long limit shows, on any machine, that nobody waits for its end.
    """
    lines = [
        "import sys",
        f"sys.path.insert(0, {str(ROOT)!r})",
        "from tokenserver import cli",
        "from tokenserver.httpd import connection",
        *(f"cli.{n} = connection.{n} = {value}" for n, value in limits.items()),
        "sys.exit(cli.main())",
    ]
    return [*command()[:-1], "-c", "\n".join(lines)]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the server until it ends by itself."""
    result = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=os.environ | environment,
        check=False,
    )
    return checked(result)


def checked(
    result: subprocess.CompletedProcess[str],
) -> subprocess.CompletedProcess[str]:
    """Return *result*; check that it shows no secret except a token it has to print."""
    secret_scan.check_text("stderr", result.stderr)
    if '"SecurityToken"' not in result.stdout:
        secret_scan.check_text("stdout", result.stdout)
    return result


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command within this process, for runs that end before serving."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        own_logging(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [str(SERVER)])
        patch.setattr(cli, "raise_file_limit", lambda: None)
        try:
            status = cli.main([*map(str, arguments)])
        except SystemExit as end:  # of argparse
            status = int(end.code or 0)
    return checked(
        subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())
    )


@contextlib.contextmanager
def own_logging() -> Iterator[None]:
    """Undo the changes of the command to loggers, meant for its own process."""
    ours, root = logging.getLogger("tokenserver"), logging.getLogger()
    level, propagate = ours.level, ours.propagate
    handlers = ours.handlers[:], root.handlers[:]
    names = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing")
    flags = {name: getattr(logging, name) for name in names}
    try:
        yield
    finally:
        ours.setLevel(level)
        ours.propagate = propagate
        ours.handlers[:], root.handlers[:] = handlers
        for name, value in flags.items():
            setattr(logging, name, value)


@contextlib.contextmanager
def running(
    *arguments: str | Path,
    stderr: int = subprocess.PIPE,
    beginning: Sequence[str] = (),
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server on a free port of 127.0.0.1; yield its process and port."""
    with subprocess.Popen(
        [*(beginning or command()), "0", "--bind", "127.0.0.1", *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        text=True,
    ) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                if match := re.search(r"https?://127\.0\.0\.1:(\d+)/", line):
                    break
            assert match, "the server did not start"
            yield process, int(match[1])
        finally:
            process.kill()
        output = "".join(map(str, process.communicate()))  # what no test has read
        secret_scan.check_text("the output", output)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return the log up to the line that contains *text*."""
    assert process.stderr
    found = ""
    while text not in found:
        line = process.stderr.readline()
        assert line, f"the server ended after {found}"
        found += line
    return found


def end(process: subprocess.Popen[str]) -> str:
    """Tell the server to end; return the rest of its log."""
    process.terminate()
    assert process.stderr
    log = process.stderr.read()
    process.wait(PATIENCE_SECONDS)
    return log


def usage(process: subprocess.Popen[str]) -> dict[str, int]:
    """Return the threads, open files, memory and peak memory (MB) of a server."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    values = dict(re.findall(r"(\w+):\s+(\d+)", status))
    return {
        "threads": int(values["Threads"]),
        "files": len([*Path(f"/proc/{process.pid}/fd").iterdir()]),
        "MB": int(values["VmRSS"]) // 1024,
        "peak MB": int(values["VmHWM"]) // 1024,
    }
