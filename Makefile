# One door to everything: `make serve`, `make test`. Needs Python 3.11+ and nothing else beforehand.
PYTHON ?= python3
VENV   ?= .venv
HOST   ?= 127.0.0.1
PORT   ?= 8000
MODEL  ?=
ARGS   ?=
WORKERS ?= 2
EXAMPLES ?= 100
BIN    := $(VENV)/bin

# Test processes share few cores: one thread each keeps them from fighting.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.DEFAULT_GOAL := help
.PHONY: help env serve test lint bench bench-peers fuzz sanitize clients docs clean

help:  ## this list
	@echo "make targets (variables in brackets can be set on the command line):"
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */|/' | awk -F'|' '{printf "  %-11s %s\n", $$1, $$2}'

env:  ## create .venv and install penstock with its development tools; does nothing when up to date  [PYTHON]
	@$(PYTHON) tools/bootstrap.py $(VENV)

serve: env  ## start the OpenAI-compatible server on the bundled chat model  [MODEL HOST PORT ARGS]
	@exec $(BIN)/penstock serve $(if $(MODEL),"$(MODEL)") --host "$(HOST)" --port "$(PORT)" $(ARGS)

test: lint  ## lint, then the whole test suite  [WORKERS ARGS]
	@$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: env  ## format, lint, types, import contracts, size limits
	@echo "lint: ruff format"       && $(BIN)/ruff format --check --quiet . || \
		{ $(BIN)/ruff format --check .; echo "lint: run '$(BIN)/ruff format .'"; exit 1; }
	@echo "lint: ruff check"        && $(BIN)/ruff check --quiet .
	@echo "lint: mypy"              && $(BIN)/mypy --no-error-summary
	@echo "lint: import contracts"  && $(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log 2>&1 || \
		{ cat $(VENV)/lint-imports.log; exit 1; }
	@echo "lint: size limits"       && $(BIN)/python tools/check_sizes.py penstock

bench: env  ## offline throughput and latency of the bundled model, scheduler overhead; JSON in benchmarks/results
	@$(BIN)/python benchmarks/scheduler_overhead.py --save benchmarks/results
	@$(BIN)/penstock bench throughput --save benchmarks/results
	@$(BIN)/penstock bench latency --save benchmarks/results

bench-peers: env  ## beside vLLM, OpenVINO GenAI, llama.cpp and transformers, installed when first needed; hours  [ARGS]
	@$(BIN)/python -m benchmarks.peers $(ARGS)

fuzz: env  ## shake a real server for minutes: schemathesis on its own description, bent request bodies  [EXAMPLES]
	@$(TEST_ENV) PENSTOCK_FUZZ=$(EXAMPLES) $(BIN)/python -m pytest tests/openapi --timeout 3600 $(ARGS)

sanitize: env  ## CPU kernels under AddressSanitizer and UBSan, each instruction set in turn; needs g++; minutes  [ARGS]
	@$(BIN)/python tools/sanitize.py $(ARGS)

clients: env  ## run other people's clients, each in an environment of its own, against a server  [ARGS]
	@$(BIN)/python -m tests.clients $(ARGS)

docs: env  ## write the pages anew that come from code: settings, metrics
	@$(BIN)/python -m penstock.config.docs docs/configuration.md
	@$(BIN)/python -m penstock.observe.docs docs/observability.md

clean:  ## remove caches; the environment stays
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
