# make quickstart: install, then train on a simulated feed.   make test: install, then the whole suite.
# make test-fast: the suite without tests marked slow.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PARALLEL := --numprocesses=logical --dist=loadfile --no-loadscope-reorder

.PHONY: quickstart test test-fast lint clean

quickstart: $(VENV)/installed
	$(BIN)/python -m lt4rec_tf.train --flagfile=configs/quickstart.cfg

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

lint: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,serving]'
	touch $@ $(VENV)/installed
