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

# Above them in Pulumi.yaml are those that stacks share.
SETTINGS = Pulumi.$(STACK).yaml
TOOLCHAIN = $(PYTHON) -m toolchain
LAB = $(PYTHON) -m lab
IN_ENV = . .toolchain/env &&
PULUMI = $(IN_ENV) pulumi --non-interactive
# For stacks that name the sandbox as their GitLab; to start it for nothing does no harm.
USES_SANDBOX = grep -Eqs "url['\"]?: *['\"]?sandbox(['\" ,}]|$$)" Pulumi.yaml $(SETTINGS)
START_SANDBOX = if $(USES_SANDBOX); then echo "== sandbox GitLab"; python -m lab up $(SANDBOX_ARGS); fi
IS_ON_CLUSTER = cat Pulumi.yaml $(SETTINGS) 2>/dev/null | grep -E "^[^\#]*target['\"]?:" | tail -n 1 | grep -q gke
# Another machine's engine needs none here, unless the sandbox is the GitLab.
HAS_REMOTE_ENGINE = { echo "docker_host: $$DOCKER_HOST"; cat Pulumi.yaml $(SETTINGS) 2>/dev/null; } | \
	grep -E "^[^\#]*docker_host['\"]?:" | tail -n 1 | grep -Eq "(ssh|tcp)://"
IS_ELSEWHERE = { $(IS_ON_CLUSTER) || { $(HAS_REMOTE_ENGINE); }; } && ! $(USES_SANDBOX)
# What an update that was killed left would be in the way of the next one.
RECOVER = $(TOOLCHAIN) recover $(STACK)
# Each is a connection of its own to an engine by SSH, and sshd refuses some above 10 (MaxStartups).
PARALLEL = --parallel 8
# The stack keeps that daemon until the next `make up`, which knows nothing of these settings.
NEXT_SETTINGS = .toolchain/Pulumi.$(STACK)-next.yaml
USE_NEXT_DAEMON = if $(IS_ON_CLUSTER) || ! $(USES_SANDBOX); then \
	echo "stack $(STACK) keeps its daemon: one of the next series is for stacks on this machine whose GitLab is the sandbox" >&2; exit 1; fi && \
	echo "== stack $(STACK) with a daemon of the next series, until the next make up" && \
	image=$$($(LAB) next-daemon) && cp $(SETTINGS) $(NEXT_SETTINGS) && $(IN_ENV) $(RECOVER) && \
	pulumi config set --stack $(STACK) --config-file $(NEXT_SETTINGS) --path gitlab-dind-runners:settings.daemon.image "$$image" && \
	pulumi --non-interactive up --yes $(PARALLEL) --stack $(STACK) --config-file $(NEXT_SETTINGS)
SAY = @echo "=="

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help up preview refresh outputs versions demo doctor down test lint clean stack ready destroy stop

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s%s\n", $$1, $$2}' Makefile

up: stack ## set up everything that is missing, then bring the stack up; safe to repeat
	$(SAY) "pulumi up of stack $(STACK)"
	@$(IN_ENV) $(RECOVER)
	@$(PULUMI) up --yes $(PARALLEL) --stack $(STACK)

preview: stack ## show what `make up` would change, and what of it violates a policy (docs/policy.md)
	$(SAY) "pulumi preview of stack $(STACK)"
	@$(PULUMI) preview --diff --policy-pack "$$DINDRUNNER_POLICY_PACK" $(POLICY_CONFIG:%=--policy-pack-config %) --stack $(STACK)

refresh: stack ## compare the stack's state with what is really there, and take that over
	$(SAY) "pulumi refresh of stack $(STACK)"
	@$(IN_ENV) $(RECOVER)
	@$(PULUMI) refresh --yes $(PARALLEL) --stack $(STACK)

outputs: ready ## print the stack's outputs as JSON
	@$(PULUMI) stack output --json --stack $(STACK)

