# `make demo` and `make test` are all a new user needs; both build .venv where it is missing.
PYTHON ?= python3.11
RUN := .venv/bin/python

.PHONY: demo test check format clean

demo: .venv/ready
	$(RUN) -m jobs.demo

# Everything that needs no GPU.
test: static
	$(RUN) -m pytest -m "not gpu"

# The part that takes under three minutes.
check: static
	$(RUN) -m pytest -m "not gpu and not slow and not integration"

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
