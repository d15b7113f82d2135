"""Measurement of loading: synthetic sources, and batches whose making is timed."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_pipelines.loading.encode import Encode
from data_pipelines.loading.sources import Mixture, Source
from experiments.benchmarks import synthetic
from fac_jax.audio.mel import HOP, RATE
from fac_jax.batching.grid import windows_of
from fac_jax.batching.loaded import Loaded
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.batching.packing import Budget
from fac_jax.progress import shown
from fac_jax.text.tokenizer import Tokenizer

SKIPPED = 2  # batches before the first one that counts: they fill buffers
SPARE = 1.1  # room for encoder windows, times what full rows need on average


@dataclass
class Measured:
    """Totals of some batches.

    Attributes:
      seconds: wall time.
      cpu_seconds: processor time of this process, all threads.
      waited: seconds spent waiting for the next batch.
      rows: records in the batches.
      heard: seconds of audio that were decoded and transformed.
      audio: seconds of audio, heard and spoken.
      tokens: LLM positions that are not padding.
      positions: LLM positions.
      window_frames: mel frames that the encoder windows have room for.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    waited: float = 0.0
    rows: int = 0
    heard: float = 0.0
    audio: float = 0.0
    tokens: int = 0
    positions: int = 0
    window_frames: int = 0

    def add(self, loaded: Loaded) -> None:
        """Adds a batch to the totals."""
        batch: Any = loaded.batch
        self.rows += len(loaded.row_ids)
        self.heard += float(np.sum(batch.mel_lengths)) * HOP / RATE
        self.audio += loaded.audio_seconds
        self.tokens += loaded.tokens
        self.positions += batch.segment_ids.size
        self.window_frames += batch.mel_windows.shape[0] * batch.mel_windows.shape[1]


def synthetic_stream(tokenizer: Tokenizer, model: ModelGrid, rows: int = 96) -> Mixture:
    """Returns an endless stream of synthetic conversations, which are decoded and encoded when they are needed."""
    records = synthetic.records(rows, model.units)
    make = Encode(tokenizer, model)
    items = [make(record, 0) for record in records]
    length = np.array([len(item) for item in items], np.int32)
    windows = np.array([sum(windows_of(mel, model.audio.n_window) for mel in item.mels) for item in items], np.int32)
    return Mixture({"noise": Source(records, make, length, windows)}, {"noise": 1.0}, seed=0)


def budget(stream: Mixture, rows: int, seq_len: int) -> Budget:
    """Returns the shapes of batches of a stream, with as many encoder windows as its full rows need."""
    (source,) = stream.sources.values()
    filled = math.ceil(SPARE * seq_len * source.windows.sum() / source.length.sum())
    return Budget(rows, seq_len, max(int(source.windows.max()), filled))


def measure(batches: Any, count: int, step: Callable[[Loaded], Any]) -> Measured:
    """Runs `step` on `count` batches and adds them up, after `SKIPPED` batches that do not count."""
    for _ in range(SKIPPED):
        step(next(batches))
    measured = Measured()
    start, start_cpu = time.perf_counter(), time.process_time()
    for _ in shown("batches")(range(count)):
        asked = time.perf_counter()
        loaded = next(batches)
        measured.waited += time.perf_counter() - asked
        step(loaded)
        measured.add(loaded)
    measured.seconds, measured.cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    return measured
