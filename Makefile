# Each target sets up what it needs in $(VENV), once: a second run installs nothing.
# Needed beforehand: Python 3.11 or later, git and make.
#
#   make demo ARGS="--backend trio"            the demo, with its options
#   make test ARGS="-k order"                  some of the tests
#   make test SLOW=1                           all of them, with those that take long
#   make test VENV=.venv-3.15 PYTHON=python3.15
#   make bench ARGS=--quick                    the benchmarks, small; all of them take ten minutes

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

python := $(VENV)/bin/python

# What pip installs for a target.
needs_demo := -e '.[trio,uvloop,rich]'
needs_test := -e '.[trio,uvloop,cli,plot,otel]' --group test
needs_check := -e '.[trio,uvloop,cli,plot,otel]' --group lint --group typing
needs_docs := -e . --group docs
needs_format := --group lint
needs_bench := -e '.[trio,uvloop]' --group bench
needs_predecessor := --group bench-predecessor

.PHONY: demo test check docs format bench clean
.NOTPARALLEL: # one pip at a time in one environment

demo: $(VENV)/.ready-demo
	$(python) examples/stdlib_census.py $(ARGS)

# With ARGS only a part of the tests runs, so the coverage is shown and not judged.
COVERAGE ?= --cov $(if $(strip $(ARGS)),--cov-fail-under=0)
# Without ARGS and without SLOW those that take long are left out.
SLOW ?=
selected := $(if $(strip $(SLOW)$(ARGS)),,-m 'not slow')
test: $(VENV)/.ready-test
	$(python) -m pytest -n auto $(COVERAGE) $(selected) $(ARGS)

check: $(VENV)/.ready-check
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m flake8 conveyor tests examples benchmarks
	$(python) -m mypy
	$(python) -m pyright --pythonpath $(python)
	$(python) -m pytest tests/project/test_layers.py

docs: $(VENV)/.ready-docs
	$(python) -m sphinx -W -n -b html docs docs/_build/html

format: $(VENV)/.ready-format
	$(python) -m ruff check --fix-only .
	$(python) -m ruff format .

# In an environment of its own, so that no peer has a say in what the tests run on. And one more for
# conveyor-streaming, whose package is called `conveyor` too.
bench:
	@$(MAKE) --no-print-directory VENV=$(VENV)-bench $(VENV)-bench/.ready-bench
	@$(MAKE) --no-print-directory VENV=$(VENV)-predecessor $(VENV)-predecessor/.ready-predecessor
	$(VENV)-bench/bin/python -m benchmarks --conveyor-streaming $(VENV)-predecessor/bin/python $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-bench $(VENV)-predecessor build dist docs/_build htmlcov .coverage .coverage.*
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find conveyor tests examples docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.ready-%: pyproject.toml | $(VENV)/.created
	$(python) -m pip install --quiet $(needs_$*)
	@touch $@

# --group came with pip 25.1.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Conveyor needs Python 3.11 or later, and $(PYTHON) is none: say which with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(python) -m pip install --quiet 'pip>=25.1'
	@touch $@

# Keep the stamps, which make takes for files in between.
.PRECIOUS: $(VENV)/.ready-%
