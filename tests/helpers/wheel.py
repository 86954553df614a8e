"""The package as others install it: a wheel in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".*", "node_modules", "build", "dist", "*.egg-info", "__pycache__", "tests"
)
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel({!r}))"


def build_wheel(folder: Path) -> Path:
    """Build the wheel in *folder* from a copy of what is here; return where it is."""
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
    """Make an environment with *wheel*, and what is installed here already.

    This checkout is not among that.  Return its Python.
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
