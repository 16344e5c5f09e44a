# Needs Python 3.11 or newer, and make. Everything else comes from requirements.lock, checked by hash.

VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
WORKERS ?= 2
CHECKED := orchestrator consumers schemas tests $(wildcard bench)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

.PHONY: help
help: ## List what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z0-9-]*:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: env
env: $(STAMP) ## Make the virtual environment (only when the lock has changed)

$(STAMP): requirements.lock pyproject.toml
	@set -e; found=; \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    for name in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	        if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$name; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "Oblio needs Python 3.11 or newer, and found none: install one, or say 'make env PYTHON=/path/to/python'." >&2; \
	        exit 1; \
	    fi; \
	    echo "Making $(VENV) with $$($$found --version)"; \
	    rm -rf $(VENV); \
	    if ! $$found -m venv $(VENV); then \
	        echo "This Python comes without venv: install it (Debian and Ubuntu: apt install python3-venv)." >&2; \
	        rm -rf $(VENV); \
	        exit 1; \
	    fi; \
	fi; \
	echo "Installing what requirements.lock names (a minute, once)"; \
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	touch $(STAMP)

.PHONY: demo
demo: env ## Erase real subjects from five real stores, and show it
	@$(VENV)/bin/oblio demo $(ARGS)

.PHONY: dev
dev: env ## Run the embedded system until Ctrl-C
	@$(VENV)/bin/oblio dev $(ARGS)

.PHONY: test
test: env ## Run every test (ARGS='-k name' for some, WORKERS=0 for one process)
	@HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci} $(PY) -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

.PHONY: lint
lint: env ## Check format, style, types and the lock
	@ok=true; \
	$(PY) -m ruff format --check --quiet . || { echo "Not formatted: make format" >&2; ok=false; }; \
	$(PY) -m ruff check --quiet . || ok=false; \
	$(PY) -m mypy --no-error-summary $(CHECKED) || ok=false; \
	if grep -nE '://|^ *--?(index-url|extra-index-url|find-links|trusted-host|i |f )' requirements.lock; then \
	    echo "requirements.lock names an address: make lock" >&2; ok=false; \
	fi; \
	$$ok && echo "Format, style, types and lock are in order."

.PHONY: format
format: env ## Format, and mend what ruff can mend
	@$(PY) -m ruff check --fix --quiet . ; $(PY) -m ruff format .

.PHONY: schemas
schemas: env ## Generate the JSON Schema files anew from the types
	@$(PY) -m schemas.generate

.PHONY: simulate
simulate: env ## Run the seeded simulation (SEED=7 for one seed, SEEDS=5000 for many)
	@$(PY) -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS))

.PHONY: bench-w1
bench-w1: env ## Measure the whole path against bare set-based statements
	@$(PY) -m bench.w1 $(ARGS)

.PHONY: lock
lock: env ## Choose the newest allowed versions and write requirements.lock
	@CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --upgrade --allow-unsafe --strip-extras \
	    --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --extra dev --extra kafka --output-file requirements.lock pyproject.toml

.PHONY: clean
clean: ## Remove what was made: environment, caches, builds (never data in .oblio)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.oblio/*' -prune -exec rm -rf {} +
