# Everything a person or CI does here. VENV and PYTHON may be set from outside.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test test-slow test-faults test-deploy lint audit sbom bench clean

run: $(VENV)/.run  ## start the bridge with its built-in configuration
	$(BIN)/spanbridge up $(ARGS)

test: $(VENV)/.dev  ## every test but the long ones
	$(BIN)/pytest -m "not slow" --ignore=tests/faults --ignore=tests/deploy $(ARGS)

test-slow: $(VENV)/.dev  ## the long ones: crashes, outages, clients in Go and Java
	$(BIN)/pytest -m slow --ignore=tests/faults --ignore=tests/deploy $(ARGS)

test-faults: $(VENV)/.dev  ## kills, misbehaving destinations, fuzz, soak; sizes by SPANBRIDGE_FAULTS_*, see tests/faults/support/sizes.py
	$(BIN)/pytest tests/faults $(ARGS)

test-deploy: $(VENV)/.dev  ## chart, manifests, image, dashboards; tools come from tests/deploy/install-tools
	$(BIN)/pytest tests/deploy $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.audit

audit: $(VENV)/.dev  ## known-bad versions among what is installed, without a network
	$(BIN)/python -m tests.audit

sbom: $(VENV)/.dev  ## sbom.json, CycloneDX, of what is installed
	$(BIN)/cyclonedx-py environment --of JSON -o sbom.json $(VENV)

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
