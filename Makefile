# Everything a person or CI does here. VENV and PYTHON may be set from outside.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test test-all lint bench clean

run: $(VENV)/.run  ## start the bridge with its built-in configuration
	$(BIN)/spanbridge up $(ARGS)

test: $(VENV)/.dev  ## every test but the long ones
	$(BIN)/pytest -m "not slow" $(ARGS)

test-all: $(VENV)/.dev  ## the long ones too
	$(BIN)/pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev  ## figures for this machine: a table, and bench-results/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@ $(VENV)/.run
