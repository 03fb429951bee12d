# Everything that a developer or CI runs. `make demo` needs Python 3.11 and make, `make test` Java 17 and Maven, too.
export UV_PYTHON_DOWNLOADS := never
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen

.PHONY: help setup demo test test-system test-rest check docs fix bench simulate clean

help:  ## Show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/.synced  ## Install uv (if it is missing) and every dependency, as locked

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv

.venv/.synced: uv.lock pyproject.toml $(wildcard packages/*/pyproject.toml) | $(filter .tools/%,$(UV))
	$(UV) sync --frozen --quiet
	@touch $@

demo: setup  ## Run the example nodes on an embedded broker: one command to each, then up until Ctrl-C
	@.venv/bin/runtime-host demo

test: setup  ## Run every test; starts the real servers that they need, and says which
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-system test-rest

test-system: setup
	$(RUN) pytest tests/system

test-rest: setup
	$(RUN) pytest --ignore tests/system

check: setup  ## Lint, formatting, types, layers, the contracts and their tests
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) runtime-host check contracts
	$(RUN) runtime-host fmt --check contracts
	$(RUN) runtime-host test contracts --fail-under 100

docs: .cache/website/env/.synced  ## Build the site from docs/ and the docstrings, into .cache/website/site
	.cache/website/env/bin/python website/build.py

.cache/website/env/.synced: uv.lock pyproject.toml | $(filter .tools/%,$(UV))
	UV_PROJECT_ENVIRONMENT=.cache/website/env $(UV) sync --frozen --quiet --only-group docs
	@touch $@

fix: setup  ## Format, and mend what can be mended without thought
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) runtime-host export handlers --out contracts/handlers
	$(RUN) runtime-host fmt contracts
	for it in node host handler test; do $(RUN) runtime-host schema $$it > contracts/schema/$$it.schema.json || exit; done
	$(RUN) runtime-host graph contracts/hosts/demo.yaml > docs/demo.svg

bench: setup  ## Measure, on a real Kafka, against peers and against the old way: a process a node
	$(RUN) python -m tests.benchmarks

simulate: setup  ## Run the engine against SEEDS=n random histories
	$(RUN) python -m tests.simulation --seeds $(or $(SEEDS),2000)

clean:  ## Remove what was built, installed and cached here
	rm -rf .venv .tools .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	find packages tests -name __pycache__ -prune -exec rm -rf {} +
