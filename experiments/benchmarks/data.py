"""Speed of loading: recordings of noise become packed batches, alone and next to a training step."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.augment.effects import coloured_noise
from data_pipelines.loading.encode import Encode
from data_pipelines.loading.loader import PackedBatches, WorkerConfig
from data_pipelines.loading.sources import Stream, items_as_source, mixture
from data_pipelines.prepare import flac
from data_pipelines.records.record import Audio, Message, Record
from experiments.benchmarks.train import OPTIMIZER, training_step
from fac_jax.audio.mel import HOP, RATE
from fac_jax.batching.grid import ModelGrid
from fac_jax.batching.loaded import Loaded
from fac_jax.batching.packing import Budget
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.losses import Sft
from fac_jax.models.config import ModelConfig, replace
from fac_jax.progress import shown
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.training.stage import StageConfig

SKIPPED = 2  # batches before the first one that counts: they fill buffers
SPARE = 1.1  # room for encoder windows, times what full rows need on average
WORDS = "what is heard and said here means nothing but it has the length of words that people speak to each other"
VOCABULARY = 400
SECONDS = (2.0, 30.0)  # of a turn
WORDS_A_SECOND = 2.5


@dataclasses.dataclass
class Measured:
    """Totals of some batches."""

    seconds: float = 0.0  # wall time
    cpu_seconds: float = 0.0  # of this process, all threads
    waited: float = 0.0  # seconds, for the next batch
    rows: int = 0  # records
    heard: float = 0.0  # seconds of audio that were decoded and transformed
    audio: float = 0.0  # seconds, heard and spoken
    tokens: int = 0  # LLM positions that are not padding
    positions: int = 0
    window_frames: int = 0  # mel frames that the encoder windows have room for

    def add(self, loaded: Loaded) -> None:
        """Adds a batch to the totals."""
        batch: Any = loaded.batch
        self.rows += len(loaded.row_ids)
        self.heard += float(np.sum(batch.mel_lengths)) * HOP / RATE
        self.audio += loaded.audio_seconds
        self.tokens += loaded.tokens
        self.positions += batch.segment_ids.size
        self.window_frames += batch.mel_windows.shape[0] * batch.mel_windows.shape[1]


def synthetic_stream(tokenizer: Tokenizer, model: ModelGrid, rows: int = 96) -> Stream:
    """Returns an endless stream of synthetic conversations, which are decoded and encoded when they are needed."""
    found = records(rows, model.units)
    make = Encode(tokenizer, model)
    sizes = items_as_source([make(record, 0) for record in found], model.n_window)
    return mixture({"noise": dataclasses.replace(sizes, rows=found, make=make)}, {"noise": 1.0}, seed=0)


def budget(stream: Stream, rows: int, seq_len: int) -> Budget:
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


def records(count: int, units: int, seed: int = 0) -> list[Record]:
    """Returns records of one question, pink noise as FLAC bytes, and one spoken reply of random tokens.

    The lengths of both are log-normal around 7 s, within `SECONDS`.
    """
    rng, noise = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))  # lengths are drawn apart
    words = WORDS.split()

    def speech() -> tuple[float, str]:
        seconds = float(np.clip(rng.lognormal(np.log(7.0), 0.6), *SECONDS))
        return seconds, " ".join(rng.choice(words, max(1, round(seconds * WORDS_A_SECOND))))

    found: list[Record] = []
    for number in range(count):
        (heard, _), (spoken, reply) = speech(), speech()
        wave = 0.1 * coloured_noise(round(heard * RATE), "pink", noise)
        tokens = rng.integers(0, units, int(spoken * TOKEN_RATE)).astype(np.int32)
        messages = (
            Message("user", audio=Audio(data=flac.encode(wave))),
            Message("assistant", reply, Audio(tokens=tokens)),
        )
        found.append(Record(f"noise{number}", None, messages, None, "synthetic", number + 1))
    return found


def make_tokenizer() -> Tokenizer:
    """Returns a tokenizer of at most `VOCABULARY` ids, trained on the words of the replies."""
    with tempfile.TemporaryDirectory() as folder:
        return train_tokenizer([WORDS], VOCABULARY, Path(folder) / "tokenizer.json")


@dataclasses.dataclass(frozen=True)
class Loading:
    """How batches are loaded and what consumes them; the options of `experiments.benchmark` describe the fields."""

    rows: int = 1
    seq_len: int = 512
    batches: int = 3
    workers: int = 0
    step_seconds: float | None = None


def data_figures(config: ModelConfig, loading: Loading) -> dict[str, float]:
    """Measures how fast batches are made when nothing waits, then the share of a step's time that waits for them.

    "per core" divides by the processor time of this process, or, with workers, by the wall time of all processes.
    """
    tokenizer = make_tokenizer()
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
