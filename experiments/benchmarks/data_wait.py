"""How much of a training step's time waits for data: recordings of noise, decoded and packed while the step runs.

    python -m experiments.benchmarks.data_wait [--preset=base] [--steps=3] [--workers=0] [--mel=host] [--json=out.json]

`base` takes a minute or two on two CPU cores.
"""

import dataclasses
from typing import Any

import jax
from absl import flags
from data_pipelines.loading.packed import load_packed

from data_pipelines.loading import synthetic
from data_pipelines.loading.throughput import check_json, made_up_sources, measure, packed_config, tell
from fac_jax import cli
from fac_jax.batching.loaded import Loaded
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.models.presets import PRESETS, preset
from fac_jax.parallel.kernels import training_kernels
from fac_jax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from fac_jax.training.stage import StageConfig
from fac_jax.training.state import init_state
from fac_jax.training.step import bind, make_step
from fac_jax.types import InputError

PRESET = flags.DEFINE_string("preset", "base", "Model.")
STEPS = flags.DEFINE_integer("steps", 3, "Steps to measure.", lower_bound=1)
ROWS = flags.DEFINE_integer("rows", 1, "Rows of a batch.", lower_bound=1)
SEQ_LEN = flags.DEFINE_integer("seq_len", 512, "LLM positions of a row.", lower_bound=512)
WORKERS = flags.DEFINE_integer("workers", 0, "Processes that make items.", lower_bound=0)
MEL = flags.DEFINE_enum("mel", "host", ["host", "device"], "Where log-mels are made.")
JSON = flags.DEFINE_string("json", None, "File that gets the figures.")


def wait(name: str, steps: int, rows: int, seq_len: int, workers: int, mel: str) -> dict[str, Any]:
    """Figures of some training steps of a preset on both losses, and of the time they waited.

    Raises:
      InputError: an unknown preset, or one whose codebook is not the made-up one's.
    """
    if name not in PRESETS or preset(name).units != synthetic.UNITS:
        known = [known for known in PRESETS if preset(known).units == synthetic.UNITS]
        raise InputError(f"--preset={name}: not measured here; known: {', '.join(known)}")
    tokenizer = synthetic.tokenizer()
    config = replace(preset(name), special=dataclasses.asdict(tokenizer.special_ids(synthetic.UNITS)))
    sources = made_up_sources(tokenizer, config, mel)
    shapes = packed_config(sources, rows, seq_len, config)
    packed = dataclasses.replace(shapes, mel=mel, workers=workers)  # pyright: ignore[reportArgumentType]
    batches = load_packed(sources, packed, config)

    stage = StageConfig("wait", steps=1000, optimizer=OptimizerConfig(peak=1e-3))
    schedule = make_schedule(stage.optimizer, stage.steps)
    optimizer = make_optimizer(stage.optimizer, schedule)
    objective = bind(stage.loss, FunAudioChat(config, training_kernels()))
    update = make_step(objective, optimizer, schedule, stage.trainable)
    state = init_state(jax.jit(lambda: init_params(config, jax.random.key(0)))(), optimizer, stage.trainable)

    def step(loaded: Loaded) -> None:
        nonlocal state
        state, metrics = update(state, loaded.batch)
        jax.block_until_ready(metrics)

    measured = measure(batches, steps, step)
    batches.close()
    return {
        "preset": f"{name}, {config.dtype}, {rows} x {seq_len}",
        "mel": mel,
        "workers": workers,
        "step seconds": (measured.seconds - measured.waited) / steps,
        "rows a step": measured.rows / steps,
        "audio seconds a step": measured.audio / steps,
        "packing fill": measured.tokens / measured.positions,
        "share of step time waiting": measured.waited / measured.seconds,
    }


def main() -> None:
    """The command."""
    check_json(JSON.value)
    figures = wait(PRESET.value, STEPS.value, ROWS.value, SEQ_LEN.value, WORKERS.value, MEL.value)
    tell("waiting for data", figures, JSON.value)


if __name__ == "__main__":
    cli.run(main)
