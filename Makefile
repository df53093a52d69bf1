# make quickstart: install, then train on a simulated feed.   make test: install, then the whole suite.
# make test-fast: the suite without tests marked slow.   make test-pythons: on other Pythons too.
# make hashes: requirements/ anew, from setup.py and constraints.txt.   make sbom: what is installed.
# make docs: the documents as a site, build/site/index.html.
# make screenshots: the README's picture of TensorBoard, anew, by a browser that is installed already.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PARALLEL := --numprocesses=logical --dist=loadfile --no-loadscope-reorder

# What pip installs has a hash here, also what it builds with: of packages, and of this project.
INSTALL := -m pip install --quiet --no-build-isolation
HASHED := --only-binary :all: --no-binary promise --require-hashes --requirement
THIS := --no-deps --editable .

TOOLS := build/tools
# Of each package the files of all Pythons and platforms that it has, so that one list serves all.
LOCK = $(TOOLS)/bin/uv pip compile --quiet --generate-hashes --no-annotate --python-version 3.11 \
	--universal --custom-compile-command "make hashes"

.PHONY: quickstart test test-fast test-pythons lint hashes sbom docs screenshots clean

quickstart: $(VENV)/installed
	$(BIN)/python -m lt4rec_tf.train --flagfile=configs/quickstart.cfg

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

# Of PYTHONS those that start here, each with an environment of its own.
PYTHONS ?= python3.12 python3.13

test-pythons:
	for python in $(PYTHONS); do \
		$$python --version 2> /dev/null || continue; \
		$(MAKE) test-fast PYTHON=$$python VENV=build/$$(basename $$python) || exit 1; \
	done

lint: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

hashes: $(TOOLS)/installed
	$(LOCK) requirements/build.in -c constraints.txt -o requirements/build.txt
	$(LOCK) setup.py -c constraints.txt -o requirements/run.txt
	$(LOCK) setup.py --extra test --extra serving -c constraints.txt -o requirements/test.txt
	$(LOCK) requirements/tools.in -o requirements/tools.txt
	$(LOCK) requirements/docs.in -o requirements/docs.txt

sbom: $(VENV)/installed $(TOOLS)/installed
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --output-file build/sbom.json $(BIN)/python

DOCS := build/docs
SITE := build/site_source

# Documents keep their places, so that links between them are right here, there and in the sources.
docs: $(DOCS)/installed
	rm -rf $(SITE) && mkdir -p $(SITE)
	cp -R *.md LICENSE docs configs export requirements $(SITE)
	find $(SITE) -name "*.py[co]" -delete
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo build/site/index.html

BROWSER ?= $(shell command -v chromium-headless-shell || command -v chromium || echo chromium)

screenshots: $(VENV)/installed
	$(BIN)/python -m lt4rec_tf.train --flagfile=configs/quickstart.cfg --run_dir=build/screenshots
	$(BIN)/python docs/screenshots.py --run=build/screenshots --picture=docs/images/tensorboard.png \
		--browser=$(BROWSER)

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py requirements/build.txt requirements/run.txt | $(BIN)/python
	$(BIN)/python $(INSTALL) $(HASHED) requirements/build.txt
	$(BIN)/python $(INSTALL) $(HASHED) requirements/run.txt
	$(BIN)/python $(INSTALL) $(THIS)
	touch $@

$(VENV)/installed-test: setup.py requirements/build.txt requirements/test.txt | $(BIN)/python
	$(BIN)/python $(INSTALL) $(HASHED) requirements/build.txt
	$(BIN)/python $(INSTALL) $(HASHED) requirements/test.txt
	$(BIN)/python $(INSTALL) $(THIS)
	touch $@ $(VENV)/installed

$(TOOLS)/installed $(DOCS)/installed: build/%/installed: requirements/%.txt
	$(PYTHON) -m venv build/$*
	build/$*/bin/python $(INSTALL) $(HASHED) $<
	touch $@
