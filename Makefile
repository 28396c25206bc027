# Every target makes its own .venv first and does not install twice. PYTHON=/path/to/python3 overrides the search.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV    ?= .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
CODE    := cortex_dsl compiler kernels runtime src/cortexc bench examples tests .ci
MARKS   ?= not long and not gpu and not peers
# One process a core, one thread each: small tensors gain nothing from threads, and the processes do not fight.
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

.PHONY: help install demo test test-long test-gpu test-peers fmt lint types bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## make .venv and install cortexc with what it needs

$(STAMP): pyproject.toml constraints.txt
	@python=$$(bash .ci/find_python $(PYTHON)); \
	echo "installing into $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

demo: $(STAMP) ## compile "AXMS x4", import it in a fresh process, train it on real text
	$(BIN)/cortexc compile "AXMS x4" --d-hidden 64 --out build
	$(BIN)/python examples/byte_lm.py --package build/axms_x4

test: $(STAMP) ## the tests that need no GPU and little time
	$(PYTEST) -m "$(MARKS)" $(ARGS)

test-long: $(STAMP) ## the long tests too
	$(PYTEST) -m "not gpu and not peers" $(ARGS)

test-gpu: $(STAMP) ## all but the long tests on a GPU: real kernels, and the tests that need one
	CORTEXC_TEST_GPU=1 $(PYTEST) -m "not long and not interpreter and not peers" $(ARGS)

test-peers: $(STAMP) ## outputs against other libraries; CORTEXC_PEER_PATH names the unpacked wheel of cortexcore
	$(PYTEST) -m peers tests/peers $(ARGS)

fmt: $(STAMP) ## format, and mend what the linter can mend
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: $(STAMP) ## style, import contracts, file sizes
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/python .ci/file_sizes.py $(CODE)
	PYTHONPATH=src $(BIN)/lint-imports

types: $(STAMP) ## static types
	$(BIN)/mypy

bench: $(STAMP) ## CPU benchmarks; bench/README.md has the GPU ones
	$(BIN)/python -m pytest bench --benchmark-enable --benchmark-only --benchmark-columns=median,iqr,rounds $(ARGS)

clean: ## remove what was built; .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks src/*.egg-info
