# Everything one does with this tree. A bare machine needs python3.11, pip and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
ANSIBLE := build/ansible
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade)

# two workers on two cores; one test at a time, so that a worker with a long one is not handed more
PYTEST_WORKERS ?= auto
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
# what `make proof` runs; nightly: WORLDS=1-20000 CUTS=1000 SOAK_HOURS=1 FUZZ_S=120
WORLDS ?= 1-1000
CUTS ?= 200
SOAK_HOURS ?= 0.1
FUZZ_S ?= 20

# of an image, and the keys of those that only tests boot: make-keys writes none into the tree
IMAGE_VERSION := $(or $(VERSION),$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n1))
TEST_KEYS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/medxz-hub/test-keys

.PHONY: help setup run test check bench format lock clean sim plants cuts soak fuzz mutants proof deb image test-image bundle dist test-fleet test-fleet-rest

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## the environment, from the locks

# `pip --python` fills the environment from outside: so it needs no ensurepip, which Debian packages apart
$(STAMP): requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --require-hashes -r requirements/dev.txt
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: $(STAMP) ## a hub and two devices on loopback, telling what they do (ONCE=1: ends when all held)
	@$(BIN)/python -m hub.demo $(if $(filter 1,$(ONCE)),--once)

test: $(STAMP) ## all tests (PYTEST_ARGS='-k name' for some)
	@scripts/system-packages || echo 'make test: the tests that need what is missing will fail' >&2
	@$(BIN)/python -m pytest tests -n $(PYTEST_WORKERS) --dist loadgroup --maxschedchunk 1 -m "not proof and not fleet and not fleet_rest" $(PYTEST_ARGS)

check: $(STAMP) ## lint, format, types, import contract, tidiness
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/unit/test_tidiness.py

sim: $(STAMP) ## simulated worlds (SEEDS=1-1000, STEPS=30, JOBS=2); one that fails tells its seed and the steps that matter
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1-100) $(if $(STEPS),--steps $(STEPS)) $(if $(JOBS),--jobs $(JOBS))

plants: $(STAMP) ## each planted bug until the worlds catch it
	@$(BIN)/python -m tests.simulation.bugs

cuts: $(STAMP) ## power cuts of a real hub on a disk that loses what was not synced (CUTS=200)
	@$(BIN)/python -m tests.powercut --cuts $(CUTS)

soak: $(STAMP) ## a clinic at work for hours (HOURS=1), with faults; writes a page with plots under build/soak/
	@$(BIN)/python -m tests.soak --hours $(or $(HOURS),1)

fuzz: $(STAMP) ## bad input, counted per surface (FUZZ_S=60 seconds for each)
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S)

mutants: $(STAMP) ## do the tests notice changed code? (SINCE=commit, SAMPLE=300)
	@$(BIN)/python -m tests.mutants $(if $(SINCE),--since $(SINCE)) $(if $(SAMPLE),--sample $(SAMPLE))

proof: $(STAMP) ## everything of docs/proof.md but the mutants: worlds, planted bugs, power cuts, fuzzing, a soak
	@$(MAKE) --no-print-directory sim SEEDS=$(WORLDS)
	@$(MAKE) --no-print-directory plants
	@$(MAKE) --no-print-directory cuts
	@$(MAKE) --no-print-directory fuzz
	@$(BIN)/python -m pytest tests -n $(PYTEST_WORKERS) --dist loadgroup -m proof
	@$(MAKE) --no-print-directory soak HOURS=$(SOAK_HOURS)

bench: $(STAMP) ## the figures of docs/performance.md
	@scripts/system-packages || echo 'make bench: the figures that need what is missing will fail' >&2
	@$(BIN)/python -m bench

deb: $(STAMP) ## the package medxz-hub under build/deb/ (ARCH=amd64|arm64, PACKAGE=medxz-cloud for the other one)
	@firmware/tools || echo 'make deb: what is missing may be needed' >&2
	@$(BIN)/python -m firmware.deb $(if $(ARCH),--arch $(ARCH)) $(if $(PACKAGE),--package $(PACKAGE)) \
		$(if $(VERSION),--version $(VERSION))

