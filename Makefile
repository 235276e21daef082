# `make demo` and `make test` set everything up by themselves in .venv.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: demo demo-rerender test check lint quick-tests slow-tests mutants mutants-fast format fuzz bench bench-page docs wheel-test clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(READY)  ## edit the bundled clip with Tune-A-Video on the embedded model
	$(BIN)/videoedit demo

demo-rerender: $(READY)  ## edit it with Rerender-A-Video: key frames, then every frame
	$(BIN)/videoedit demo rerender

test: quick-tests slow-tests  ## the whole suite, a process for each core

check: lint quick-tests  ## what must pass before a push

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

quick-tests: $(READY)
	$(PYTEST) -m "not slow"

fuzz: $(READY)  ## N inputs as strangers might send them, of every kind, and a table
	PYTHONPATH=tests $(BIN)/python -m fuzz $(or $(N),20000)

slow-tests: $(READY)
	$(PYTEST) -m slow

mutants: $(READY)  ## plant every fault of tests/mutants, one at a time, and see whether the tests notice
	$(BIN)/python tests/mutants/run.py

mutants-fast: $(READY)  ## the third of them that CI plants
	$(BIN)/python tests/mutants/run.py --fast

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## speed and memory; results go to benchmarks/results
	for suite in attention tuneavideo inversion blend end_to_end; do $(BIN)/python benchmarks/bench_$$suite.py || exit 1; done
	$(BIN)/python benchmarks/page.py

bench-page: $(READY)  ## one page that plots every result
	$(BIN)/python benchmarks/page.py

docs: $(READY)  ## every figure in the documents, out of the result files
	$(BIN)/python benchmarks/documents.py

wheel-test:  ## the built wheel, in an empty environment, runs the smoke configs
	bash tests/packaging/wheel_smoke.sh

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
