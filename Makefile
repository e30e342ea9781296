# Everything runs in .venv, which is made on first use; `make` alone lists the targets.
# PYTHON is the interpreter .venv is made from: make PYTHON=python3.12 test

PYTHON ?= python3
PYTEST_ARGS ?=

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
CONSTRAINTS := $(wildcard .ci/constraints-py$(VERSION).txt)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check $(CONSTRAINTS:%=-c %)
# The version is part of the stamps' names, so that another PYTHON makes another .venv.
DEV := .venv/.installed-dev-py$(VERSION)
TORCH := .venv/.installed-torch-py$(VERSION)
TPU := .venv/.installed-tpu-py$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-torch test-browser test-tpu test-gpu lint format clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(DEV)  ## From made-up mammograms to a report on whether SinGANs help (about 5 minutes)
	$(BIN)/python -m launch.demo

test: $(DEV)  ## Run all tests but the slow ones and those that need more than `make` installs
	$(BIN)/python -m pytest -m "not slow and not torch and not browser and not tpu" -n 2 --dist loadfile $(PYTEST_ARGS)

test-slow: $(DEV)  ## Run the slow tests
	$(BIN)/python -m pytest -m "slow and not torch and not browser and not tpu" $(PYTEST_ARGS)

test-torch: $(TORCH)  ## Install PyTorch too, and run the tests that compare with it
	$(BIN)/python -m pytest -m torch $(PYTEST_ARGS)

test-browser: $(DEV)  ## Run the tests that look at reports in Chromium (on Debian: apt install chromium)
	$(BIN)/python -m pytest -m browser $(PYTEST_ARGS)

test-tpu: $(TPU)  ## Install the compiler for TPUs too, and run the tests of what it makes; needs no TPU
	$(BIN)/python -m pytest -m tpu $(PYTEST_ARGS)

test-gpu: $(DEV)  ## Run the same tests on a GPU (first: .venv/bin/pip install -e '.[cuda]')
	$(BIN)/python -m pytest -m "not slow and not torch and not browser and not tpu" $(PYTEST_ARGS)

lint: $(DEV)  ## Check style, formatting and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(DEV)  ## Format the code and mend what ruff can mend
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:  ## Remove .venv, caches and build output
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV): setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'singan-jax needs Python 3.11 or later, and "$(PYTHON)" is $(or $(VERSION),not found);' \
	       'name another: make PYTHON=python3.12'; exit 1; }
	@test -n '$(CONSTRAINTS)' || \
	  echo 'No pinned versions for Python $(VERSION): installing within the ranges of setup.cfg.'
	@echo 'Setting up .venv with Python $(VERSION); the first time takes a few minutes.'
	@$(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' \
	  2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(INSTALL) -e '.[dev,imagenet,dicom]'
	@touch $@

$(TORCH): $(DEV)
	$(INSTALL) -e '.[dev,imagenet,dicom,torch]'
	@touch $@

$(TPU): $(DEV)
	$(INSTALL) -e '.[dev,imagenet,dicom,tpu]'
	@touch $@
