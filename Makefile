# Each target makes .venv and installs what it needs, again only when setup.cfg changed.

PYTHON ?= python3
PORT ?= 7080

.PHONY: demo test run check

demo: .venv/run
	.venv/bin/python -m demo

run: .venv/run
	.venv/bin/python sts_server.py $(PORT)

test: .venv/test
	.venv/bin/python -m pytest

check: .venv/dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: EXTRA =
.venv/test: EXTRA = [test]
.venv/dev: EXTRA = [dev]

.venv/run .venv/test .venv/dev: setup.cfg pyproject.toml | .venv/bin/python
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRA)'
	touch $@
