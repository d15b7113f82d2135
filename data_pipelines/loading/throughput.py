"""What the benchmarks of loading share: made-up sources, batches that are timed, a table of figures."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from data_pipelines.loading import synthetic
from data_pipelines.loading.encode import Encode
from data_pipelines.loading.packed import PackedConfig
from data_pipelines.loading.sources import Source
from fac_jax.audio.mel import HOP, RATE
from fac_jax.batching.loaded import Loaded
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.batching.packing import windows_for
from fac_jax.io import write_text
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

SKIPPED = 2  # batches before the first that counts: they fill buffers, and the device's mel is compiled


@dataclass
class Measured:
    """What became of some batches.

    Attributes:
      seconds: wall clock.
      cpu_seconds: of this process, all threads.
      waited: seconds spent in `next`.
      rows: rows of the data set.
      heard: seconds of audio that were decoded and transformed.
      audio: seconds of audio, heard and spoken.
      tokens: LLM positions that are not padding.
      positions: LLM positions.
      window_frames: mel frames for which there is room.
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
        """Counts what is in a batch."""
        batch: Any = loaded.batch
        self.rows += len(loaded.row_ids)
        self.heard += float(np.sum(batch.mel_lengths)) * HOP / RATE
        self.audio += loaded.audio_seconds
        self.tokens += loaded.tokens
        self.positions += batch.segment_ids.size
        self.window_frames += batch.mel_windows.shape[0] * batch.mel_windows.shape[1]


def made_up_sources(tokenizer: Tokenizer, model: ModelGrid, mel: str, rows: int = 96) -> dict[str, Source]:
    """Made-up conversations, decoded and encoded when they are needed."""
    encode = Encode(tokenizer, model, mel=mel)  # pyright: ignore[reportArgumentType]  (one of two words)
    return {"noise": Source(synthetic.records(rows, model.units), encode)}


def packed_config(sources: Mapping[str, Source], rows: int, seq_len: int, model: ModelGrid) -> PackedConfig:
    """Packed batches of the sources in equal parts, with as many windows as they need."""
    items = [source.make(row, 0) for source in sources.values() for row in source.rows]
    windows = windows_for(items, rows, seq_len, model.audio.n_window)
    return PackedConfig(rows, seq_len, windows, dict.fromkeys(sources, 1.0))


def measure(batches: Any, count: int, step: Callable[[Loaded], Any]) -> Measured:
    """Runs `step` on so many batches, and on some before them that do not count."""
    for _ in range(SKIPPED):
        step(next(batches))
    measured = Measured()
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for _ in track(range(count), "batches", console=Console(stderr=True), transient=True):
        asked = time.perf_counter()
        loaded = next(batches)
        measured.waited += time.perf_counter() - asked
        step(loaded)
        measured.add(loaded)
    measured.seconds, measured.cpu_seconds = time.perf_counter() - begun, time.process_time() - begun_cpu
    return measured


def show(title: str, figures: Mapping[str, Any]) -> Table:
    """A row a figure."""
    table = Table(title, "")
    for name, value in figures.items():
        table.add_row(name, value if isinstance(value, str) else _short(name, value))
    return table


def check_json(file: str | None) -> None:
    """Raises InputError, before anything is measured, if the figures could not be written there."""
    if file and not Path(file).parent.is_dir():
        raise InputError(f"--json={file}: {Path(file).parent} is no folder")


def tell(title: str, figures: Mapping[str, Any], file: str | None) -> None:
    """Prints the figures, and writes them into a file where one is named."""
    Console().print(show(title, figures))
    if file:
        write_text(file, json.dumps(figures, indent=2) + "\n")


def _short(name: str, value: float) -> str:
    if name.startswith("share") or name.endswith("fill"):
        return f"{value:.1%}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
