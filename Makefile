# Every target does its own set-up: a virtual environment with the locked dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := .venv-tools
# Or else every process that the tests start compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo drill test test-postgres check chaos lint deploy-check bench bench-tools bench-peers bench-growth interop images screenshots docs dist sbom audit lock clean
.DEFAULT_GOAL := help

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

setup: $(READY) ## Make the virtual environment (the other targets do so by themselves)

# Some systems ship python3 without venv; virtualenv from pip does the same there.
$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Rescind needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Try make PYTHON=python3.12"; exit 1; }
	@echo "1/3 Making the virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV) $(TOOLS); $(PYTHON) -m pip install --quiet --target $(TOOLS) virtualenv \
			&& PYTHONPATH=$(TOOLS) $(PYTHON) -m virtualenv --quiet $(VENV); }
	@echo "2/3 Installing the locked dependencies; downloads take a minute or two"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@echo "3/3 Installing rescind itself"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "Ready: . $(BIN)/activate && rescind --help"
	@touch $@

demo: $(READY) ## Run the main job before your eyes, in a minute or two; ends in a table
	$(BIN)/rescind demo

drill: $(READY) ## Rehearse a recovery: back up under load, destroy, restore, compare; ends in a table
	$(BIN)/python -m app.dev.drill

# A worker for each core takes file after file, so that what is made once for a file is made once.
PYTEST := pytest -q -n auto --dist loadfile --no-loadscope-reorder
COVERAGE := .coverage.json

test: $(READY) ## Run all tests, and list the branches that none of them takes
	$(BIN)/python -W 'ignore:Unable to activate pytest' -m slipcover --branch --source app/core,app/engine,handlers --json --out $(COVERAGE) -m $(PYTEST)
	$(BIN)/python -m tests.branch_coverage $(COVERAGE)

# The conformance suite on PostgreSQL by default; for example: make test-postgres TESTS="-n 2 tests/contract/test_store.py".
test-postgres: $(READY) ## Run the store's suite on the installed PostgreSQL, and through PgBouncer (.ci/install-postgres)
	$(BIN)/python -m tests.other_postgres $(TESTS)

check: $(READY) ## Check what changed against main, and run the unit and contract tests: for while you work
	@base=$$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main); \
		changed=$$( (git diff --name-only --diff-filter=d $$base -- '*.py'; git ls-files --others --exclude-standard -- '*.py') | sort -u); \
		if [ -n "$$changed" ]; then \
			$(BIN)/ruff format --check $$changed && $(BIN)/ruff check $$changed && $(BIN)/mypy && $(BIN)/lint-imports; \
		fi
	$(BIN)/python -m $(PYTEST) tests/unit tests/contract

# For example: make chaos CHAOS="--minutes 60 --seed 7", --sqlite for one node, or --previous DIR to upgrade.
chaos: $(READY) ## Load three nodes on PostgreSQL for ten minutes while they and it are killed and stopped, and judge
	$(BIN)/python -m tests.chaos $(CHAOS)

lint: $(READY) ## Check style, types and the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Programs that pip does not have are installed by deploy/checks/install-tools.
deploy-check: $(READY) ## Check everything in deploy/ by the tools of those who will run it
	PATH="$(CURDIR)/$(BIN):$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python -m pytest -q -n auto --dist loadfile deploy/checks

# Only the bench needs these: they stay out of the environment of the tests.
BENCH_TOOLS := .tools/bench
BENCH_READY := $(BENCH_TOOLS)/.ready

$(BENCH_READY): requirements/bench.txt | $(READY)
	@echo "Installing what only the bench needs into $(BENCH_TOOLS)"
	@rm -rf $(BENCH_TOOLS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(BENCH_TOOLS) --require-hashes -r requirements/bench.txt
	@touch $@

bench-tools: $(BENCH_READY) ## Install what draws flame graphs and plots into .tools/bench

# For example: make bench BENCH="--json bench.json --flame flame.svg" (a flame graph needs make bench-tools).
bench: $(READY) ## Measure, as ratios to comparators started in the same run
	$(BIN)/python -m tests.bench $(BENCH)

bench-peers: $(BENCH_READY) ## Measure other receivers of webhooks beside Rescind, as far as they install here (npm, Go)
	$(BIN)/python -m tests.bench.peers --json docs/images/peers.json --plot docs/images $(BENCH)

# Ten million events take most of an hour to make, and 15 GB; they are kept for the next run.
bench-growth: $(BENCH_READY) ## Measure what grows with the log: at none, 1 M and 10 M events
	$(BIN)/python -m tests.bench.growth --json docs/images/growth.json --plot docs/images $(BENCH)

interop: $(READY) ## Verify deliveries with a public library in Node (needs node and npm)
	@command -v npm >/dev/null || { echo "make interop needs node and npm"; exit 1; }
	npm ci --prefix tests/interop --no-audit --no-fund
	$(BIN)/python -m pytest -q tests/interop/verified_in_node.py

images: $(READY) ## Take the README's four pictures of the console anew
	$(BIN)/python -m tests.browser.readme_images docs/images

screenshots: $(READY) ## Show every page of the console in both themes and on a small screen, as files in screenshots/
	$(BIN)/python -m tests.browser.screenshots screenshots

docs: $(READY) ## Regenerate the generated pages, and build the site into site/
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(READY) ## Build the wheel and the sdist into dist/, beside the locked requirements of a server
	rm -rf dist
	$(BIN)/hatchling build
	cp requirements/runtime.txt dist/

# Of the environment at hand, which holds what the lock says in the same versions; a marker's line may be for another platform.
RUNTIME := $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' requirements/runtime.txt)

sbom: $(READY) ## List what a server's environment holds: SBOM (CycloneDX) and licenses, into dist/; fails on a license that is not allowed
	mkdir -p dist
	$(BIN)/python requirements/sbom.py dist/rescind.cdx.json
	$(BIN)/pip-licenses --packages $(RUNTIME) --output-file dist/LICENSES-OF-DEPENDENCIES.md

# Strict: what cannot be looked up is a failure, too.
audit: $(READY) ## Look up known vulnerabilities of the locked runtime requirements (needs the network)
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements/runtime.txt

lock: $(READY) ## Resolve the dependencies anew, with hashes and without a word on where they came from
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q --upgrade -o requirements/dev.txt
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -c requirements/dev.txt -o requirements/runtime.txt
	$(BIN)/uv pip compile --group pyproject.toml:bench --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -c requirements/dev.txt -o requirements/bench.txt
	echo "hatchling>=1.27" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -c requirements/dev.txt -o requirements/build.txt

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(TOOLS) .tools tests/interop/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site dist *.egg-info