versions: ready ## show the images' versions: default, set, and the newest that is known
	@$(IN_ENV) python -m tools versions --stack $(STACK)

demo: ready $(if $(DAEMON),$(SETTINGS)) ## run the sample project's pipeline twice, cold and warm; DAEMON=next: on a daemon of the next series
	@case "$(DAEMON)" in "");; next) $(USE_NEXT_DAEMON);; \
	*) echo "DAEMON is $(DAEMON): write DAEMON=next, or leave it out for the stack's own daemon" >&2; exit 1;; esac
	@$(IN_ENV) python -m lab demo $(ARGS)

doctor: ## show what is there, where it came from, and what is missing
	@$(LAB) doctor

down: ## destroy the stack; with the last one the sandbox goes, and an engine that was started here
	@if [ -e .toolchain/env ]; then $(MAKE) --no-print-directory destroy stop; else echo "nothing was set up here"; fi

test: ## run the tests; ARGS="-k word" chooses some
	$(SAY) "toolchain"
	@$(LAB) prepare
	$(SAY) "tests"
	@$(IN_ENV) python -m pytest $(ARGS)

lint: ## ruff and mypy
	@$(TOOLCHAIN) install
	@$(IN_ENV) ruff check . && ruff format --check . && mypy --strict

clean: ## remove .toolchain and .venv once all stacks are down; the shared cache stays
	@left=$$(find .toolchain/state -path '*/stacks/*.json' -exec basename {} .json \; 2>/dev/null); \
	if [ -n "$$left" ]; then echo "these stacks are still there, run make down STACK=<name> first (for a protected claim see docs/gke.md):" $$left >&2; \
	exit 1; fi
	rm -rf .toolchain .venv .mypy_cache .pytest_cache .ruff_cache

# What the targets above share.

stack: $(SETTINGS)
	$(SAY) "toolchain"
	@if $(IS_ELSEWHERE); then $(TOOLCHAIN) install; elif $(USES_SANDBOX); then $(LAB) prepare; else $(TOOLCHAIN) up; fi
	@if $(IS_ON_CLUSTER); then $(TOOLCHAIN) install --cluster; fi
	@$(IN_ENV) $(START_SANDBOX)
	@$(PULUMI) stack select --create $(STACK)

ready:
	@[ -e .toolchain/env ] || { echo "nothing is set up here yet: run make up" >&2; exit 1; }

# The sandbox has to answer, so that the runners can be taken out of it.
destroy:
	$(SAY) "pulumi destroy of stack $(STACK)"
	@$(IN_ENV) stacks=$$(pulumi stack ls --json) || exit 1; case "$$stacks" in \
	*'"name": "$(STACK)"'*) if ! { $(IS_ELSEWHERE); }; then $(TOOLCHAIN) engine up && $(START_SANDBOX); fi && \
		pulumi stack select $(STACK) && $(RECOVER) && kept=$$($(TOOLCHAIN) kept $(STACK)) && \
		pulumi --non-interactive destroy --yes --exclude-protected $(PARALLEL) --stack $(STACK) && \
		$(TOOLCHAIN) remove $(STACK) && \
		if [ "$$kept" ]; then echo "$$kept"; fi;; \
	*) echo "there is no stack $(STACK)";; esac

# A stack elsewhere has used neither, and another checkout may.
stop:
	@if $(IS_ELSEWHERE); then exit; fi; $(IN_ENV) stacks=$$(pulumi stack ls --json) || exit 1; case "$$stacks" in \
	*'"resourceCount": '[1-9]*) if $(TOOLCHAIN) is-up; then \
		echo "the sandbox and the engine stay, because another stack is still up (pulumi stack ls)"; exit; fi;; esac; \
	echo "== sandbox GitLab and Docker engine" && python -m lab down && $(TOOLCHAIN) engine down

Pulumi.%.yaml:
	@echo "there is no $@: copy Pulumi.dev.yaml and change its settings (docs/settings.md)" >&2; exit 1
