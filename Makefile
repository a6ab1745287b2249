# The two commands of a fresh machine are `make demo` and `make test`; plain `make` lists the rest.
# Everything is installed into .venv. What is there already is not installed again: each step leaves a stamp named
# after the content of pyproject.toml and of the constraints: edited files install anew, unchanged ones cost nothing.

PYTHON ?= python3
INDEX ?=
CONSTRAINTS ?= constraints.txt
ARGS ?=
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

BIN := .venv/bin
# pip shows its progress to a person and stays quiet in a log; errors are shown in both.
QUIET := $(shell test -t 2 || echo --quiet)
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(QUIET) $(if $(INDEX),--extra-index-url $(INDEX)) \
	$(if $(CONSTRAINTS),-c $(CONSTRAINTS))

KEY := $(shell cat pyproject.toml $(CONSTRAINTS) | cksum | cut -d' ' -f1)
CORE := .venv/stamps/core-$(KEY)
DEV := .venv/stamps/dev-$(KEY)
FFCV := .venv/stamps/ffcv-$(KEY)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types tests fuzz chaos docs format core dev ffcv clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "PYTHON=python3.12  another interpreter (3.11 or newer) for .venv"
	@echo "INDEX=URL          one more package index, e.g. one with CPU builds of torch: PyPI's torch for Linux brings CUDA"
	@echo "CONSTRAINTS=       any versions that pyproject.toml admits, in place of the tested set in constraints.txt"
	@echo "ARGS='-k puzzle'   passed to pytest by \`make tests\` and \`make test\`"
	@echo "WORKERS=1          processes that run tests; as many as cores, 4 at most"

DEMO := demo demo-supervised demo-supervised_equal_cost

demo: $(CORE)  ## install the core, train the embedded recipe and its two baselines, print where the report is
	$(BIN)/hmtl train demo:supervised --resume
	$(BIN)/hmtl train demo:supervised_equal_cost --resume
	$(BIN)/hmtl train demo --resume
	$(BIN)/hmtl compare $(DEMO:%=runs/%)
	@echo "report: runs/demo/report.md"

test: ffcv lint types tests  ## install everything, then lint, types and tests: what CI runs

lint: $(DEV)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)  ## mypy --strict
	$(BIN)/mypy

tests: $(DEV)  ## pytest alone
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(ARGS)

fuzz: $(DEV)  ## damage what comes in by every door, 100,000 times; goes on where it was stopped
	$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(DEV)  ## kill, starve and damage every command; `make tests` does a little of it
	HMTL_CHAOS=1 $(BIN)/python -m pytest -n $(WORKERS) tests/chaos tests/loaders/test_memory.py $(ARGS)

docs: $(DEV)  ## build the documents as a site: build/site/index.html
	$(BIN)/mkdocs build --strict --quiet

format: $(DEV)  ## let ruff format, and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

core: $(CORE)  ## install what training needs

dev: $(DEV)  ## install the tools, DALI and the benchmark plugin too

ffcv: $(DEV)  ## install FFCV too where it can be built; says what is missing where it cannot
	@if [ ! -e $(FFCV) ] && .ci/install-ffcv $(PIP); then touch $(FFCV); fi

clean:  ## remove caches and build output; keeps .venv, data and runs
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

# `venv` makes python first and pip last: an interrupted or refused attempt has no pip and is made again.
$(BIN)/pip:
	@.ci/check-python $(PYTHON)
	$(PYTHON) -m venv .venv

# Upgraded first: `--group` came with pip 25.1.
$(CORE): | $(BIN)/pip
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) -e .
	@mkdir -p $(@D) && touch $@

$(DEV): $(CORE)
	$(PIP) -e '.[bench,dali,docs,export,faces,labels,mlflow]' --group dev
	@touch $@
