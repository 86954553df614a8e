"""The pytest plugin, as pytest finds it wherever the package is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localcloud import LocalCloud

PROJECT = """
import sys

import pytest


def test_without_a_cloud():
    loaded = [name for name in sys.modules if name.startswith(FOREIGN)]
    assert loaded == []


FOREIGN = ("localcloud.oss", "localcloud.sts", "tokenserver", "alibabacloud", "Tea")


def test_with_a_cloud(local_cloud):
    assert local_cloud.token()["StatusCode"] == 200
    local_cloud.objects.put("cat.jpg", b"meow")


def test_with_another_cloud(local_cloud):
    assert local_cloud.objects.keys() == []


@pytest.mark.local_cloud(bucket="photos", logins=True)
def test_with_options(local_cloud):
    assert local_cloud.bucket == "photos"
    assert local_cloud.token(user="alice")["StatusCode"] == 200
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_fixture_is_there_for_those_who_ask_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(PROJECT, encoding="utf-8")

    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


@pytest.mark.process
def test_the_plugin_imports_nothing_but_itself() -> None:
    program = (
        "import pytest, sys; before = set(sys.modules)\n"
        "import localcloud.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert loaded == ["localcloud", "localcloud.pytest_plugin"]


@pytest.mark.local_cloud(bucket="photos")
def test_the_fixture_serves_our_own_tests(local_cloud: LocalCloud) -> None:
    assert local_cloud.bucket == "photos"
    assert local_cloud.token()["StatusCode"] == 200
