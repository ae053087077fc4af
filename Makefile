# One command each: `make demo`, `make test`, `make torture`, `make bench`, `make lock`, `make lint`.
# uv is used when it is on the machine, pip otherwise. Every install is pinned with hashes by a committed lock.

SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
# Compiled bytecode halves the start of every process here; an inherited setting must not switch it off.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH
unexport VIRTUAL_ENV

# What an environment that was moved, or whose Python has gone, says of itself is not true any more.
STAMPS := $(VENV)/.runtime $(VENV)/.test $(VENV)/.bench
$(shell [ "$$(cat $(VENV)/.place 2>/dev/null)" = "$(CURDIR)" ] && $(PY) -c '' 2>/dev/null || rm -f $(STAMPS))

.PHONY: help demo test torture bench lock lint clean

help:
	@echo "make demo   the main job on recorded BTC/USDT bars: result on the terminal, report as HTML"
	@echo "make test   every test, with coverage"
	@echo "make torture  the large sizes of the reliability suites, with the table of what was injected and lost"
	@echo "make bench  the benchmarks, as tables with ratios"
	@echo "make lint   ruff"
	@echo "make lock   pin the dependencies of setup.py again"
	@echo "make clean  remove the virtual environment and the demo's data"

demo: $(VENV)/.runtime
	@$(VENV)/bin/cryptai demo

test: $(VENV)/.test
	@$(PY) -m pytest -n 2 --dist loadscope --cov --cov-report=term

torture: $(VENV)/.test
	@CRYPTAI_TORTURE=1 $(PY) -m pytest cryptai_pipelines_tests/torture

bench: $(VENV)/.bench
	@$(PY) -m benchmarks

lint: $(VENV)/.test
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

$(VENV)/.runtime: requirements.lock setup.py
	@sh bin/install $(VENV) requirements.lock && touch $@

$(VENV)/.test: requirements-test.lock setup.py
	@sh bin/install $(VENV) requirements-test.lock && touch $@ $(VENV)/.runtime

$(VENV)/.bench: requirements-bench.lock setup.py | $(VENV)/.test
	@sh bin/install $(VENV) requirements-bench.lock sdnotify && touch $@ $(VENV)/.runtime $(VENV)/.test

lock:
	@sh bin/lock

clean:
	@rm -rf $(VENV) .cryptai install.log
