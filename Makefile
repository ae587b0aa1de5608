# lucida: `make run` trains, measures and reports; `make test` tests; `make help` lists the rest.
#
# Needs Python 3.11+, make and git. Everything is installed into .venv, once; a second call skips what is done.

# The torch to install, and from where. An index address is used as it is; "default" is pip's own index; "auto" is the
# CPU build's index on Linux where that host answers (pip's own index holds CUDA builds there: several GB), else pip's own.
#   make run TORCH=torch==2.13.0 TORCH_INDEX=https://download.pytorch.org/whl/cu130
TORCH ?= torch==2.13.0
TORCH_INDEX ?= auto

# Python interpreters to try, in this order; processes for the tests; arguments for `lucida run` and for pytest.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
JOBS ?= 2
ARGS ?=
TESTS ?=

VENV := .venv
BIN := $(VENV)/bin

# A torch chosen by hand stays chosen: a later call without TORCH= keeps it.
torch_flag = $(if $(filter file,$(origin TORCH)),--default-torch,--torch) "$(TORCH)"
index_flag = $(if $(filter file,$(origin TORCH_INDEX)),,--torch-index "$(TORCH_INDEX)")
define set_up
@for python in $(PYTHON); do \
  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
    exec "$$python" tools/set_up.py $(VENV) $(torch_flag) $(index_flag) $(1); \
  fi; \
done; \
echo "lucida: Python 3.11 or newer is needed (tried: $(PYTHON)); install it (Debian, Ubuntu: sudo apt install python3 python3-venv) or name one with PYTHON=" >&2; \
exit 2
endef

.DEFAULT_GOAL := help
.PHONY: help run test check format install install-dev clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  options: ARGS="--split-seed 1" (for lucida run), TESTS="tests/core -x" (for pytest), JOBS=2, PYTHON=, TORCH=, TORCH_INDEX='

run: install  ## train a dual encoder and a multimodal LLM, measure them, write report.html
	@$(BIN)/lucida run $(ARGS)

# hypothesis' profile "ci": the same examples every time, and no deadline that a busy machine would miss
test: install-dev  ## all tests and doctests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --hypothesis-profile=ci $(TESTS)

check: install-dev  ## style, types and layers; each prints how much it looked at
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: install-dev  ## format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

install:
	$(call set_up)

install-dev:
	$(call set_up,--extra dev)

clean:  ## remove the environment and what was built (runs/ and .cache/ stay)
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
