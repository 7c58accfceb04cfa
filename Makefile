# Everything happens in .venv, made on first use; nothing has to be installed but Python 3.11 or newer.
#
#   make demo     the three scenarios, before and after the fix
#   make test     the test suite
#   make lint     ruff and mypy
#   make bench    guest speed and costs, against QEMU where it is installed
#   make bench-linux   boot Debian, and programs in it, against QEMU
#   make bench-campaign   runs a second of campaigns, with one worker and with two
#   make peers    the conformance suite and random testing against what is installed: the agent, OpenSBI and KVM on QEMU
#   make pictures   the pictures of README and docs, from real runs
#   make compiled compile the hot rooms (mypyc, a C compiler); `make pure` takes that back
#   make guests   rebuild the bundled payloads from guests/
#   make clean    remove .venv and everything that was built

VENV   := .venv
PYTHON := $(VENV)/bin/python
PIP    := $(PYTHON) -m pip --disable-pip-version-check --quiet install
# An editable install compiles nothing, and where PYTHONDONTWRITEBYTECODE is set every run would do it again.
COMPILE := $(PYTHON) -m compileall -q src/vpmu
JOBS   ?= auto
ARGS   ?=

.PHONY: demo test lint bench bench-linux bench-campaign peers pictures compiled pure guests clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(VENV)/bin/vpmu demo $(ARGS)

test: $(VENV)/.installed-dev
	@$(PYTHON) -m pytest -n $(JOBS) $(ARGS)

lint: $(VENV)/.installed-dev
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m mypy

bench: $(VENV)/.installed-dev
	@$(PYTHON) bench/build.py
	@$(PYTHON) bench/run.py $(ARGS)

bench-linux: $(VENV)/.installed-dev
	@$(PYTHON) bench/linux.py $(ARGS)

bench-campaign: $(VENV)/.installed-dev
	@$(PYTHON) bench/campaign.py $(ARGS)

peers: $(VENV)/.installed
	@$(VENV)/bin/vpmu conform -q --target agent
	@$(VENV)/bin/vpmu conform -q --random 10000 $(ARGS)
	@$(VENV)/bin/vpmu conform -q --target qemu
	@$(VENV)/bin/vpmu conform -q --random 300 --against qemu $(ARGS)
	@$(VENV)/bin/vpmu peers kvm
	@$(VENV)/bin/vpmu conform -q --target kvm
	@$(VENV)/bin/vpmu conform -q --random 300 --against kvm $(ARGS)

pictures: $(VENV)/.installed-dev
	@$(PYTHON) docs/pictures/make.py

compiled: $(VENV)/.installed-dev
	@$(PYTHON) hatch_build.py

pure:
	rm -rf src/vpmu/_compiled

guests: $(VENV)/.installed-dev
	@$(PYTHON) guests/build.py

clean:
	rm -rf $(VENV) build dist src/vpmu/_compiled bench/build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests guests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is new enough and can make a virtual environment: on PATH, then pyenv's.
define MAKE_VENV
for python in python3 python3.14 python3.13 python3.12 python3.11 \
              "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin/python3; do \
    "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
    echo "setting up $(VENV) with $$("$$python" --version)"; \
    "$$python" -m venv --clear $(VENV) && exit 0; \
    rm -rf $(VENV); exit 1; \
done; \
echo "vpmu needs Python 3.11 or newer with the venv module (Debian: apt-get install python3-venv); none found" >&2; \
exit 1
endef

$(PYTHON):
	@$(MAKE_VENV)

# The stamps: made again when the dependencies may have changed. `make demo` does without the developer's tools.
$(VENV)/.installed: pyproject.toml | $(PYTHON)
	@$(PIP) --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(PYTHON)
	@$(PIP) --editable '.[dev]'
	@$(COMPILE)
	@touch $(VENV)/.installed $@
