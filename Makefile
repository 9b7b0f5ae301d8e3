# The few commands that anyone needs here; `make` alone lists them.
# All that is needed to begin is make and a Python of 3.11 or newer. With uv on the PATH it goes faster.

BIN := .venv/bin
FOLDERS := holdfast streams detectors rollouts sinks tests benchmarks dashboards
CODE := $(foreach folder,$(FOLDERS),$(if $(wildcard $(folder)/*.py),$(folder)))
# Named after the folder: a copied or moved tree installs itself again instead of running the code it came from.
STAMP := .venv/.installed-$(shell pwd | cksum | cut -d' ' -f1)
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
# More than there are cores: the tests on a real broker wait most of the time.
JOBS ?= 4
CHECKS := style imports mypy pyright
TOGETHER = $(MAKE) --no-print-directory --jobs 5
SYNC := UV_PROJECT_ENVIRONMENT=.venv uv sync --locked --all-groups
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Node comes from the lock, as everything else: pyright neither looks for another one nor for news about itself.
export PYRIGHT_PYTHON_GLOBAL_NODE := 0
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Where the environment forbids bytecode, each of hundreds of processes would compile all of the code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv venv-with-pip demo broker clickhouse test test-all check style imports compiled mypy pyright
.PHONY: format bench quality dashboards lock

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## build .venv, with the holdfast command in .venv/bin

demo: $(STAMP) ## judge a bad and a harmless rollout
	$(BIN)/holdfast demo

broker: $(STAMP) ## run a real Kafka broker until Ctrl-C (needs Java 17 and Maven)
	$(BIN)/python -m tests.kafka.broker

clickhouse: $(STAMP) ## run a real ClickHouse server (18.16) until Ctrl-C (needs Debian)
	$(BIN)/python -m tests.clickhouse.server

test: $(STAMP) ## the checks, then the tests (what CI runs)
	@$(TOGETHER) $(CHECKS) compiled
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m 'not slow'

test-all: $(STAMP) ## the same, with the slow tests (rates over many seeds)
	@$(TOGETHER) $(CHECKS) compiled
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(STAMP) ## style, import contracts and types
	@$(TOGETHER) $(CHECKS)

style: $(STAMP)
	$(BIN)/python -m ruff check $(CODE)
	$(BIN)/python -m ruff format --check $(CODE)

imports: $(STAMP)
	$(BIN)/python $(BIN)/lint-imports --no-logo

# One process collects the tests while types are checked: what it compiles, the others load. What is wrong they tell.
compiled: $(STAMP)
	@$(BIN)/python -m pytest --quiet --collect-only >/dev/null 2>&1 || true

mypy: $(STAMP)
	$(BIN)/python -m mypy $(CODE)

pyright: $(STAMP)
	$(BIN)/python -m pyright

format: $(STAMP) ## put the code in form
	$(BIN)/python -m ruff check --fix-only $(CODE)
	$(BIN)/python -m ruff format $(CODE)

bench: $(STAMP) ## time and peak memory of the seeded workloads
	$(BIN)/python -m benchmarks

quality: $(STAMP) ## measure the figures of docs/quality.md anew (about ten minutes)
	$(BIN)/python -m benchmarks.quality --harmless 1000 --bad 100 --seed 31 \
	    --page docs/quality.md --picture docs/images/quality.svg
	$(BIN)/python -m benchmarks.quality --fleet 8 --seed 31 --page docs/quality.md

dashboards: $(STAMP) ## make Grafana's dashboards out of their descriptions and SQL
	$(BIN)/python -m dashboards.build

# Not behind venv: a pyproject.toml that has run ahead of its lock is what this repairs.
lock: ## pin the dependencies again after a change in pyproject.toml
	@PATH="$$PATH:$(CURDIR)/$(BIN)"; command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }; \
	uv lock && uv export --quiet --frozen --format requirements-txt --all-groups --no-emit-project --no-annotate \
	    --output-file requirements.lock

$(STAMP): pyproject.toml uv.lock requirements.lock
	@rm -f $@
	@echo "building .venv (a minute or two the first time) ..."
	@if command -v uv >/dev/null && $(SYNC); then :; else $(MAKE) --no-print-directory venv-with-pip; fi
	@touch $@

# An environment that works is kept. pip fetches uv, which the lock pins too and which is several times as fast with the
# rest; where uv reaches no index, as one that only pip is told of, pip installs what is missing or differs.
venv-with-pip:
	@for python in $(PYTHONS); do \
	    $$python $(NEW_ENOUGH) 2>/dev/null || continue; \
	    { $(BIN)/python $(NEW_ENOUGH) && $(BIN)/python -m pip --version; } >/dev/null 2>&1 \
	        || $$python -m venv --clear .venv || exit 1; \
	    sed -n '/^uv==/,/[^\\]$$/p' requirements.lock | $(PIP) --require-hashes --requirement /dev/stdin \
	        && PATH="$(CURDIR)/$(BIN):$$PATH" && $(SYNC) --inexact && exit; \
	    $(PIP) --require-hashes --requirement requirements.lock && $(PIP) --no-deps --editable .; \
	    exit; \
	done; \
	echo "holdfast needs Python 3.11 or newer, and none was found as: $(PYTHONS)." >&2; \
	echo "Install one, or name it: make venv PYTHON=/path/to/python3.12" >&2; \
	exit 1
