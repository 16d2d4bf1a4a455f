# The verbs of this repository. Everything is installed into .venv and nothing outside it.
#
#   setup       what a running system needs: no torch, about 110 MB to download the first time
#   setup-test  the same, and what `check` and `test` need: torch too, several GB
#
# The extension's verbs install Node into .venv and its packages into extension/node_modules.
# All of this costs nothing when it has been done for the present pyproject files in this folder.

PYTHON ?= python3
# TORCH=1 adds torch, which scores on a CUDA GPU. Never by itself: it is several GB.
TORCH ?=

# A folder of labelled images with a manifest.csv: what `model` trains on; some benchmarks need it.
DATA ?=
# Where `model` trains and what it makes. The run goes on where it was broken off.
RUN ?= .pinclip/run
WEIGHTS ?= .pinclip/weights
RELEASE ?= own

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECT := pyproject.toml weights/pyproject.toml
DONE_FOR := $(shell (pwd; cat $(PROJECT)) | sha256sum | cut -c 1-16)
SETUP := .venv/.setup-$(DONE_FOR)$(if $(TORCH),-torch)
SETUP_TEST := .venv/.setup-test-$(DONE_FOR)
LOCKED := $(shell (pwd; cat extension/package-lock.json) | sha256sum | cut -c 1-16)
SETUP_NODE := extension/node_modules/.setup-$(LOCKED)
NPM := cd extension && PATH="$(CURDIR)/.venv/bin:$$PATH" npm

.PHONY: help setup setup-test up fmt check test bench model docs site wheel extension \
  extension-test extension-walk wire clean

help: ## what there is to make (the default)
	@echo "make VERB [PYTHON=python3.12] [TORCH=1]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-19s%s\n", $$1, $$2 }' Makefile

setup: $(SETUP) ## make .venv with what a running system needs; TORCH=1 adds torch for a CUDA GPU

setup-test: $(SETUP_TEST) ## add what the tests need to .venv, torch included

up: setup ## run the whole system here until Ctrl-C
	@exec $(BIN)/pinclip up

fmt: setup-test ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

check: setup-test ## lint, formatting, types, who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check extension-test ## check, the extension's tests, then the whole suite
	$(BIN)/python -m pytest -n auto

bench: setup-test ## run the benchmarks, kept in benchmarks/results; DATA=FOLDER of labelled images
	$(BIN)/python -m benchmarks $(if $(DATA),--data "$(DATA)" --run "$(RUN)")

model: setup-test ## train the default model on DATA=FOLDER; RUN, WEIGHTS and RELEASE say where to
	$(BIN)/pinclip train pinclip/recipes/default.toml --data "$(DATA)" --out "$(RUN)" --all-folds
	$(BIN)/pinclip package "$(RUN)" --data "$(DATA)" -o "$(WEIGHTS)" --release "$(RELEASE)" \
	  --date "$$(date -u +%F)"

docs: setup-test ## write the generated pages of docs/ anew
	$(BIN)/python docs/generate.py
	$(BIN)/python -m server.schema > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

site: setup-test ## build the pages of docs/ into site/, every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(SETUP) ## build the distributions pinclip and pinclip-weights-b16 into dist/
	$(PIP) wheel --no-deps --wheel-dir dist . ./weights

extension: $(SETUP_NODE) ## build the browser extension: its zips are in extension/.output/
	$(NPM) run build:all

extension-test: $(SETUP_NODE) ## check the extension's sources and run the tests beside them
	$(NPM) run check
	$(NPM) test

extension-walk: $(SETUP_NODE) ## walk through the extension in Chromium and Firefox; needs a browser
	$(NPM) run e2e

wire: $(SETUP_NODE) ## write the extension's wire types anew from docs/openapi.json
	$(NPM) run wire

clean: ## remove all that was made, .venv included
	rm -rf .venv dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache .coverage extension/node_modules extension/.output extension/.wxt
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SETUP):
	@$(call need_python)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "setup: making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear .venv; }
	@echo "setup: installing what a running system needs"
	$(PIP) install -e '.[server,worker$(if $(TORCH),$(comma)torch)]' -e ./weights
	@$(if $(TORCH),,$(call tell_of_gpu))
	@touch $@ .venv/.setup-$(DONE_FOR)

$(SETUP_TEST): $(SETUP)
	@echo "setup-test: installing what the tests need"
	$(PIP) install 'pip>=25.1'  # the first that reads [dependency-groups]
	$(PIP) install -e '.[all,postgres,heic]' -e ./weights --group dev \
	  torch==2.14.1 torchvision==0.29.1
	@touch $@

$(SETUP_NODE): $(SETUP)
	@echo "setup: installing what the extension is built with"
	$(PIP) install 'pip>=25.1'  # the first that reads [dependency-groups]
	$(PIP) install --group extension
	$(NPM) ci --no-audit --no-fund
	@touch $@

comma := ,

define need_python
	command -v $(PYTHON) >/dev/null || { \
	  echo "setup: there is no $(PYTHON). Install Python 3.11 or newer (apt-get install" \
	    "python3 python3-venv), or name one: make setup PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "setup: $(PYTHON) is $$($(PYTHON) --version), and 3.11 or newer is needed. Name" \
	    "another: make setup PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "setup: $(PYTHON) cannot make a virtual environment. Install what it lacks:" \
	    "apt-get install python3-venv" >&2; exit 1; }
endef

define tell_of_gpu
	! nvidia-smi -L >/dev/null 2>&1 || \
	  echo "setup: there is a CUDA GPU here; make setup TORCH=1 adds torch, to score on it"
endef
