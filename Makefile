# `make` alone says what there is.
.DEFAULT_GOAL := help
.PHONY: help run test test-slow check bench admin-password lock clean prepare-run prepare-test

PY := .venv/bin/python
# Files of tests side by side: at most four of the fast ones; two of the slow ones, which start many processes each.
AT_ONCE ?= --numprocesses=auto --maxprocesses=4 --dist=loadfile
SLOW_AT_ONCE ?= --numprocesses=2 --dist=loadfile
TYPED := $(wildcard webapp agent garageswarm scripts benchmarks)

help:
	@echo "make run             start GarageSwarm and an agent on this machine (HOST, PORT, GSW_INSTANCE_PATH)"
	@echo "make admin-password  give the first administrator a new password, and print it"
	@echo "make test            the fast tests (PYTEST_ARGS='-k name')"
	@echo "make test-slow       the slow ones"
	@echo "make check           lint, format, types, architecture"
	@echo "make bench           measure it (BENCH_ARGS)"
	@echo "make lock            compile requirements*.in into requirements*.txt"
	@echo "make clean           remove .venv and caches; the database in instance/ stays"

# exec: signals reach the program itself, which ends with 0 on Ctrl-C.
run: prepare-run
	@exec $(PY) -m webapp.standalone

admin-password: prepare-run
	@exec $(PY) -m webapp.standalone admin-password

test: prepare-test
	@$(PY) -m pytest -m "not slow" $(AT_ONCE) $(PYTEST_ARGS)

test-slow: prepare-test
	@$(PY) -m pytest -m slow $(SLOW_AT_ONCE) $(PYTEST_ARGS)

check: prepare-test
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy $(TYPED)
	@$(PY) -m pytest -q tests/test_architecture.py

bench: prepare-test
	@exec $(PY) -m benchmarks $(BENCH_ARGS)

prepare-run prepare-test: prepare-%:
	@python=$$(sh scripts/find_python.sh) && exec "$$python" scripts/prepare.py $*

lock:
	@UPGRADE="$(UPGRADE)" sh scripts/lock_requirements.sh

clean:
	@rm -rf .venv static/vendor .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -not -path './instance/*' -exec rm -rf {} +
