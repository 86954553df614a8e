# Each target makes .venv and installs what it needs, again only when setup.cfg changed.

PYTHON ?= python3
PORT ?= 7080

.PHONY: demo test test-fast run check bench

demo: .venv/demo
	.venv/bin/python -m localcloud $(ARGS)

run: .venv/run
	.venv/bin/python sts_server.py $(PORT) $(ARGS)

test: .venv/test $(if $(shell command -v npm),localcloud/clients/node_modules)
	.venv/bin/python -m pytest -n auto --dist worksteal $(ARGS)

test-fast: .venv/test
	.venv/bin/python -m pytest -n auto --dist worksteal -m "not (slow or browser or process or nginx)" $(ARGS)

bench: .venv/bench benchmarks/node_modules
	.venv/bin/python -m benchmarks

check: .venv/dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: EXTRA = [auth,metrics]
.venv/demo: EXTRA = [testing]
.venv/test: EXTRA = [test]
.venv/bench: EXTRA = [bench]
.venv/dev: EXTRA = [dev]

.venv/run .venv/demo .venv/test .venv/bench .venv/dev: setup.cfg pyproject.toml | .venv/bin/python
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRA)'
	touch $@

%/node_modules: %/package.json
	npm install --silent --no-package-lock --prefix $*
	touch $@