# a hub's image knows its updates by KEYRING; `firmware/rauc/make-keys DIR` makes one. MIRROR=URL: packages from there
image: $(STAMP) ## what is written to a card or disk, under build/image/ (ARCH=amd64|arm64 KEYRING=FILE)
	@firmware/tools
	@$(BIN)/python -m firmware.deb --arch $(or $(ARCH),amd64) --version $(IMAGE_VERSION) --no-lintian
	@VERSION=$(IMAGE_VERSION) KEYRING=$(KEYRING) ONLY=$(ONLY) firmware/make-image $(or $(ARCH),amd64) \
		build/deb/medxz-hub_$(IMAGE_VERSION)_$(or $(ARCH),amd64).deb $(OUT)

test-image: $(STAMP) ## images of both kinds, made and booted in QEMU: first boot, updates, power cuts (half an hour on two cores)
	@test -e $(TEST_KEYS)/keyring.pem || firmware/rauc/make-keys $(TEST_KEYS)
	@$(BIN)/python -m tests.image --keys $(TEST_KEYS)

test-fleet: $(STAMP) $(ANSIBLE)/.stamp ## ansible/ linted; hubs and a cloud under a real systemd, provisioned and updated (15 minutes)
	@firmware/tools || echo 'make test-fleet: what is missing may be needed' >&2
	@$(BIN)/python -m pytest tests/fleet -p no:cacheprovider -m fleet --timeout 900 $(PYTEST_ARGS)

test-fleet-rest: $(STAMP) $(ANSIBLE)/.stamp ## what of a fleet is seen more rarely: PostgreSQL with a standby, a Debian 13
	@firmware/tools || echo 'make test-fleet-rest: what is missing may be needed' >&2
	@$(BIN)/python -m pytest tests/fleet -p no:cacheprovider -m fleet_rest --timeout 900 $(PYTEST_ARGS)

bundle: $(STAMP) ## a signed update (ROOT=rootfs.ext4 ARCH=arm64 VERSION=0.2.0 KEYS=DIR OUT=FILE.raucb): docs/updates.md
	@firmware/rauc/make-bundle --root $(ROOT) --arch $(ARCH) --version $(VERSION) --keys $(KEYS) --out $(OUT) \
		$(if $(FORMAT),--format $(FORMAT))

format: $(STAMP) ## put the code into shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# what an operator of a fleet works with, apart from our own environment: they share no library
$(ANSIBLE)/.stamp: requirements/ansible.txt | $(STAMP)
	@test -x $(ANSIBLE)/bin/python || $(PYTHON) -m venv --without-pip $(ANSIBLE)
	$(PYTHON) -m pip --python $(ANSIBLE)/bin/python install --quiet --require-hashes -r requirements/ansible.txt
	@touch $@

# KEYS=DIR, of firmware/rauc/make-keys, signs what hubs take as updates
dist: $(STAMP) $(ANSIBLE)/.stamp ## what a site is provisioned from, without internet: dist/ (VERSION=0.2.0 KEYS=DIR ARCH=amd64)
	@firmware/tools || echo 'make dist: what is missing may be needed' >&2
	@$(BIN)/python -m firmware.dist --galaxy $(ANSIBLE)/bin/ansible-galaxy $(if $(ARCH),--arch $(ARCH)) \
		$(if $(VERSION),--version $(VERSION)) $(if $(KEYS),--keys $(KEYS))

lock: $(STAMP) ## write requirements/*.txt anew (UPGRADE=1: newest versions)
	$(COMPILE) -o requirements/run.txt
	$(COMPILE) --group dev -c requirements/run.txt -o requirements/dev.txt
	$(subst compile pyproject.toml,compile,$(COMPILE)) --group wheels -o requirements/wheels.txt
	$(subst compile pyproject.toml,compile,$(COMPILE)) --group ansible -o requirements/ansible.txt

clean: ## remove what was made, the environment too
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
