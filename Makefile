# `make` alone lists the targets. Everything lives in .venv inside this folder; nothing is installed outside of it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements/dev.txt setup.cfg 2>/dev/null | cksum | cut -d' ' -f1)
CODE := contract audit injector webhook ca podtls lab tests
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

.DEFAULT_GOAL := help
.PHONY: help install demo test test-cluster cluster-build bench-cluster cluster-up cluster-down cluster-status images lint format goldens lock bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv with everything that development needs

$(STAMP): requirements/dev.txt setup.cfg
	@echo "podtls: setting up $(VENV) (hash-locked packages; once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "podtls: Python 3.11 or newer is needed; say: make PYTHON=/path/to/python3.11" >&2; exit 69; }
	@$(PYTHON) -m venv $(VENV) || { echo "podtls: python3 has no venv module; on Debian: apt-get install python3-venv" >&2; exit 69; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: $(STAMP) ## label a namespace and watch two pods speak mTLS, no cluster needed (KEEP=1, F=yours.yaml)
	@$(BIN)/python -m lab.demo $(if $(KEEP),--keep) $(if $(F),--filename $(F))

test: $(STAMP) ## unit and integration tests (real gunicorn, Nginx, TLS, DNS), with branch coverage
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not cluster and not node" $(PYTEST_ARGS)
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

images: ## build both images with docker, podman or buildah, whichever works here
	@set -e; for tool in docker podman buildah; do $$tool info >/dev/null 2>&1 && builder=$$tool && break; done; \
	test -n "$$builder" || { echo "podtls: none of docker, podman and buildah works here; on Debian: apt-get install buildah" >&2; exit 69; }; \
	for image in init webhook; do \
	    $$builder build --file Dockerfile.$$image --tag localhost/podtls-$$image:dev $(BUILD_ARGS) .; \
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

lock: $(STAMP) ## compile requirements/*.txt anew from setup.cfg and pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) setup.cfg -o requirements/init.txt
	$(LOCK) setup.cfg --extra server -o requirements/webhook.txt
	$(LOCK) setup.cfg --extra server --group pyproject.toml:dev -o requirements/dev.txt

clean: ## remove .venv and every cache of this folder
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
