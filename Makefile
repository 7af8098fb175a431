# `make demo` and `make test` do all their own setup; `make help` lists the rest.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
# common.py and gpu_*.py are no benchmarks; start.py takes half an hour; gpu.py needs CUDA.
BENCHMARKS := $(filter-out %/common.py %/start.py,$(filter-out benchmarks/gpu%,$(wildcard benchmarks/*.py)))
DATA := runs/demo/shapes
RUN := runs/demo/alexnet_mini

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest test-newest lint types format lock bench bench-train bench-start gpu \
	generate check-generated clean soak fuzz
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) \
		| while IFS='|' read -r target text; do printf '%-16s %s\n' "$$target" "$$text"; done

$(INSTALLED): pyproject.toml constraints.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'specgen needs Python 3.11 or later: make PYTHON=...' >&2; exit 1; }
	@echo 'Installing into .venv, which takes a few minutes.'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-build-isolation --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(DATA): | $(INSTALLED)
	$(BIN)/specgen sample-data $@

demo: $(INSTALLED) $(DATA) ## from a spec to a trained network: build, show, verify, train
	@printf '\nBuild code from two specs, and show what is known before it runs.\n'
	$(BIN)/specgen build specs/alexnet.yaml specs/alexnet_mini.yaml
	$(BIN)/specgen show specs/alexnet.yaml
	@printf '\nRun the code and compare it with the plan.\n'
	$(BIN)/specgen verify specs/alexnet.yaml
	@rm -rf $(RUN) runs/demo/alexnet
	@printf '\nTake three steps with the full AlexNet. This only shows that it runs:\n'
	@printf 'three steps are far too few to learn anything.\n'
	$(BIN)/python generated/alexnet/train.py --data $(DATA) --output runs/demo/alexnet \
		--steps 3 --batch-size 16
	@printf '\nTrain the small network on drawn shapes; it takes a few minutes.\n'
	$(BIN)/python generated/alexnet_mini/train.py --data $(DATA) --output $(RUN)
	@awk -F, '$$3 == "val" { top1 = $$5 } \
		END { printf "\nDone. The small network has a validation accuracy of %s.\n", top1 }' \
		$(RUN)/metrics.csv
	@printf '%s\n' 'Its curves are in $(RUN)/curves.png.' '' 'What to do next:' '' \
		'  source .venv/bin/activate' \
		'  python generated/alexnet_mini/predict.py $(DATA)/val/star/000.jpg \' \
		'      --model $(RUN)/checkpoint.safetensors' \
		'  specgen show specs/alexnet_mini.yaml  # edit this spec, then build it:' \
		'  specgen build specs/alexnet_mini.yaml' '' \
		'docs/tutorial.md compares variants step by step; README.md has the other commands.'

test: lint types ## everything that CI runs
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

test-lowest: ## a short test with the lowest versions that pyproject.toml allows
	$(PYTHON) .ci/versions.py lowest $(TORCH)

test-newest: ## the same with the newest versions available
	$(PYTHON) .ci/versions.py newest $(TORCH)

soak: $(INSTALLED) ## 40 runs in two processes, 20 killed runs, 100 rounds of builds
	OMP_NUM_THREADS=1 SPECGEN_SOAK=40 $(BIN)/pytest tests/test_parallel.py -k cleanly
	OMP_NUM_THREADS=1 SPECGEN_SOAK=20 $(BIN)/pytest -s tests/test_kills.py
	SPECGEN_SOAK=100 $(BIN)/pytest tests/test_transaction.py

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet 'uv>=0.9,<1'

# pip requires a hash for every package or for none, and each index has its own builds of torch
# with their own hashes. So torch, and the CUDA libraries of some builds, are pinned without.
lock: | $(BIN)/uv ## pin the environment; UPGRADE=--upgrade takes the newest versions
	$(BIN)/uv pip compile --quiet $(UPGRADE) pyproject.toml --output-file constraints.txt
	$(BIN)/uv pip compile --quiet pyproject.toml --constraint constraints.txt --generate-hashes \
		$$(sed -nE 's/^(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==.*/--no-emit-package \1/p' \
			constraints.txt) \
		--output-file requirements-dev.txt

fuzz: $(INSTALLED) ## 20,000 mutated specs, and every field changed: each builds or is an error with its place
	OMP_NUM_THREADS=1 SPECGEN_FUZZ=20000 SPECGEN_FIELDS=0 $(BIN)/pytest -s tests/test_fuzz.py \
		tests/test_one_field.py
	OMP_NUM_THREADS=1 SPECGEN_GRAPHS=1000 $(BIN)/pytest tests/test_graphs.py

lint: $(INSTALLED) ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED) ## mypy --strict
	$(BIN)/mypy specgen tests $(wildcard benchmarks) .ci/versions.py

format: $(INSTALLED) ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## run the benchmarks, one after another
	@for bench in $(BENCHMARKS); do $(BIN)/python "$$bench" || exit 1; done

bench-train: $(INSTALLED) ## time a training step, handwritten and generated
	$(BIN)/python benchmarks/train.py

bench-start: $(INSTALLED) ## which initial weights let AlexNet learn; half an hour, on real photos
	$(BIN)/python benchmarks/start.py

gpu: $(INSTALLED) ## on a machine with a GPU: is the code right and fast there? ten minutes
	$(BIN)/python benchmarks/gpu.py

generate: $(INSTALLED) ## rebuild generated/ and the schema from specs/
	$(BIN)/specgen schema > specs/specgen.schema.json
	$(BIN)/specgen build specs

check-generated: $(INSTALLED) ## fail if generated/ is out of date
	$(BIN)/specgen build --check specs

clean: ## remove what is not in git: caches, runs and .venv
	rm -rf .venv runs build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
