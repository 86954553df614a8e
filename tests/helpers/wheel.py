"""The package as users install it: a wheel in a separate environment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".*", "node_modules", "build", "dist", "*.egg-info", "__pycache__", "tests"
)
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel({!r}))"


def build_wheel(folder: Path) -> Path:
    """Build the wheel in *folder* from a copy of this checkout; return its path."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=NOT_COPIED)
    result = subprocess.run(
        [sys.executable, "-c", BUILD.format(str(folder))],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder / result.stdout.splitlines()[-1]


def make_environment(folder: Path, wheel: Path) -> Path:
    """Make an environment with *wheel* and the packages installed here.

    It does not include this checkout.  Return its Python.
    """
    venv.create(folder, symlinks=os.name == "posix")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install"),
            *("--quiet", "--no-deps", "--no-index", str(wheel)),
        ],
        check=True,
    )
    # Packages of its own come first.  A .pth file in the folder that this one names is
    # not read there, so the editable installation of this checkout is not found.
    (site_packages,) = folder.glob("**/site-packages")
    here = sysconfig.get_path("purelib")
    (site_packages / "others.pth").write_text(here, encoding="utf-8")
    return python


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Let only one process at a time run the block."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def shared_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the wheel, shared by all workers."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent
    with only_one(base / "wheel.lock"):
        done = base / "wheel" / "python"
        if not done.exists():
            shutil.rmtree(base / "wheel", ignore_errors=True)  # another one failed
            wheel = build_wheel(base / "wheel")
            path = make_environment(base / "wheel" / "venv", wheel)
            done.write_text(str(path), encoding="utf-8")
        return Path(done.read_text("utf-8"))


@dataclass(frozen=True)
class Project:
    """A folder, and the Python of an environment."""

    folder: Path
    python: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; ``python`` is that of the project."""
        program, *arguments = command
        if program == "python":
            program = str(self.python)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [program, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
