# make demo   set up, speak a small corpus, train, score, write a page, and name it
# make test   set up, run every test
# make check  set up, lint, types and the fast tests (under 90 s once set up)
# make bench  the tables of speed and error against peers
# make docs   the site

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SET_UP := $(VENV)/set-up

.PHONY: setup demo test check types fast bench docs numbers clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

setup: $(SET_UP)

# torch first and alone: constraints.txt pins it, so that no later package asks for a build with CUDA.
$(SET_UP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'heschl needs Python 3.11 or newer: call make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[speak,cluster,tensorboard,parquet,baselines,brain,app,export,hf,test]'
	@touch $(SET_UP)

demo: $(SET_UP)
	$(BIN)/heschl demo

test: $(SET_UP)
	$(BIN)/python -m pytest --numprocesses 2

check: $(SET_UP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs 2 types fast

# Side by side: the last tests of a file keep one core busy, and the types the other.
types: $(SET_UP)
	$(BIN)/mypy

fast: $(SET_UP)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not slow'

bench: $(SET_UP)
	$(BIN)/python bench/all.py

docs: $(SET_UP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build  # not --quiet, which would not count its warnings
	@echo "the site: site/index.html"

clean:
	rm -rf $(VENV) build dist src/*.egg-info
