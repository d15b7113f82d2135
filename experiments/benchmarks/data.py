"""Speed of loading: recordings of noise become packed batches, alone and next to a training step."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax

from data_pipelines.loading.loader import PackedBatches, WorkerConfig
from experiments.benchmarks import synthetic
from experiments.benchmarks.step_program import OPTIMIZER, training_step
from experiments.benchmarks.throughput import budget, measure, synthetic_stream
from fac_jax.audio.mel import HOP, RATE
from fac_jax.losses import Sft
from fac_jax.models.config import ModelConfig, replace
from fac_jax.training.stage import StageConfig


@dataclasses.dataclass(frozen=True)
class Loading:
    """How batches are loaded and what consumes them.

    Attributes:
      rows: rows of a batch.
      seq_len: LLM positions of a row.
      batches: batches that are measured.
      workers: processes that make items.
      step_seconds: seconds of a training step that is imitated by sleeping; None trains the model.
    """

    rows: int = 1
    seq_len: int = 512
    batches: int = 3
    workers: int = 0
    step_seconds: float | None = None


def data_figures(config: ModelConfig, loading: Loading) -> dict[str, float]:
    """Measures how fast batches are made when nothing waits, then the share of a step's time that waits for them.

    "per core" divides by the processor time of this process, or, with workers, by the wall time of all processes.

    Args:
      config: model config; its vocabulary must hold the synthetic tokenizer's.
      loading: sizes, workers and the step.
    """
    tokenizer = synthetic.tokenizer()
    config = replace(config, special=dataclasses.asdict(tokenizer.special_ids(config.units)))
    stream = synthetic_stream(tokenizer, config)
    shapes, workers = budget(stream, loading.rows, loading.seq_len), WorkerConfig(loading.workers)
    batches = PackedBatches(stream, shapes, config, Sft().collate, config=workers)
    free = measure(batches, loading.batches, lambda loaded: None)
    batches.close()
    batches = PackedBatches(stream, shapes, config, Sft().collate, config=workers)
    stepped = measure(batches, loading.batches, _step(config, loading.step_seconds))
    batches.close()
    core_seconds = free.seconds * (loading.workers + 1) if loading.workers else free.cpu_seconds
    return {
        "rows/s": free.rows / free.seconds,
        "batches/s": loading.batches / free.seconds,
        "audio hours/hour": free.audio / free.seconds,
        "audio hours/hour/core": free.audio / core_seconds,
        "heard audio hours/hour/core": free.heard / core_seconds,
        "packing fill": free.tokens / free.positions,
        "window fill": free.heard * RATE / HOP / free.window_frames,
        "step seconds": (stepped.seconds - stepped.waited) / loading.batches,
        "share of step time waiting": stepped.waited / stepped.seconds,
    }


def _step(config: ModelConfig, seconds: float | None) -> Callable[[Any], None]:
    """Returns what consumes a batch: a training step of the model on both losses, or a sleep of some seconds."""
    if seconds is not None:
        return lambda loaded: time.sleep(seconds)
    update, fresh = training_step(config, StageConfig("wait", steps=1000, optimizer=OPTIMIZER), "auto")
    state = jax.jit(fresh)()

    def step(loaded: Any) -> None:
        nonlocal state
        state, metrics = update(state, loaded.batch)
        jax.block_until_ready(metrics)

    return step
