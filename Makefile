# Every target takes STACK=<name>, which stands for the settings in Pulumi.<name>.yaml. `make` alone lists the targets.
STACK ?= dev
PYTHON ?= python3
ARGS ?=
# For example --port 9929 --registry-port 9005, where another sandbox has the usual ones; export it to keep it.
SANDBOX_ARGS ?=
# `next` for `make demo` on a daemon of the series after the default's.
DAEMON ?=
# Levels of the policies for `make preview`, for example policy/strict.json.
POLICY_CONFIG ?=

SETTINGS = Pulumi.$(STACK).yaml
TOOLCHAIN = $(PYTHON) -m toolchain
LAB = $(PYTHON) -m lab
IN_ENV = . .toolchain/env &&
PULUMI = $(IN_ENV) pulumi --non-interactive
# What an update that was killed left would be in the way of the next one.
RECOVER = $(IN_ENV) $(TOOLCHAIN) recover $(STACK)
# Each is a connection of its own to an engine by SSH, and sshd refuses some above 10 (MaxStartups).
PARALLEL = --parallel 8
SAY = @echo "=="

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help up preview refresh outputs versions demo doctor down test bench lint clean stack ready

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s%s\n", $$1, $$2}' Makefile

up: stack ## set up everything that is missing, then bring the stack up; safe to repeat
	$(SAY) "pulumi up of stack $(STACK)"
	@$(RECOVER)
	@$(PULUMI) up --yes $(PARALLEL) --stack $(STACK)

preview: stack ## show what `make up` would change, and what of it violates a policy (docs/use/policy.md)
	$(SAY) "pulumi preview of stack $(STACK)"
	@$(PULUMI) preview --diff --policy-pack "$$DINDRUNNER_POLICY_PACK" $(POLICY_CONFIG:%=--policy-pack-config %) --stack $(STACK)

refresh: stack ## compare the stack's state with what is really there, and take that over
	$(SAY) "pulumi refresh of stack $(STACK)"
	@$(RECOVER)
	@$(PULUMI) refresh --yes $(PARALLEL) --stack $(STACK)

outputs: ready ## print the stack's outputs as JSON
	@$(PULUMI) stack output --json --stack $(STACK)

versions: ready ## show the images' versions: default, set, and the newest that is known
	@$(IN_ENV) python -m tools versions --stack $(STACK)

demo: ready $(if $(DAEMON),$(SETTINGS)) ## run the sample project's pipeline twice, cold and warm; DAEMON=next: on a daemon of the next series
	@$(IN_ENV) python -m lab demo $(if $(DAEMON),--stack $(STACK) --daemon "$(DAEMON)") $(ARGS)

doctor: ## show what is there, where it came from, and what is missing
	@$(LAB) doctor

down: ## destroy the stack; with the last one the sandbox goes, and an engine that was started here
	@if [ ! -e .toolchain/env ]; then echo "nothing was set up here"; else \
	$(IN_ENV) python -m lab take-down $(STACK) $(SANDBOX_ARGS); fi

test: ## run the tests; ARGS="-k word" chooses some
	$(SAY) "toolchain"
	@$(LAB) prepare
	$(SAY) "tests"
	@$(IN_ENV) python -m pytest $(ARGS)

bench: ## measure speed on real parts (docs/use/performance.md); ARGS=--quick: once instead of ten times
	$(SAY) "toolchain"
	@$(LAB) prepare
	$(SAY) "measure"
	@$(IN_ENV) python -m bench $(ARGS)

lint: ## ruff and mypy
	@$(TOOLCHAIN) install
	@$(IN_ENV) ruff check . && ruff format --check . && mypy --strict

clean: ## remove .toolchain and .venv once all stacks are down; the shared cache stays
	@$(TOOLCHAIN) clean

# What the targets above share.

stack: $(SETTINGS)
	$(SAY) "toolchain"
	@$(LAB) prepare --stack $(STACK)
	@$(IN_ENV) python -m lab up --stack $(STACK) $(SANDBOX_ARGS)
	@$(PULUMI) stack select --create $(STACK)

ready:
	@[ -e .toolchain/env ] || { echo "nothing is set up here yet: run make up" >&2; exit 1; }

Pulumi.%.yaml:
	@echo "there is no $@: copy Pulumi.dev.yaml and change its settings (docs/use/settings.md)" >&2; exit 1
