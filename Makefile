# Each target makes $(VENV) and installs what it needs, again only when setup.cfg changed.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 7080

PYTEST = $(VENV)/bin/python -m pytest -n auto --dist worksteal
SLOW = slow or browser or process or nginx
CLIENTS = $(if $(shell command -v npm),localcloud/clients/node_modules)

.PHONY: demo test test-fast coverage run check bench

demo: $(VENV)/demo
	$(VENV)/bin/python -m localcloud $(ARGS)

run: $(VENV)/run
	$(VENV)/bin/python sts_server.py $(PORT) $(ARGS)

test: $(VENV)/test $(CLIENTS)
	$(PYTEST) $(ARGS)

test-fast: $(VENV)/test
	$(PYTEST) --hypothesis-profile fast -m "not ($(SLOW))" $(ARGS)

coverage: $(VENV)/dev $(CLIENTS)
	$(PYTEST) --cov $(ARGS)

bench: $(VENV)/bench benchmarks/node_modules
	$(VENV)/bin/python -m benchmarks $(if $(BASE),--base $(BASE)) $(ARGS)

check: $(VENV)/dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: EXTRA = [auth,metrics]
$(VENV)/demo: EXTRA = [testing]
$(VENV)/test: EXTRA = [test]
$(VENV)/bench: EXTRA = [bench]
$(VENV)/dev: EXTRA = [dev]

$(VENV)/run $(VENV)/demo $(VENV)/test $(VENV)/bench $(VENV)/dev: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRA)'
	touch $@

%/node_modules: %/package.json
	npm install --silent --no-package-lock --prefix $*
	touch $@
