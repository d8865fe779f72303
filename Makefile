# `make train` and `make test` prepare everything they need: all that must exist is make and Python 3.11, 3.12 or 3.13 with venv.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
ARGS ?=

.PHONY: setup train test test-all lint docs tutorials benchmark clean
setup: .venv/.installed

.venv/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "vae_lab needs Python 3.11, 3.12 or 3.13 with venv (Debian: apt-get install python3-venv); none was found."; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

train: setup
	$(BIN)/python -m vae_lab.train $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

test-all: setup
	$(BIN)/python -m pytest -m '' $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python -m website.pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html; with its search: $(BIN)/python -m http.server -d build/site"

# Runs the tutorials and writes their pages, which are committed.
tutorials: setup
	$(BIN)/python -m website.tutorials $(ARGS)

benchmark: setup
	$(BIN)/python -m benchmarks.speed $(ARGS)

clean:
	rm -rf .venv build dist
