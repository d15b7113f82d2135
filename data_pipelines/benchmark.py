"""How fast recordings become packed batches here: FLAC is decoded, log-mels are made, rows are packed and laid out.

    python -m data_pipelines.benchmark [--mel=device] [--workers=2] [--step_seconds=1] [--json=out.json]

It makes up noise of the lengths of conversations, so it needs no data. `experiments.data_wait` measures how long the
training step of a model waits.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from data_pipelines import made_up
from data_pipelines.grid import ModelGrid
from data_pipelines.lazy import Encode
from data_pipelines.loading import Loaded
from data_pipelines.packed_loading import PackedConfig, load_packed
from data_pipelines.packing import windows_for
from data_pipelines.sources import Source
from fac_jax import launch
from fac_jax.audio.mel import HOP, RATE
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

_ROWS = flags.DEFINE_integer("rows", 8, "rows of a batch", lower_bound=1)
_SEQ_LEN = flags.DEFINE_integer("seq_len", 2048, "LLM positions of a row", lower_bound=512)
_BATCHES = flags.DEFINE_integer("batches", 8, "batches to measure", lower_bound=1)
_MEL = flags.DEFINE_enum("mel", "host", ["host", "device"], "where log-mels are made; the device's are not waited for")
_WORKERS = flags.DEFINE_integer("workers", 0, "processes that make items", lower_bound=0)
_STEP = flags.DEFINE_float("step_seconds", 2.0, "training step that is imitated, by sleeping", lower_bound=0.0)
_JSON = flags.DEFINE_string("json", None, "file that gets the figures")

SKIPPED = 2  # batches before the first that counts: they fill buffers, and the device's mel is compiled


@dataclasses.dataclass
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
    return {"noise": Source(made_up.records(rows, model.units), encode)}


def packed_config(sources: Mapping[str, Source], rows: int, seq_len: int, model: ModelGrid) -> PackedConfig:
    """Packed batches of the sources in equal parts, with as many windows as they need."""
    items = [source.make(row, 0) for source in sources.values() for row in source.rows]
    return PackedConfig(
        rows, seq_len, windows_for(items, rows, seq_len, model.audio.n_window), dict.fromkeys(sources, 1)
    )


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


def benchmark(rows: int, seq_len: int, count: int, mel: str, workers: int, step_seconds: float) -> dict[str, Any]:
    """Throughput with nothing to wait for, then the share of an imitated step's time that waits.

    "Per core" goes by the processor time of this process, and by the wall clock of all cores where workers have it.
    """
    tokenizer, units = made_up.tokenizer(), made_up.UNITS
    model = made_up.Grid(tokenizer.vocab_size, tokenizer.special_ids(units))
    sources = made_up_sources(tokenizer, model, mel)
    config = dataclasses.replace(
        packed_config(made_up_sources(tokenizer, model, "device"), rows, seq_len, model),
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


def show(title: str, figures: Mapping[str, Any]) -> Table:
    """A row a figure."""
    table = Table(title, "")
    for name, value in figures.items():
        table.add_row(name, value if isinstance(value, str) else _short(name, value))
    return table


def _short(name: str, value: float) -> str:
    if name.startswith("share") or name.endswith("fill"):
        return f"{value:.1%}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """The command."""
    out = Path(_JSON.value) if _JSON.value else None
    if out and not out.parent.is_dir():
        raise InputError(f"--json={out}: {out.parent} is no folder")
    figures = benchmark(_ROWS.value, _SEQ_LEN.value, _BATCHES.value, _MEL.value, _WORKERS.value, _STEP.value)
    Console().print(show("packed loading", figures))
    if out:
        beside = out.with_name(f".{out.name}.part")
        beside.write_text(json.dumps(figures, indent=2) + "\n")
        beside.replace(out)


if __name__ == "__main__":
    launch.run(main, interrupted="nothing was written")
