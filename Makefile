# Each target makes .venv and installs what it needs, again only when setup.cfg changed.

PYTHON ?= python3
PORT ?= 7080

.PHONY: demo test run check

demo: .venv/demo
	.venv/bin/python -m demo $(ARGS)

run: .venv/run
	.venv/bin/python sts_server.py $(PORT)

test: .venv/test $(if $(shell command -v npm),demo/node_modules)
	.venv/bin/python -m pytest

check: .venv/dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: EXTRA =
.venv/demo: EXTRA = [demo]
.venv/test: EXTRA = [test]
.venv/dev: EXTRA = [dev]

.venv/run .venv/demo .venv/test .venv/dev: setup.cfg pyproject.toml | .venv/bin/python
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRA)'
	touch $@

demo/node_modules: demo/package.json
	npm install --silent --no-package-lock --prefix demo
	touch $@
