# Every target makes the environment it needs and is quick where nothing changed.
# PYTHON=… picks the interpreter, ARGS=… goes to the program that is run.

export PYTHON
export TARGET := $(firstword $(MAKECMDGOALS))

environment := .ci/environment
python      := .venv/bin/python
pytest       = -m pytest -n 2 $(ARGS)
oldest      := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)"$$/\1/p' pyproject.toml)
newest      := 3.13
# Most peers have files for this one.
bench_python = $(if $(PYTHON),,$(shell .ci/find-python 3.11 >/dev/null 2>&1 && echo --python 3.11))

.PHONY: help demo test lint format test-oldest test-newest test-both smoke-oldest smoke-newest bench clean

help:
	@echo "make demo         train, interrupt, resume and compare a small network on real data"
	@echo "make test         the whole suite"
	@echo "make lint         ruff and pyright; make format applies what ruff can"
	@echo "make test-both    the suite on Python $(oldest) with the oldest versions allowed (test-oldest)"
	@echo "                  and on Python $(newest) with the newest there are (test-newest)"
	@echo "make bench        the benchmarks, against peers"
	@echo "make clean        remove environments and caches"

demo:
	@$(environment) .venv examples
	@echo "demo: train a small network on handwritten digits, end it half way, resume it, compare"
	@$(python) docs/examples/demo.py $(ARGS)

test:
	@$(environment) .venv dev
	@echo "test: the whole suite, on $$($(python) -V), in .venv"
	@$(python) $(pytest)

lint:
	@$(environment) .venv dev
	@echo "lint: ruff check, ruff format --check, pyright"
	@$(python) -m ruff check
	@$(python) -m ruff format --check
	@$(python) -m pyright --pythonpath $(python)

format:
	@$(environment) .venv dev
	@echo "format: what ruff can put right by itself"
	@$(python) -m ruff check --fix-only
	@$(python) -m ruff format

test-both: test-oldest test-newest

test-oldest: scope = the whole suite
test-newest: scope = the whole suite
smoke-oldest smoke-newest: scope = the smoke tests
smoke-oldest smoke-newest: pytest += -m smoke

test-oldest smoke-oldest:
	@$(environment) --python $(oldest) .venv-oldest dev lowest
	@echo "$@: $(scope), on Python $(oldest) with the lowest versions allowed, in .venv-oldest"
	@.venv-oldest/bin/python $(pytest)

test-newest smoke-newest:
	@$(environment) --python $(newest) .venv-newest dev newest
	@echo "$@: $(scope), on Python $(newest) with the newest versions, in .venv-newest"
	@.venv-newest/bin/python $(pytest)

bench:
	@$(environment) $(bench_python) .venv-bench all
	@.venv-bench/bin/python tests/benchmarks/install.py
	@.venv-bench/bin/python -m compileall -q framework
	@echo "bench: measure against peers, in .venv-bench"
	@.venv-bench/bin/python -m tests.benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
