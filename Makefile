# The only commands that a fresh clone needs: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
# uv does not read pip's configuration: hand over where pip looks for wheels, if anywhere.
FIND_LINKS = $(foreach place,$(shell $(BIN)/pip config get global.find-links 2>/dev/null) $(PIP_FIND_LINKS),--find-links $(place))

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup data demo test lint lock clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; name another with make PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(UV) install --quiet --compile-bytecode $(FIND_LINKS) --requirement requirements.lock
	$(UV) install --quiet --no-deps --editable .
	$(BIN)/python -m compileall -q parrot flows
	$(BIN)/python -m parrot.tracking
	touch $@

data: setup
	$(BIN)/parrot data

demo: data
	$(BIN)/python -m flows.pipeline

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lock:
	$(UV) compile --quiet --upgrade pyproject.toml --extra dev --python-version 3.11 --no-header \
		--no-emit-index-url --no-emit-find-links $(FIND_LINKS) --output-file requirements.lock
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.lock  # whichever build a machine gets

clean:
	rm -rf artifacts reports plots metrics .parrot mlflow.db mlruns
