PYTHON ?= python3
PIP_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)
NATIVE := $(wildcard setup.py hsmm/native/*.cpp hsmm/native/*.hpp hsmm/native/*.h)

.PHONY: run test lint bench clean

run: $(VENV)/.package
	@$(BIN)/hsmm run configs/markets.toml

test: $(VENV)/.test
	@$(BIN)/python -m pytest -q

lint: $(VENV)/.test $(VENV)/.lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks.estep

clean:
	rm -rf $(VENV) build dist *.egg-info out mlflow.db mlartifacts spool .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 run")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "Installing PyTorch into $(VENV) (minutes, the first time)"
	@$(PIP) torch
	@touch $@

$(VENV)/.package: pyproject.toml $(NATIVE) $(VENV)/.torch
	@echo "Installing the package and what it needs into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.bench: $(VENV)/.%: $(VENV)/.package
	@echo "Installing what '$*' needs into $(VENV)"
	@$(PIP) --editable '.[$*]'
	@touch $@
