# make train   set up if needed, then train on the packaged digits (about two minutes)
# make test    set up if needed, then run the tests
# make test-slow      the slow tests, minutes each; make test-touched, those of the last change
# make docs    set up if needed, then build the site into site/
# make bench   set up if needed, then measure everything; on an otherwise idle machine
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs

# make test-checked   the quick tests, with shapes and types of every call checked
CHECKED := --jaxtyping-packages=holoprop,beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))

.PHONY: train test test-checked test-slow test-touched lint docs bench

train: $(READY)
	$(BIN)/holoprop train

# One process runs a file's tests, which share what is slow to make.
test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-checked: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile "$(CHECKED)"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-touched: $(READY)
	$(BIN)/python scripts/slow_tests.py

bench: $(READY)
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The notice that is silenced is about a version of MkDocs that the extra "docs" rules out.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Installed once, and again when the dependencies change.
$(READY): EXTRA := dev
$(DOCS): EXTRA := docs
$(READY) $(DOCS): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRA)]"
	touch $@
