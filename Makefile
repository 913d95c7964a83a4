# Everything starts from here: each target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-dev
BENCH_READY := $(VENV)/.ready-bench
FUZZ_READY := $(VENV)/.ready-fuzz

.PHONY: setup demo test real-libraries lint format bench fuzz sanitize clean

setup: $(READY)

# Without a C compiler the core is built with Zig's, from PyPI (scripts/with_compiler finds out).
$(READY): pyproject.toml CMakeLists.txt scripts/with_compiler $(wildcard native/*.[ch] native/python/*.[ch])
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	scripts/with_compiler $(BIN) $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check cmake ninja 'cffi>=1.16' 'nanobind>=2' 'pybind11>=2.12' setuptools
	touch $@

$(FUZZ_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	touch $@

demo: $(READY)
	$(BIN)/midflight demo

test: $(READY)
	scripts/with_compiler $(BIN) scripts/test $(BIN) $(ARGS)

# Libraries that nobody here wrote, into build/; the tests fetch them too.
real-libraries: $(READY)
	$(BIN)/python scripts/real_libraries

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	scripts/lint_c $(BIN)/python

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BENCH_READY)
	$(BIN)/python -m benchmarks $(ARGS)

# 10,000 damaged libraries, then Atheris on the readers.  FUZZ='--seed random' for others than the usual ones.
fuzz: $(FUZZ_READY)
	scripts/with_compiler $(BIN) $(BIN)/python -m tests.fuzz $(FUZZ)
	scripts/with_compiler $(BIN) $(BIN)/python -m tests.fuzz.guided

sanitize: $(READY)
	BIN=$(BIN) scripts/sanitize

clean:
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
