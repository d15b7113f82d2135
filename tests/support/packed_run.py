"""Packed batches of synthetic recordings for the tests of loading, also as a process of its own that can be killed.

    python tests/support/packed_run.py OUT COUNT [--host=0 --hosts=1 --workers=0 --state=FILE]

writes to OUT a line a batch, its ids and a digest of every leaf, and the state that the next batch follows from.
"""

import argparse
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.loading.loader import PackedBatches, Shares, WorkerConfig
from data_pipelines.loading.sources import Source, Stream, mixture_shares
from data_pipelines.loading.sources import mixture as mixed
from fac_jax.audio.mel import host_log_mel, mel_frames
from fac_jax.batching.collate import collate_packed
from fac_jax.batching.conversation import Turn
from fac_jax.batching.grid import Example, ModelGrid, lay_out
from fac_jax.batching.loaded import Loaded
from fac_jax.batching.packing import Budget
from fac_jax.text.chat import AudioPiece, TextPiece
from fac_jax.text.special_ids import SpecialIds

SPECIAL = SpecialIds(
    pad=0, eos=1, audio=2, audio_bos=3, audio_eos=4, sil=5, speech_bos=16, speech_eos=17, speech_pad=19
)


@dataclasses.dataclass(frozen=True)
class Grid:
    group_size: int = 5
    delay_groups: int = 2
    vocab_size: int = 40
    units: int = 16
    special: SpecialIds = SPECIAL
    n_window: int = 20
    mel_bins: int = 128
    duplex: None = None
    blocks: bool = False


GRID: ModelGrid = Grid()
BUDGET = Budget(rows=4, seq_len=96, windows_per_row=30)
WEIGHTS = {"spoken": 2.0, "written": 1.0}
SIZES = {"spoken": 46, "written": 23}
SEED = 5
ALL_ROWS, IN_PROCESS = Shares(), WorkerConfig()


@dataclasses.dataclass(frozen=True)
class Row:
    """A row that is decoded lazily: seconds of noise and words, from its number."""

    id: str
    seconds: float
    words: int


def made(row: Row, epoch: int) -> Example:
    """Noise that another epoch makes anew, then words."""
    rng = np.random.default_rng((epoch, len(row.id), int(row.seconds * 1e6)))
    words = TextPiece(tuple(int(i) for i in rng.integers(6, GRID.vocab_size, row.words)), True)
    if not row.seconds:
        return lay_out(row.id, [words], [], GRID)
    wave = (0.1 * rng.standard_normal(round(row.seconds * 16_000))).astype(np.float32)
    heard = Turn("user", wave=wave, mel=host_log_mel(wave))
    return lay_out(row.id, [AudioPiece(0, False, (), False), words], [heard], GRID)


def rows(name: str, count: int, spoken: bool) -> list[Row]:
    """Lengths are log-normal, as those of recordings are."""
    rng = np.random.default_rng(count)
    seconds = np.clip(rng.lognormal(0.0, 0.5, count), 0.2, 5.0) if spoken else np.zeros(count)
    words = np.clip(rng.lognormal(2.0, 0.6, count), 2, 60).astype(int)
    return [Row(f"{name}{i}", float(s), int(w)) for i, (s, w) in enumerate(zip(seconds, words, strict=True))]


def source(rows: list[Row]) -> Source:
    length = [len(made(row, 0)) for row in rows]
    frames = [mel_frames(round(row.seconds * 16_000)) if row.seconds else 0 for row in rows]
    windows = -(-np.array(frames) // (2 * GRID.n_window))
    return Source(rows, made, np.array(length, np.int32), windows.astype(np.int32))


def mixture(weights: dict[str, float] = WEIGHTS, seed: int = SEED) -> Stream:
    sources = {"spoken": source(rows("s", 46, True)), "written": source(rows("w", 23, False))}
    return mixed(sources, mixture_shares(weights, SIZES, None), seed)


def collate(packed: Any, budget: Budget, model: ModelGrid) -> Any:
    return collate_packed(packed, budget.rows, budget.seq_len, budget.windows, model)


def begin(
    shares: Shares = ALL_ROWS,
    config: WorkerConfig = IN_PROCESS,
    stream: Any = None,
    **changes: Any,
) -> PackedBatches:
    budget = dataclasses.replace(BUDGET, **changes)
    return PackedBatches(stream or mixture(), budget, GRID, collate, shares, config)


def digest(loaded: Loaded) -> str:
    """Of every leaf of the batch."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(loaded.batch):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def line(loaded: Loaded) -> dict[str, Any]:
    return {"ids": loaded.row_ids, "digest": digest(loaded)}


def lines(batches: Any, count: int) -> list[dict[str, Any]]:
    return [line(next(batches)) for _ in range(count)]


def ids(count: int) -> list[str]:
    """Ids of the mixture in its order."""
    stream = mixture()
    places = [stream.place(number) for number in range(count)]
    return [stream.sources[place.source].rows[place.row].id for place in places]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("count", type=int)
    for name, default in (("host", 0), ("hosts", 1), ("workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--state", type=Path)
    args = parser.parse_args()
    batches = begin(Shares(hosts=args.hosts, host=args.host), WorkerConfig(workers=args.workers))
    if args.state:
        batches.set_state(json.loads(args.state.read_text()))
    done: list[dict[str, Any]] = []
    for _ in range(args.count):
        done.append(line(next(batches)))
        beside = args.out.with_suffix(".part")
        beside.write_text(json.dumps({"done": done, "state": batches.get_state()}))
        os.replace(beside, args.out)
    batches.close()


if __name__ == "__main__":
    main()
