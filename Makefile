# All of it works with Python >= 3.11 and make alone, from a fresh clone.
#
#   make demo     talk to the poet in this terminal
#   make test     everything that CI runs
#   make lint     style, types and the direction of imports
#   make linters  get what checks the files in deploy/; else `make test` skips what needs them
#   make faults   kill things, and print what it cost; the long ones are only there
#   make soak     twice the load and a fault every few seconds, for SOAK_MINUTES=10
#   make audit    what is installed, as a list for machines, and what is known to be wrong with it
#   make hashes   write requirements.hashes anew after a change of requirements.lock
#   make clean    back to a fresh clone
#
# On Linux the usual index's torch brings gigabytes of CUDA. Where there is no GPU, name torch's own
# index of CPU wheels (see its installation page):
#
#   make test PIP_ARGS='--index-url ADDRESS --extra-index-url ADDRESS_OF_THE_USUAL_ONE'

PIP_ARGS ?=

# The oldest first: it is the one that the lock was made with.
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3 python
IS_FIT := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,$(CANDIDATES),\
	$(shell $(name) -c '$(IS_FIT)' >/dev/null 2>&1 && echo $(name))))

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --no-input --disable-pip-version-check install $(PIP_ARGS)
CACHES := .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.PHONY: demo test lint linters faults soak audit hashes clean

demo: .venv/compiled
	@$(BIN)/python -m bot console

test: lint
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m "not only_by_make_faults" --numprocesses=auto --dist=loadfile

lint: .venv/installed
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

linters: .venv/linters $(BIN)/promtool

faults: .venv/installed
	@$(BIN)/pytest tests/faults -s
	@$(BIN)/pytest tests/integration -s -m only_by_make_faults

soak: export SOAK_MINUTES ?= 10
soak: .venv/installed
	@OMP_NUM_THREADS=1 $(BIN)/pytest tests/faults/test_soak.py -s

# The list first: the database of vulnerabilities is asked over the network.
audit: .venv/installed build/audit/installed
	@build/audit/bin/cyclonedx-py environment .venv --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file build/sbom.cdx.json
	@echo 'build/sbom.cdx.json: what is in .venv, as CycloneDX'
	@build/audit/bin/pip-audit --strict --requirement requirements.lock --no-deps \
		--disable-pip

hashes: build/audit/installed
	@build/audit/bin/python deploy/hashes.py requirements.lock requirements.hashes

clean:
	rm -rf .venv $(CACHES) build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made anew whenever the lock changes, so that nothing old stays in it. What is downloaded has to be
# what was locked, to the byte. Torch comes last and alone: whatever wheel of it PIP_ARGS chooses
# finds what it needs of the lock there already.
.venv/installed: requirements.lock requirements.hashes
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or later, with venv, is needed' >&2; exit 1; }
	@echo 'Making .venv (once; torch is some hundred megabytes) ...'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes --requirement requirements.hashes
	@$(PIP) "$$(grep '^torch==' requirements.lock)"
	@touch $@

# Else the first poem would wait for it.
.venv/compiled: .venv/installed engine/kernels.py engine/tiles.py
	@echo 'Compiling what writes poems for this processor (once) ...'
	@$(BIN)/python -m engine compile >/dev/null
	@touch $@

build/audit/installed: deploy/audit.txt
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or later, with venv, is needed' >&2; exit 1; }
	@rm -rf build/audit
	@$(PYTHON) -m venv build/audit
	@build/audit/bin/python -m pip --quiet --no-input --disable-pip-version-check install \
		--requirement deploy/audit.txt
	@touch $@

.venv/linters: .venv/installed deploy/linters.txt
	@$(PIP) --constraint requirements.lock --requirement deploy/linters.txt
	@touch $@

$(BIN)/promtool: .venv/installed
	@deploy/promtool.sh $(BIN)
