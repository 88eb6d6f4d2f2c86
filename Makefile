# Two commands: `make demo` and `make test`. Each makes .venv from the pinned constraints if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOME_DIR ?= work
VARIANT ?= cpu

.PHONY: demo test test-slow check bench bench-mnist image clean

# Compiled at once: where PYTHONDONTWRITEBYTECODE is set, each process would compile torch and Ray again, in twice the time.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[test,server]'
	touch $@

# The whole pipeline on real handwriting that needs no download: prepare, train on two Ray workers, evaluate, publish.
demo: $(VENV)/installed
	$(BIN)/gan run digits workers=2 --home $(HOME_DIR)

# Two processes of one thread each, a file to one of them: what a module prepares is prepared once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(VENV)/installed
	$(PYTEST) -m "not slow"

# Those that start Ray's processes, kill them, or train for a while. In order: the files of tests/cluster, the longest, come
# first, and none of them is left over for one process at the end.
test-slow: $(VENV)/installed
	$(PYTEST) --no-loadscope-reorder --durations=20 -m slow

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Speed, as ratios measured side by side in one run.
bench: $(VENV)/installed
	$(BIN)/python -m tests.benchmarks

# Quality for time on MNIST against Ray's DCGAN example: some twenty minutes.
bench-mnist: $(VENV)/installed
	$(BIN)/python -m tests.benchmarks mnist

# The image of a cluster's parts; infra/README.md says what it is for.
image:
	docker build -f infra/Dockerfile --build-arg VARIANT=$(VARIANT) -t gan:$(VARIANT) .

clean:
	rm -rf $(VENV) build *.egg-info
