"""Packed batches of made-up recordings for the tests of loading, also as a process of its own that can be killed.

    python tests/support/packed_run.py OUT COUNT [--host=0 --hosts=1 --workers=0 --state=FILE]

writes a line a batch to OUT, its ids and a digest of every leaf, and beside it OUT.state, what follows it.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.loading.counts import Loaded
from data_pipelines.loading.packed import PackedConfig, load_packed
from data_pipelines.loading.sources import Source, mixed, shares
from fac_jax.audio.host_mel import host_log_mel, wave_frames
from fac_jax.batching.conversation import Turn
from fac_jax.batching.grid import Example, lay_out
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.parallel.shards import ALONE, HostShard
from fac_jax.text.chat import AudioPiece, TextPiece
from fac_jax.text.special_ids import SpecialIds

SPECIAL = SpecialIds(
    pad=0, eos=1, audio=2, audio_bos=3, audio_eos=4, sil=5, speech_bos=16, speech_eos=17, speech_pad=19
)


@dataclasses.dataclass(frozen=True)
class Audio:
    n_window: int = 20


@dataclasses.dataclass(frozen=True)
class Grid:
    group_size: int = 5
    delay_groups: int = 2
    vocab_size: int = 40
    units: int = 16
    special: SpecialIds = SPECIAL
    audio: Audio = Audio()


GRID: ModelGrid = Grid()
SEQ_LEN, ROWS, WINDOWS = 96, 2, 60
CONFIG = PackedConfig(ROWS, SEQ_LEN, WINDOWS, {"spoken": 2.0, "written": 1.0}, device_buffer=0, seed=5)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row that is decoded lazily: seconds of noise and words, from its number."""

    id: str
    seconds: float
    words: int


def made(row: Row, epoch: int, front: Callable[[np.ndarray], np.ndarray] = host_log_mel) -> Example:
    """Noise that another epoch makes anew, then words."""
    rng = np.random.default_rng((epoch, len(row.id), int(row.seconds * 1e6)))
    words = TextPiece(tuple(int(i) for i in rng.integers(6, GRID.vocab_size, row.words)), True)
    if not row.seconds:
        return lay_out(row.id, [words], [], GRID)
    wave = (0.1 * rng.standard_normal(round(row.seconds * 16_000))).astype(np.float32)
    return lay_out(row.id, [AudioPiece(0, False, (), False), words], [Turn("user", wave=wave, mel=front(wave))], GRID)


def rows(name: str, count: int, spoken: bool) -> list[Row]:
    """Lengths are log-normal, as those of recordings are."""
    rng = np.random.default_rng(count)
    seconds = np.clip(rng.lognormal(0.0, 0.5, count), 0.2, 5.0) if spoken else np.zeros(count)
    words = np.clip(rng.lognormal(2.0, 0.6, count), 2, 60).astype(int)
    return [Row(f"{name}{i}", float(s), int(w)) for i, (s, w) in enumerate(zip(seconds, words, strict=True))]


def sources() -> dict[str, Source]:
    return {"spoken": Source(rows("s", 46, True), made), "written": Source(rows("w", 23, False), made)}


def frames_instead(found: dict[str, Source]) -> dict[str, Source]:
    """The same items for mels that the device makes."""
    make = functools.partial(made, front=wave_frames)
    return {name: Source(source.rows, make) for name, source in found.items()}


def digest(loaded: Loaded) -> str:
    """Of every leaf of the batch."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(loaded.batch):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def line(loaded: Loaded) -> dict[str, Any]:
    return {"ids": loaded.row_ids, "digest": digest(loaded)}


def begin(share: HostShard = ALONE, **changes: Any) -> Any:
    config = dataclasses.replace(CONFIG, **changes)
    found = sources() if config.mel == "host" else frames_instead(sources())
    return load_packed(found, config, GRID, share=share)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("count", type=int)
    for name, default in (("host", 0), ("hosts", 1), ("workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--state", type=Path)
    args = parser.parse_args()
    batches = begin(HostShard(args.host, args.hosts), workers=args.workers)
    if args.state:
        batches.set_state(json.loads(args.state.read_text()))
    done: list[dict[str, Any]] = []
    for _ in range(args.count):
        done.append(line(next(batches)))
        beside = args.out.with_suffix(".part")
        beside.write_text(json.dumps({"done": done, "state": batches.get_state()}))
        os.replace(beside, args.out)
    batches.close()


SIZES = {"spoken": 46, "written": 23}


def lines(batches: Any, count: int) -> list[dict[str, Any]]:
    return [line(next(batches)) for _ in range(count)]


def ids(count: int) -> list[str]:
    """Ids of the mixture in its order."""
    names = {name: Source(source.rows, lambda row, epoch: row.id) for name, source in sources().items()}
    stream = mixed(names, shares(CONFIG.mixture, SIZES, None), CONFIG.seed)
    return [stream[i] for i in range(count)]


if __name__ == "__main__":
    main()
