"""A configuration that is being read: its file, and the findings so far."""

from __future__ import annotations

from pathlib import Path

from tokenserver.config.files import (
    Read,
    is_open_to_others,
    others_may_read,
    parse_file,
)
from tokenserver.config.settings import AUTHENTICATION, GRANTS, SETTINGS, Section


class Source:
    """The file *path* and the files that it names, all read by *read*.

    Raises ConfigError if it is not a JSON object.  All other problems are collected in
    *problems*.
    """

    def __init__(self, path: Path, read: Read) -> None:
        self.path = path
        self.read = read
        self.problems: list[str] = []
        self.warnings: list[str] = []  # about what the operator may not have meant
        self.shown: dict[str, str] = {}  # what is set, without secrets
        values = parse_file(str(path), read(path))
        self.settings = Section(str(path), values, SETTINGS, self.problems)
        self.has_login = AUTHENTICATION in self.settings  # though it may be wrong
        self.has_grants = GRANTS in self.settings

    def beside(self, name: str) -> Path:
        """Return the path of a file that the configuration names."""
        return self.path.parent / name

    def warn(self, text: str, where: str = "") -> None:
        """Add a warning about the file, or about its part *where*."""
        self.warnings.append(f"{where or self.path}: {text}")

    def warn_of_secret(self, path: Path) -> None:
        """Add a warning if others may read a file that contains a secret."""
        if is_open_to_others(path):
            self.warnings.append(others_may_read(path))

    def show(self, section: Section, name: str) -> None:
        """Show the settings of the section *name*, too."""
        for setting, value in section.shown():
            self.shown[f"{name}: {setting}"] = value
