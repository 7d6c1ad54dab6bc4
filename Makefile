# Everything runs in .venv, which is made from pyproject.toml when it is first needed. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: demo test check kill-test bench clean help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check

# The first Python on the PATH that is new enough. `make PYTHON=/some/python3 …` decides otherwise.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c '$(NEW_ENOUGH)' 2>/dev/null && echo "$$each" && break; done)

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.runtime ## the whole pipeline on a made-up history, killed and resumed on the way (about a minute)
	@$(BIN)/backfill demo $(ARGS)

# Many tests wait for processes that they start and kill, so three at once keep two cores busy.
test: $(VENV)/.dev ## every test (minutes)
	@$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

check: $(VENV)/.dev ## format, lint, types and the rules of the house (under a minute)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict
	@$(BIN)/python -m pytest -o addopts="-q --strict-markers" tests/test_structure.py

kill-test: $(VENV)/.dev ## 200 times kill -9 at random moments, the result compared with the truth (a quarter of an hour)
	@$(BIN)/python -m tests.acceptance.kill_test $(ARGS)

bench: $(VENV)/.dev ## rates, engine speed, memory and start-up times, as a table
	@$(BIN)/python -m tests.acceptance.bench $(ARGS)

clean: ## remove the environment and every cache; data, checkpoints and logs stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	@find backfill tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { echo "make: $(PYTHON) is not Python 3.11 or newer" >&2; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "make: $(PYTHON) cannot make an environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# A stamp is what pyproject.toml said when it was installed, its settings of tools aside: as long as that is the same,
# nothing is installed again, and no network is needed.
WANTED := sed '/^\[tool\./,$$d' pyproject.toml

$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	@$(WANTED) | cmp -s - $@ || { echo "installing what it needs into $(VENV) (once; a minute or two)"; $(PIP) -e .; }
	@$(WANTED) > $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@$(WANTED) | cmp -s - $@ || { echo "installing what it and its tests need into $(VENV) (once; a minute or two)"; $(PIP) -e '.[dev]'; }
	@$(WANTED) > $@ && cp $@ $(VENV)/.runtime
