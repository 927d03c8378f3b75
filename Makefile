PYTHON ?= python3
PIP_FLAGS ?=
MINUTES ?= 10
PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000
SANITIZE ?= $(if $(filter x86_64,$(shell uname -m)),avx2,portable)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)
NATIVE := $(wildcard setup.py hsmm/native/*.cpp hsmm/native/*.hpp hsmm/native/*.h)

runtime = $(shell $(CXX) -print-file-name=$(1))
SANITIZED := ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=32 UBSAN_OPTIONS=print_stacktrace=1 HSMM_NATIVE_BUILD=_sanitized

.PHONY: run serve test lint docs bench bench-peers sanitize fuzz clean

run: $(VENV)/.package
	@$(BIN)/hsmm run configs/markets.toml

serve: $(VENV)/.package
	@$(BIN)/python -m flows.serve --prefect-port $(PREFECT_PORT) --mlflow-port $(MLFLOW_PORT) \
		$(if $(PREFECT_DATABASE),--prefect-database $(PREFECT_DATABASE)) $(if $(MLFLOW_DATABASE),--mlflow-database $(MLFLOW_DATABASE))

# Each process of the tests is one thread: there are as many as cores.
test: $(VENV)/.test
	@OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test $(VENV)/.lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "The site: site/index.html"

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks.run --suite cpu

bench-peers: $(VENV)/.bench
	@$(BIN)/python -m benchmarks.run --install
	@$(BIN)/python -m benchmarks.run --suite cpu --peers

# The runtimes come first, and with them the C++ library whose exceptions they watch.
sanitize: $(VENV)/.test
	@$(PIP) 'setuptools>=77'
	@HSMM_SANITIZE=$(SANITIZE) $(BIN)/python setup.py -q build_ext --inplace --force --build-temp build/sanitized
	@LD_PRELOAD='$(call runtime,libasan.so) $(call runtime,libubsan.so) $(call runtime,libstdc++.so)' $(SANITIZED) \
		$(BIN)/python -m pytest -q --capture=sys tests/hsmm/kernels tests/hsmm/inference tests/hsmm/components/test_elliptical_native.py \
			tests/hsmm/components/test_repeats.py tests/hsmm/components/test_duration_native.py \
			--deselect tests/hsmm/kernels/gpu
	@LD_PRELOAD='$(call runtime,libasan.so) $(call runtime,libubsan.so) $(call runtime,libstdc++.so)' $(SANITIZED) \
		HSMM_GPU_HOST_FLAGS='-g -fsanitize=address,undefined -fno-sanitize-recover=undefined' \
		$(BIN)/python -m pytest -q --capture=sys tests/hsmm/kernels/gpu/test_values.py \
			tests/hsmm/kernels/gpu/test_teams.py

fuzz: $(VENV)/.test
	@$(BIN)/python -m tests.fuzz_kernels --minutes $(MINUTES)

clean:
	rm -rf $(VENV) .bench build dist site *.egg-info out mlflow.db mlartifacts spool .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 run")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "Installing PyTorch into $(VENV) (minutes, the first time)"
	@$(PIP) torch
	@touch $@

$(VENV)/.package: pyproject.toml $(NATIVE) $(VENV)/.torch
	@echo "Installing what the package needs into $(VENV) and compiling its kernels (minutes, the first time)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.bench: $(VENV)/.%: $(VENV)/.package
	@echo "Installing what '$*' needs into $(VENV)"
	@$(PIP) --editable '.[$*]'
	@touch $@
