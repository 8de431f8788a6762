# make run | make ui | make test; `make help` says more.
PROFILE ?= quickstart
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export QA_ASSETS_PROFILE := $(PROFILE)
# compiled modules make every later start quicker
unexport PYTHONDONTWRITEBYTECODE
# threads of torch that wait must not take the cores from Spark beside them
export OMP_WAIT_POLICY := PASSIVE

.PHONY: run train-full ui stream test chaos lint setup doctor lock clean help
.DEFAULT_GOAL := help

run: setup  ## materialise the whole graph once (PROFILE=quickstart|squad|cluster)
	@$(BIN)/qa-assets run

train-full: setup  ## all of SQuAD v2 by the recipe for quality, hours on a CPU; goes on if stopped
	@$(BIN)/qa-assets run --profile squad --job train_full

ui: setup  ## Dagster's UI, with broker and sensor, until Ctrl-C
	@$(BIN)/qa-assets ui

stream: setup  ## answer questions as they come, until Ctrl-C
	@$(BIN)/qa-assets stream

test: setup lint  ## lint, types and the whole suite
	$(BIN)/python -m pytest

chaos: setup  ## kill driver, broker and step 50 times: is every question answered once?
	$(BIN)/python -m qa_assets_tests.chaos

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

doctor: setup  ## what of this machine is in order
	@$(BIN)/qa-assets doctor

setup: $(VENV)/.installed  ## the environment, from the lock

$(VENV)/.installed: requirements.lock pyproject.toml setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) sh setup.sh
	@touch $@

lock: setup  ## resolve the lock anew (needs network)
	.tools/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock

clean:  ## remove everything that was made, but not the environment
	rm -rf var .pytest_cache .mypy_cache .ruff_cache

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10
