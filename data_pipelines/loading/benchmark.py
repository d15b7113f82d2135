"""How fast recordings become packed batches here: FLAC is decoded, log-mels are made, rows are packed and laid out.

    python -m data_pipelines.loading.benchmark [--mel=device] [--workers=2] [--step_seconds=1] [--json=out.json]

It makes up noise of the lengths of conversations, so it needs no data.
`experiments.benchmarks.data_wait` measures how long the training step of a model waits.
"""

import dataclasses
import time
from typing import Any

from absl import flags

from data_pipelines.loading import synthetic
from data_pipelines.loading.packed import load_packed
from data_pipelines.loading.throughput import check_json, made_up_sources, measure, packed_config, tell
from fac_jax import cli
from fac_jax.audio.mel import HOP, RATE
from fac_jax.batching.model_grid import Grid

_ROWS = flags.DEFINE_integer("rows", 8, "rows of a batch", lower_bound=1)
_SEQ_LEN = flags.DEFINE_integer("seq_len", 2048, "LLM positions of a row", lower_bound=512)
_BATCHES = flags.DEFINE_integer("batches", 8, "batches to measure", lower_bound=1)
_MEL = flags.DEFINE_enum("mel", "host", ["host", "device"], "where log-mels are made; the device's are not waited for")
_WORKERS = flags.DEFINE_integer("workers", 0, "processes that make items", lower_bound=0)
_STEP = flags.DEFINE_float("step_seconds", 2.0, "training step that is imitated, by sleeping", lower_bound=0.0)
_JSON = flags.DEFINE_string("json", None, "file that gets the figures")


def benchmark(rows: int, seq_len: int, count: int, mel: str, workers: int, step_seconds: float) -> dict[str, Any]:
    """Throughput with nothing to wait for, then the share of an imitated step's time that waits.

    "Per core" goes by the processor time of this process, and by the wall clock of all cores where workers have it.
    """
    tokenizer, units = synthetic.tokenizer(), synthetic.UNITS
    model = Grid(tokenizer.vocab_size, units, tokenizer.special_ids(units))
    sources = made_up_sources(tokenizer, model, mel)
    config = dataclasses.replace(
        packed_config(sources, rows, seq_len, model),
        mel=mel,  # pyright: ignore[reportArgumentType]  (one of two words)
        workers=workers,
        device_buffer=0,
    )
    batches = load_packed(sources, config, model)
    free = measure(batches, count, lambda loaded: None)
    batches.close()
    ahead = load_packed(sources, dataclasses.replace(config, device_buffer=2), model)
    stepped = measure(ahead, count, lambda loaded: time.sleep(step_seconds))
    ahead.close()
    cores = free.seconds * (workers + 1) if workers else free.cpu_seconds
    return {
        "mel": mel,
        "workers": workers,
        "batch": f"{rows} x {seq_len}, {config.windows} windows of {2 * model.audio.n_window} mel frames",
        "rows/s": free.rows / free.seconds,
        "batches/s": count / free.seconds,
        "audio hours/hour": free.audio / free.seconds,
        "audio hours/hour/core": free.audio / cores,
        "heard audio hours/hour/core": free.heard / cores,
        "packing fill": free.tokens / free.positions,
        "window fill": free.heard * RATE / HOP / free.window_frames,
        "step seconds": step_seconds,
        "share of step time waiting": stepped.waited / stepped.seconds,
    }


def main() -> None:
    """The command."""
    check_json(_JSON.value)
    figures = benchmark(_ROWS.value, _SEQ_LEN.value, _BATCHES.value, _MEL.value, _WORKERS.value, _STEP.value)
    tell("packed loading", figures, _JSON.value)


if __name__ == "__main__":
    cli.run(main, interrupted="nothing was written")
