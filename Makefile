# Each of these works in a fresh clone: it makes .venv first, with what it needs and no more.
#   make demo        train on 25,000 film reviews, then judge two sentences
#   make test        the fast tests, in two processes; WORKERS=0 runs them in one
#   make test-slow   the slow ones
#   make test-core   those of the core, which needs NumPy and llvmlite alone
#   make cross       a part of those on an emulated AArch64 processor, on Debian; CROSS=FILES for others
#   make lint        style, format and types
#   make dist        wheel and sdist, checked and tried in an environment of their own
#   make docs        the documents as a site, in build/site/html
#   make bench       the benchmarks; QUICK=--quick ends in two minutes
#   make clean       remove .venv and what runs left behind

PYTHON ?= python3
# Processes that the tests run in (7 and 8 minutes with two, 12 and 14 with one); 0: in pytest's own.
WORKERS ?= 2
BIN := .venv/bin
DEMO := runs/demo
GOOD := A wonderful film: the acting is superb, the story moves you, and I would happily watch it again.
BAD := What a waste of two hours. The plot makes no sense, the acting is awful, and I was bored from the start.

.PHONY: help demo test test-slow test-core cross lint dist docs bench clean announce-demo
.NOTPARALLEL:

help:
	@sed -n 's/^#   //p' Makefile

demo: announce-demo .venv/installed-app,serve
	@rm -rf $(DEMO)
	$(BIN)/stepfold train imdb --out $(DEMO)
	$(BIN)/stepfold predict $(DEMO) "$(GOOD)" "$(BAD)"
	@echo
	@echo "Next, with the model in $(DEMO):"
	@echo "  $(BIN)/stepfold watch $(DEMO) \"$(GOOD)\""
	@echo "  $(BIN)/stepfold serve $(DEMO)"
	@echo "  $(BIN)/stepfold export $(DEMO) $(DEMO).safetensors"

announce-demo:
	@echo "This sets up .venv (a few minutes the first time), trains an LSTM on the IMDB reviews (under a minute),"
	@echo "keeps it in $(DEMO), and then asks it about one good and one bad review."

test: .venv/installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not exhaustive"

test-slow: .venv/installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow

test-core: .venv/installed-test-core
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not exhaustive" @tests/core.txt

cross: .venv/bin/python
	$(BIN)/python tools/cross.py $(CROSS)

dist: .venv/installed-dist
	@rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tools/try_wheel.py dist

lint: .venv/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/installed-docs
	$(BIN)/python -m tools.website build/site

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks $(QUICK)

clean:
	rm -rf .venv build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The environment alone, as `make demo` needs it. A changed pyproject.toml installs again.
.venv: .venv/installed-app,serve

.venv/installed-%: pyproject.toml | .venv/bin/python
	@echo "Installing stepfold with what '$*' needs into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("stepfold needs Python 3.11 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
