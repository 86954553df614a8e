"""This machine: time limits, ports and programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator

import pytest

# For what ought to happen, however busy the machine is; only what hangs takes longer.
PATIENCE_SECONDS = 60.0

PROXY_VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that other threads are about to fulfil."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "that should have come true by now"
        time.sleep(0.002)


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Let this process open as many files as a server has connections."""
    import resource  # which Windows has not

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a port of 127.0.0.1 for the block: nobody listens there, or gets it.

    A server of the test may listen on it.
    """
    with socket.socket() as holder:
        # With it, another that has it too may have the port, unless this one listens.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def find_program(name: str) -> str:
    """Return the path of a program, also of a daemon; skip the test without it."""
    folders = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    found = shutil.which(name, path=folders)
    if found:
        return found
    pytest.skip(f"{name} is not installed")
