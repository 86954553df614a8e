"""What docs/testing-your-app.md prints runs in a project that has only the wheel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.oss.apps import NODE_MODULES, needs_node
from helpers.wheel import ROOT, Project, shared_environment

PAGE = ROOT / "docs" / "testing-your-app.md"
TRANSLATION = ROOT / "docs" / "zh-CN" / "testing-your-app.md"
BLOCK = re.compile(r"`(?P<name>[\w.]+)`[^`\n]*\n\n```\w+\n(?P<code>.*?)```", re.DOTALL)

pytestmark = [pytest.mark.slow, pytest.mark.process]


def files(page: Path) -> dict[str, str]:
    """Return the files that *page* prints, by their names."""
    found = BLOCK.finditer(page.read_text("utf-8"))
    return {match["name"]: match["code"] for match in found}


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel of this checkout."""
    return shared_environment(tmp_path_factory)


@pytest.fixture
def project(python: Path, tmp_path: Path) -> Project:
    """A project with the files of the page."""
    for name, code in files(PAGE).items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    return Project(tmp_path, python)


def test_a_project_has_the_wheel_and_not_this_checkout(project: Project) -> None:
    program = (
        "import localcloud, tokenserver as t; print(localcloud.__file__, t.__file__)"
    )

    found = project.run("python", "-c", program).stdout

    assert str(ROOT) not in found
    assert found.count("site-packages") == 2


@pytest.mark.parametrize("test_file", ["test_myapp.py", "test_myapp_v2.py"])
def test_the_tests_in_python_pass(project: Project, test_file: str) -> None:
    result = project.run("python", "-m", "pytest", "-p", "no:cacheprovider", test_file)

    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout


@needs_node
def test_the_tests_in_node_pass(project: Project) -> None:
    (project.folder / "node_modules").symlink_to(NODE_MODULES)

    result = project.run("python", "-m", "localcloud", "--", "node", "--test")

    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^\S* ?pass 3$", result.stdout, re.MULTILINE), result.stdout


@needs_node
def test_a_test_that_fails_fails_the_command(project: Project) -> None:
    (project.folder / "node_modules").symlink_to(NODE_MODULES)
    test = project.folder / "myapp.test.mjs"
    code = test.read_text("utf-8")
    assert 'codes: ["AccessDenied"]' in code
    test.write_text(code.replace('codes: ["AccessDenied"]', "codes: []"), "utf-8")

    result = project.run("python", "-m", "localcloud", "--", "node", "--test")

    assert result.returncode == 1
    assert re.search(r"^\S* ?fail 1$", result.stdout, re.MULTILINE), result.stdout


def test_the_translation_prints_the_same_files() -> None:
    assert files(TRANSLATION) == files(PAGE)
    assert list(files(PAGE)) == [
        "myapp.py",
        "test_myapp.py",
        "myapp_v2.py",
        "test_myapp_v2.py",
        "myapp.mjs",
        "myapp.test.mjs",
    ]
