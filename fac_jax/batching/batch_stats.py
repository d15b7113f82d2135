"""Batch statistics: counts on the host, from which `fac_jax/models/flops.py` computes FLOPs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from fac_jax.types import Batch, Kind


@dataclasses.dataclass(frozen=True, eq=False)
class BatchStats:
    """Counts of one forward pass. Leading axes of micro-batches are kept where rows are.

    Attributes:
      positions: LLM positions of every row.
      pairs: (query, key) pairs of the Shared LLM's attention.
      fine_pairs: pairs of the refined head's attention, whose positions are G times as many.
      groups: LLM positions that embed a group of speech tokens.
      features: LLM positions that embed continuous features.
      mel_frames: frames of the encoder's first convolution (100 Hz); these and the next two are 0 where the features
        are stored.
      frames: frames of its transformer (50 Hz).
      frame_pairs: pairs of its attention, which never crosses a window.
      audio_frames: frames that it gives (25 Hz).
      beside: those of the `features` that are beside the assistant's own streams.
    """

    positions: Int[np.ndarray, "*micro B"]
    pairs: Int[np.ndarray, "*micro B"]
    fine_pairs: Int[np.ndarray, "*micro B"]
    groups: int
    features: int
    mel_frames: int
    frames: int
    frame_pairs: int
    audio_frames: int
    beside: int = 0


def batch_stats(batch: Batch) -> BatchStats:
    """Counts what a batch in numpy, or several micro-batches, needs without padding and masked pairs of attention."""
    segments = np.asarray(batch.segment_ids)
    real = segments > 0
    seen = np.where(real, _places(segments) + 1, 0)  # keys at or before it in its segment
    group = batch.speech_ids.shape[-1]
    # A segment of n positions has n (n + 1) / 2 pairs, and Gn (Gn + 1) / 2 on the fine grid.
    positions, pairs = real.sum(axis=-1), seen.sum(axis=-1)
    heard, kind = np.asarray(batch.has_waveform) & real, np.asarray(batch.kind)
    beside = 0 if batch.beside is None else int(np.sum(np.asarray(batch.beside) & real))
    mel = np.asarray(batch.mel_lengths, np.int64)
    frames = (mel + 1) // 2
    encoded = batch.features is None
    return BatchStats(
        positions=positions,
        pairs=pairs,
        fine_pairs=(group**2 * (2 * pairs - positions) + group * positions) // 2,
        groups=int(np.sum(real & ~heard & (kind != Kind.TEXT))),
        features=int(np.sum(heard)) + beside,
        mel_frames=encoded * int(mel.sum()),
        frames=encoded * int(frames.sum()),
        frame_pairs=encoded * int((frames**2).sum()),
        audio_frames=int(((frames + 1) // 2).sum()),
        beside=beside,
    )


def _places(segments: Int[np.ndarray, "*micro B S"]) -> Int[np.ndarray, "*micro B S"]:
    """Counts the positions before each in its segment."""
    place = np.broadcast_to(np.arange(segments.shape[-1], dtype=np.int64), segments.shape)
    begins = np.diff(segments, axis=-1, prepend=-1) != 0
    return place - np.maximum.accumulate(np.where(begins, place, 0), axis=-1)


def dense_stats(batch: Any) -> BatchStats:
    """Counts what a dense program computes for the shapes of a batch: every position, and attention between all.

    Only shapes are read, so that a batch of `jax.ShapeDtypeStruct`s will do.
    """
    *rows, length = batch.text_ids.shape
    *parts, windows, mel_frames, _ = batch.mel_windows.shape
    group, count = batch.speech_ids.shape[-1], int(np.prod(rows))
    windows, frames = int(np.prod(parts)) * windows, mel_frames // 2  # none where features are stored
    return BatchStats(
        positions=np.full(rows, length),
        pairs=np.full(rows, length**2),
        fine_pairs=np.full(rows, (group * length) ** 2),
        groups=count * length,
        features=count * length if windows else 0,
        mel_frames=windows * mel_frames,
        frames=windows * frames,
        frame_pairs=windows * frames**2,
        audio_frames=windows * batch.window_frames,
        beside=count * length if windows and batch.beside is not None else 0,
    )


def causal_stats(stats: BatchStats, blocks: Sequence[int], group: int) -> BatchStats:
    """Counts what a causal kernel computes that works on blocks of positions and skips blocks that are masked.

    `stats` are those of `dense_stats`. Of the sizes `blocks`, in positions, the first one that divides a row is used.
    """

    def seen(length: np.ndarray) -> np.ndarray:
        block = next(size for size in blocks if not np.any(length % size))
        count = length // block
        return count * (count + 1) // 2 * block**2

    return dataclasses.replace(stats, pairs=seen(stats.positions), fine_pairs=seen(group * stats.positions))


def packed_stats(stats: BatchStats, tile: int, group: int, conversations: int = 1) -> BatchStats:
    """Counts what a causal kernel computes that works on tiles inside conversations and skips those that are masked.

    `stats` are those of `dense_stats`; rows hold so many conversations of equal lengths.
    """

    def seen(length: np.ndarray) -> np.ndarray:
        tiles = -(-length // (conversations * tile))
        return conversations * (tiles * (tiles + 1) // 2 * tile**2)

    return dataclasses.replace(stats, pairs=seen(stats.positions), fine_pairs=seen(group * stats.positions))


def full_stats(batch: Any, conversations: int = 1) -> BatchStats:
    """Counts what a full batch of these shapes needs: full windows, and rows of conversations of equal lengths."""
    stats, group = dense_stats(batch), batch.speech_ids.shape[-1]

    def seen(length: np.ndarray) -> np.ndarray:
        return length * (length // conversations + 1) // 2

    return dataclasses.replace(stats, pairs=seen(stats.positions), fine_pairs=seen(group * stats.positions))
