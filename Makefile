# `make` trains on the default text, start to finish; `make test` checks everything fast. Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
SIDE_BY_SIDE := -n logical --maxprocesses 4
# two for each core, up to eight: kills, servers and `dvc repro` wait half of their time; a file stays with one of them
TWO_A_CORE = -n $(shell $(PYTHON) -c 'import os; print(min(8, 2 * (os.cpu_count() or 1)))') \
	--dist loadfile --no-loadscope-reorder

.PHONY: repro install dev test test-thorough test-services test-all test-slow test-export lint benchmarks ui clean
# an unpacked archive has no git, which DVC asks for unless it is told
repro: install
	@git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	dvc repro

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gptmodel needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	$(call installed,requirements.txt)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt pyproject.toml | $(BIN)/python
	$(call installed,requirements-dev.txt)
	@touch $(VENV)/.installed $@

$(VENV)/.installed-remote: requirements-remote.txt $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements-remote.txt
	@touch $@

$(VENV)/.installed-export: requirements-export.txt $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements-export.txt
	@touch $@

# pip compiles one file after the other, and would download setuptools a second time to build this project; the tests of
# the libraries are never imported, and some of their files are templates, which nobody can compile
define installed
	$(BIN)/python -m pip install --quiet --no-compile --requirement $(1)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -qq -j 0 -x '/site-packages/.*/tests/' $(VENV) || true
endef

test: dev
	python -m pytest $(SIDE_BY_SIDE)

test-thorough: dev
	python -m pytest $(TWO_A_CORE) -m thorough

# PostgreSQL and OpenSSH are the system's; what is not there is skipped, with its name
test-services: $(VENV)/.installed-remote
	python -m pytest $(TWO_A_CORE) -m services -r s

# the three above and the exports in one go: what waits and what computes side by side, and the libraries imported once;
# a failure is printed at once, and the fifth ends it: whoever ends a run that hangs has been told why
test-all: $(VENV)/.installed-remote $(VENV)/.installed-export
	python -m pytest $(TWO_A_CORE) --instafail --maxfail 5 -m 'not slow' -r s

test-slow: dev
	python -m pytest -m slow

# what only exports need stays out of the install
test-export: $(VENV)/.installed-export
	python -m pytest -m export

lint: dev
	ruff check .
	ruff format --check .
	mypy

# the libraries that are compared with stay out of .venv
benchmarks: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m benchmarks.all

$(VENV)-bench/.installed: requirements.txt requirements-bench.txt
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet -r requirements.txt -r requirements-bench.txt
	@touch $@

ui: install
	gptmodel ui

clean:
	rm -rf $(VENV) $(VENV)-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
