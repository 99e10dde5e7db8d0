# make demo   everything on this machine, the demo page on http://localhost:8080
# make test   lint, types, import contracts, then all tests
# Each sets up what it needs first, once. ARGS goes to what is run: make test ARGS="-k sessions".

ARGS ?=
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
PROJECT := pyproject.toml requirements/build.txt scripts/venv.sh

.PHONY: fuzz simulate demo test lint format wheel bench lock clean attacks chaos bites

demo: .venv/.runtime
	@exec .venv/bin/headgate dev $(ARGS)

test: .venv/.dev .venv/.debian
	@scripts/lint.sh
	@scripts/test.sh $(ARGS)

lint: .venv/.dev
	@scripts/lint.sh

format: .venv/.dev
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

attacks: .venv/.dev .venv/.debian
	@ATTACKS=full .venv/bin/python -m pytest tests/attacks -q -s --timeout=600

chaos: .venv/.dev .venv/.debian
	@exec .venv/bin/python -m tests.chaos.run $(ARGS)

bites: .venv/.dev .venv/.debian
	@.venv/bin/python -m pytest tests/chaos/test_bite.py tests/chaos/bites.py -q $(ARGS)

wheel: .venv/.dev
	@scripts/wheel.sh

fuzz: .venv/.dev
	@scripts/fuzz.sh

simulate: .venv/.dev
	@scripts/simulate.sh $(ARGS)

bench: .venv/.dev
	@scripts/bench.sh $(ARGS)

lock: .venv/.dev
	@scripts/lock.sh $(ARGS)

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: requirements/runtime.txt $(PROJECT)
	@scripts/venv.sh runtime

.venv/.dev: requirements/dev.txt $(PROJECT)
	@scripts/venv.sh dev

.venv/.debian: scripts/debian.sh | .venv/.dev
	@scripts/debian.sh
	@touch $@
