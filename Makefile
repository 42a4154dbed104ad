# Everything a person or CI does here. VENV and PYTHON may be set from outside.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := build/installed

.PHONY: run test test-slow test-faults test-deploy test-matrix test-pythons lint docs installed audit sbom bench clean

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

test-matrix: $(VENV)/.dev  ## each minor version of MLflow, from end to end
	$(BIN)/python -m tests.matrix $(ARGS)

test-pythons: $(VENV)/.dev  ## the other Pythons: unit tests and the quick start
	$(BIN)/python -m tests.pythons $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.audit

docs: $(VENV)/.dev  ## docs/configuration.md, from the models
	$(BIN)/python docs/make_reference.py

installed: $(VENV)/.dev  ## build/installed: an environment with the wheel, as a user has it
	rm -rf dist $(INSTALLED)
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv $(INSTALLED)
	$(INSTALLED)/bin/pip install --quiet --constraint constraints.txt "$$(echo dist/spanbridge-*.whl)[postgresql,mysql]"

audit: $(VENV)/.dev  ## known-bad versions among what is installed, without a network
	$(BIN)/python -m tests.audit

sbom: $(VENV)/.dev  ## sbom.json, CycloneDX, of what is installed
	$(BIN)/cyclonedx-py environment --of JSON -o sbom.json $(VENV)

bench: $(VENV)/.dev  ## figures for this machine: a table, and bench-results/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Asked first, and cleaned away if it fails: a half-made environment would look like a finished one for ever.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is Python %d.%d, and 3.11 or later is needed: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); false; }

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing spanbridge and MLflow into $(VENV): about 110 packages, some minutes the first time."
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing spanbridge, MLflow and the tools of the tests into $(VENV): some minutes the first time."
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	touch $@ $(VENV)/.run
