# `make` alone lists the targets. Everything lives in .venv inside this folder; nothing is installed outside of it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements/dev.txt setup.cfg 2>/dev/null | cksum | cut -d' ' -f1)
# A lock is complete: the resolver never asks the index what is newest, so a release of tomorrow cannot break set-up.
# Both Dockerfiles install their locks with the same two options.
INSTALL_LOCK := install --require-hashes --no-deps
UV_VERSION := 0.13.9
UV := $(VENV)/uv-$(UV_VERSION)/bin/uv
COMPILE_LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

.DEFAULT_GOAL := help
.PHONY: help install install-lock demo test test-cluster cluster-build bench-cluster cluster-up cluster-down cluster-status images lint format goldens lock bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv with everything that development needs

$(STAMP): requirements/dev.txt setup.cfg
	@echo "podtls: setting up $(VENV) (hash-locked packages; once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "podtls: Python 3.11 or newer is needed; say: make PYTHON=/path/to/python3.11" >&2; exit 69; }
	@$(PYTHON) -m venv $(VENV) || { echo "podtls: python3 has no venv module; on Debian: apt-get install python3-venv" >&2; exit 69; }
	@$(MAKE) --no-print-directory install-lock LOCK=dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-*
	@touch $@

install-lock: ## install requirements/LOCK.txt into the environment VENV: make install-lock LOCK=webhook VENV=/opt/podtls
	@$(BIN)/python -m pip $(INSTALL_LOCK) --quiet --disable-pip-version-check -r requirements/$(LOCK).txt
	@broken=$$($(BIN)/python -m pip check --disable-pip-version-check) || { echo "$$broken" >&2; \
	    echo "podtls: the packages of requirements/$(LOCK).txt do not fit together; compile the lock anew: make lock" >&2; exit 69; }

demo: $(STAMP) ## label a namespace and watch two pods speak mTLS, no cluster needed (KEEP=1, F=yours.yaml)
	@$(BIN)/python -m lab.demo $(if $(KEEP),--keep) $(if $(F),--filename '$(F)')

test: $(STAMP) ## unit and integration tests (real gunicorn, Nginx, TLS, DNS), with branch coverage
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile -m "not cluster and not node" $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=0

cluster-build: $(STAMP) ## build and cache Kubernetes, CoreDNS and the base image for the cluster tiers (once, about 8 minutes)
	@$(BIN)/python -m lab.cluster build

test-cluster: $(STAMP) ## both cluster tiers: real kube-apiserver, kubelet, containerd; what is missing is said and skipped
	@$(BIN)/python -m lab.cluster build || true
	$(BIN)/pytest -m "cluster or node" --numprocesses 2 --dist loadfile --timeout 600 $(PYTEST_ARGS)

cluster-up: $(STAMP) ## a real cluster on this machine with podtls and the example shop, to play with
	@$(BIN)/python -m lab.cluster up

cluster-down: $(STAMP) ## end it and remove all that it left
	@$(BIN)/python -m lab.cluster down

cluster-status: $(STAMP) ## which clusters there are, and what of them runs
	@$(BIN)/python -m lab.cluster status

images: ## build both images with docker, podman or buildah, whichever works here (BUILDER=, BUILD_ARGS=)
	@set -e; for tool in $(or $(BUILDER),docker podman buildah); do $$tool info >/dev/null 2>&1 && builder=$$tool && break; done; \
	test -n "$$builder" || { echo "podtls: none of docker, podman and buildah works here; on Debian: apt-get install buildah" >&2; exit 69; }; \
	version=$$($(PYTHON) -B -c 'from contract.names import VERSION; print(VERSION)'); \
	for image in init webhook; do \
	    $$builder build --file Dockerfile.$$image --tag localhost/podtls-$$image:dev --build-arg VERSION=$$version $(BUILD_ARGS) .; \
	done; \
	$$builder images | grep -E 'REPOSITORY|localhost/podtls-'

lint: $(STAMP) ## ruff, mypy strict, import-linter, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck injector/sidecar.sh .ci/run

format: $(STAMP) ## let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

goldens: $(STAMP) ## rewrite the golden files; review the diff like code
	$(BIN)/python -m tests.webhook.goldens
	$(BIN)/python -m tests.injector.goldens

bench: $(STAMP) ## measure: ratios side by side, interleaved (see docs/benchmarks.md)
	$(BIN)/python -m lab.bench

bench-cluster: $(STAMP) ## 500 pods through a real kube-apiserver, with and without the webhook
	@$(BIN)/python -m lab.bench cluster

# Not in the development environment: a lock that cannot be installed must not keep us from making a new one.
$(UV):
	@$(PYTHON) -m venv $(VENV)/uv-$(UV_VERSION)
	@$(@D)/python -m pip install --quiet --disable-pip-version-check --no-deps uv==$(UV_VERSION)

lock: $(UV) ## compile requirements/*.txt anew from setup.cfg and pyproject.toml; newer versions: make lock LOCK_ARGS=--upgrade
	@# Development has all of them, so it is resolved first; the others take their versions from it.
	$(COMPILE_LOCK) $(LOCK_ARGS) setup.cfg --group pyproject.toml:dev -o requirements/dev.txt
	$(COMPILE_LOCK) --constraint requirements/dev.txt setup.cfg -o requirements/webhook.txt
	$(COMPILE_LOCK) --constraint requirements/dev.txt --group pyproject.toml:init -o requirements/init.txt
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	    | $(COMPILE_LOCK) --constraint requirements/dev.txt - -o requirements/build.txt

clean: ## remove .venv and every cache of this folder
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
