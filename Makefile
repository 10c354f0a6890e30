# The same few commands for people and for continuous integration; `make help` prints them.
PYTHON ?= python3
OUT ?= runs/digits
PIP_FLAGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test quick format bench clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/installed  ## ten agents learn to read digits; goes on if it was stopped, OUT=folder
	$(BIN)/peerlearn run experiments/digits.toml --out $(OUT) --resume

test: .venv/installed  ## lint, types and tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto --dist worksteal

quick: .venv/installed  ## the tests but for those that take long, and those of processes
	$(BIN)/pytest --numprocesses auto --dist worksteal -m "not slow"

format: .venv/installed  ## put the code into the house's form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/installed  ## measure rounds against bare gradients
	$(BIN)/python benchmarks/run.py

clean:  ## remove what can be made again; runs/ stays
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is too old or missing; peerlearn needs Python 3.10 or newer: make PYTHON=..."; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; \
	  exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) \
	  -c constraints.txt -e '.[dev]'
	@touch $@
