# `make demo` and `make test` need Python 3.11+, git and make; the rest is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RELEASE_TOOLS := $(VENV)/release/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check unit integration soak bench mutate format reference lock audit release-check sbom clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## install everything the project needs into .venv

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "asset-worker needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a minute or two"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## simulator and worker end to end: no key, no network
	@$(BIN)/asset-worker demo

# Show the output of each target in one piece. (The make of macOS can't.)
TARGET_BY_TARGET := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# The integration tests mostly wait, and leave half of two cores to the unit tests.
test: check ## every check: format, lint, layers, types, tests
	@echo "unit and integration tests, side by side: some five minutes on two cores"
	@$(MAKE) --no-print-directory -j2 $(TARGET_BY_TARGET) unit integration

check: $(STAMP) ## format, lint, layers and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# They mostly use the processor, one more of them than there are cores, and give way to tests that also watch the clock.
unit: $(STAMP) ## the pure core, the client, the parts one by one; the whole worker in a simulated world
	nice -n 10 $(BIN)/pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist worksteal tests/unit tests/simulation

# These mostly wait for processes and clocks, so more of them than there are cores run at once.
integration: $(STAMP) ## real processes, files, sockets and servers
	$(BIN)/pytest -n 7 --dist worksteal tests/integration

soak: $(STAMP) ## ten thousand simulated histories, a thousand kills and more, a hundred thousand assets (an hour)
	$(BIN)/python -m tests.simulation --histories 10000
	$(BIN)/python -m tests.integration.soak --kills 1000
	$(BIN)/python -m tests.integration.soak --kills 50 --webhooks
	$(BIN)/python -m tests.integration.soak --kills 50 --account
	$(BIN)/python -m tests.integration.soak --kills 100 --fleet
	$(BIN)/python -m tests.integration.soak --fleet
	$(BIN)/python -m tests.integration.soak

bench: $(STAMP) ## what polling costs and how late it is, side by side with the usual ways (half an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.plots
	$(BIN)/python -m tests.bench.report

mutate: $(STAMP) ## change the code a little, again and again: do tests notice? (a quarter of an hour; SEED, MINUTES, ONLY=api)
	$(BIN)/python -m tests.mutation --minutes "$(or $(MINUTES),15)" --seed "$(SEED)" --only "$(ONLY)"

format: $(STAMP) ## rewrite the files the way the checks want them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: $(STAMP) ## rewrite what is made from the code and the runbook: pages, pictures, the dashboard
	$(BIN)/python docs/generate_reference.py
	$(BIN)/python docs/generate_runbook.py
	$(BIN)/python deploy/grafana/generate.py
	$(BIN)/python docs/generate_screens.py

lock: ## renew the lock files from pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra fast --extra otel --extra postgres pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra fast --extra otel --extra postgres --group dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group bench --constraint requirements-dev.lock -o requirements-bench.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group build --constraint requirements-dev.lock -o requirements-build.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group release --constraint requirements-dev.lock -o requirements-release.lock

# pip-audit has an environment of its own, and runs no code of what it audits: the locks name every version.
audit: ## look for known vulnerabilities in the locked packages (needs a network)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@failed=0; for lock in $(sort $(wildcard requirements*.lock)); do \
		echo "$$lock"; $(VENV)/audit/bin/pip-audit --require-hashes --disable-pip -r "$$lock" || failed=1; \
	done; exit $$failed

# What makes and checks a release has an environment of its own, with the build backend that the image uses.
$(RELEASE_TOOLS): requirements-build.lock requirements-release.lock
	$(PYTHON) -m venv $(VENV)/release
	$(VENV)/release/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-build.lock -r requirements-release.lock
	@touch $@

release-check: $(RELEASE_TOOLS) ## build the last commit twice, compare, and try it on each Python (PYTHONS=…)
	@PYTHONS="$$(echo $(PYTHONS))" $(VENV)/release/bin/python -m tests.release.check

sbom: $(RELEASE_TOOLS) ## write a CycloneDX bill of materials of the last commit into dist
	@$(VENV)/release/bin/python -m tests.release.sbom

clean: ## remove what the targets made
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
