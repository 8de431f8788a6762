# make run | make ui | make test; `make help` says more.
PIPELINE ?= quickstart
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# compiled modules make every later start quicker
unexport PYTHONDONTWRITEBYTECODE
# threads of torch that wait must not take the cores from Spark beside them; see training/cpu.py
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 3000

.PHONY: run train-full ui stream test chaos lint setup doctor lock clean help
.DEFAULT_GOAL := help

# what a run may do otherwise than its pipeline says: make run PIPELINE=squad TRAIN_EXAMPLES=4000
LIMITS = $(if $(SOURCE),--source "$(SOURCE)") $(if $(BASE),--base "$(BASE)") \
  $(if $(TRAIN_EXAMPLES),--train-examples $(TRAIN_EXAMPLES)) \
  $(if $(EVAL_EXAMPLES),--eval-examples $(EVAL_EXAMPLES))

run: setup  ## materialise a pipeline once (PIPELINE=, SOURCE=, BASE=, TRAIN_EXAMPLES=, EVAL_EXAMPLES=)
	@$(BIN)/qa-assets run $(PIPELINE) $(LIMITS)

train-full: setup  ## all of SQuAD v2 by the recipe for quality, hours on a CPU; goes on if stopped
	@$(BIN)/qa-assets run squad --job squad_train_full $(LIMITS)

ui: setup  ## Dagster's UI with all pipelines, broker and sensors, until Ctrl-C
	@$(BIN)/qa-assets ui

stream: setup  ## answer a pipeline's requests as they come (PIPELINE=), until Ctrl-C
	@$(BIN)/qa-assets stream $(PIPELINE)

test: setup lint  ## lint, types and the whole suite
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder --durations 25

chaos: setup  ## kill driver, broker and step 50 times: is every question answered once?
	$(BIN)/python -m qa_assets_tests.chaos

lint: setup  ## linter, formatter, layers, types, pipelines
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	@# one at a time: given several files of one component type, dg checks the last alone;
	@# DAGSTER_HOME, since telemetry is off in the dagster.yaml there
	@for file in qa_assets/defs/*/defs.yaml; do \
	  DAGSTER_HOME=$(CURDIR)/qa_assets/cli PYTHONWARNINGS=ignore \
	  $(BIN)/dg check yaml $$(dirname $$file) || exit 1; done

doctor: setup  ## what of this machine is in order for a pipeline (PIPELINE=)
	@$(BIN)/qa-assets doctor $(PIPELINE)

setup: $(VENV)/.installed  ## the environment, from the lock

$(VENV)/.installed: requirements.lock pyproject.toml setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) sh setup.sh
	@touch $@

lock: setup  ## resolve the locks of packages and jars anew (needs network)
	.tools/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock
	$(MAKE) setup
	$(BIN)/python -m qa_assets.local.jars

clean:  ## remove everything that was made, but not the environment
	rm -rf var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10
