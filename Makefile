# Three commands for a newcomer: make demo, make test, make check. All live in .venv.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= manyhot-demo

.PHONY: demo test test-all test-lowest check lint format docs site dist clean

demo: .venv/base
	$(BIN)/manyhot demo --out $(DEMO) --overwrite

test: .venv/test
	$(BIN)/pytest -m "not slow"

test-all: .venv/test
	$(BIN)/pytest

test-lowest: .venv-lowest/test
	.venv-lowest/bin/pytest -m "not slow"

check: lint test

lint: .venv/test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: .venv/test
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: .venv/base
	$(BIN)/python -m manyhot.cli.document > docs/cli.md

site: .venv/test
	$(BIN)/mkdocs build --strict

dist: .venv/bin/python
	$(BIN)/pip install --disable-pip-version-check --quiet build
	$(BIN)/python -m build

clean:
	rm -rf .venv .venv-lowest manyhot-demo site dist build

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "manyhot needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv

.venv/base: .venv/bin/python pyproject.toml
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[train,serve]'
	@touch $@

.venv/test: .venv/bin/python pyproject.toml
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[test,check]'
	@touch $@ .venv/base

# What pyproject.toml allows at the lowest: each `name>=version` as `name==version`.
.venv-lowest/test: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) -c "import tomllib; \
	project = tomllib.load(open('pyproject.toml', 'rb'))['project']; extras = project['optional-dependencies']; \
	every = [project['dependencies'], *(extras[name] for name in ('train', 'serve', 'search', 'excel', 'test'))]; \
	print(*(line for lines in every for line in lines if not line.startswith('manyhot')), sep='\n')" \
	| sed 's/>=/==/g' > .venv-lowest/lowest.txt
	.venv-lowest/bin/pip install --disable-pip-version-check --quiet --requirement .venv-lowest/lowest.txt
	.venv-lowest/bin/pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@
