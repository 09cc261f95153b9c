# `make demo` and `make test` are all a new user needs; both build .venv where it is missing.
PYTHON ?= python3.11
RUN := .venv/bin/python

.PHONY: demo test check format clean

demo: .venv/ready
	$(RUN) -m jobs.demo

SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

# Everything that needs no GPU: first what runs side by side, then what wants the machine for itself.
test: static
	$(RUN) -m pytest -m "not gpu and not integration" $(SIDE_BY_SIDE)
	$(RUN) -m pytest -m "not gpu and integration" --durations 30

# The part that takes three to six minutes.
check: static
	$(RUN) -m pytest -m "not gpu and not slow and not integration" $(SIDE_BY_SIDE)

.PHONY: static
static: .venv/ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: .venv/ready
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

# torch first and exactly: a range would bring a CUDA build of several GB.
.venv/ready: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints-cpu.txt torch==2.13.0
	.venv/bin/pip install --quiet --constraint constraints-cpu.txt --editable '.[cpu,dev]'
	touch $@

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
