"""Lays examples out as one `Batch` of static shapes."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import DTypeLike

from fac_jax.batching.conversation import StoredFeatures
from fac_jax.batching.grid import Example, ModelGrid, windows_of
from fac_jax.types import NO_FRAME, Batch, InputError

GRID_FIELDS = ("text_ids", "kind", "speech_ids", "has_waveform", "frame_index", "labels", "speech_labels")
CALL_FIELDS = ("beside", "moments")


def collate(
    examples: Sequence[Example],
    rows: int,
    seq_len: int,
    windows: int,
    model: ModelGrid,
    features: int | None = None,
    dtype: DTypeLike = np.float16,
) -> Batch:
    """Lays every example out in its own row (`collate_packed`)."""
    return collate_packed([[example] for example in examples], rows, seq_len, windows, model, features, dtype)


def collate_packed(
    packed: Sequence[Sequence[Example]],
    rows: int,
    seq_len: int,
    windows: int,
    model: ModelGrid,
    features: int | None = None,
    dtype: DTypeLike = np.float16,
) -> Batch:
    """Lays the examples of a row out one after the other, each a segment whose positions start at 0.

    The remaining rows, positions and windows are padding.

    Args:
      packed: the examples of every row; at most `rows` rows.
      windows: W of the whole batch; they hold all audios one after the other.
      features: width of the stored features that the examples have in place of log-mels; None for log-mels.
      dtype: of these features.

    Raises:
      InputError: the examples exceed one of the three; says both numbers.
    """
    if len(packed) > rows:
        raise InputError(f"{len(packed)} examples do not fit a batch of {rows} rows")
    needed = sum(windows_of(mel, model.n_window) for row in packed for example in row for mel in example.mels)
    if needed > windows:
        raise InputError(f"a batch needs {needed} encoder windows, its budget is {windows}: raise `windows`")
    batch = Batch.padding(
        (rows, seq_len),
        (windows, 0 if features else 2 * model.n_window, model.mel_bins),
        group_size=model.group_size,
        pad=model.special.pad,
        speech_pad=model.special.speech_pad,
        duplex=model.duplex is not None,
        blocks=model.blocks,
    )
    if features:
        stored = np.zeros((windows, model.n_window // 2, features), dtype)
        batch = dataclasses.replace(batch, features=stored)
    window = 0
    for row, examples in enumerate(packed):
        start = 0
        for segment, example in enumerate(examples, 1):
            end = start + len(example)
            if end > seq_len:
                raise InputError(f"row {example.id}: takes {len(example)} LLM positions, the batch has {seq_len}")
            here = (row, slice(start, end))
            for name in GRID_FIELDS:
                getattr(batch, name)[here] = getattr(example, name)
            shifted = example.frame_index + window * (model.n_window // 2)
            batch.frame_index[here] = np.where(example.frame_index == NO_FRAME, NO_FRAME, shifted)
            batch.segment_ids[here] = segment
            batch.positions[here] = np.arange(len(example)) if example.positions is None else example.positions
            if example.beside is not None:
                if batch.beside is None:
                    raise InputError(f"row {example.id} is a call, which a model without `duplex` cannot take part in")
                for name in CALL_FIELDS:
                    getattr(batch, name)[here] = getattr(example, name)
            first = window
            for mel in example.mels:
                window = _fill_windows(batch, mel, window, model.n_window)
            if batch.mel_blocks is not None:
                batch.mel_blocks[first:window] = example.blocks
            start = end
    return batch


def side_by_side(parts: Sequence[Batch]) -> Batch:
    """Joins batches of one shape into a batch that has them as its `parts`: all rows, and all windows."""
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    frames = len(parts[0].mel_lengths) * parts[0].window_frames
    first = np.repeat(np.arange(len(parts)) * frames, len(parts[0].text_ids))
    moved = np.where(whole.frame_index == NO_FRAME, NO_FRAME, whole.frame_index + first[:, None, None])
    return dataclasses.replace(whole, frame_index=moved.astype(np.int32), parts=len(parts))


def _fill_windows(batch: Batch, mel: np.ndarray | StoredFeatures, first: int, n_window: int) -> int:
    """Writes one audio's log-mel `[M, bins]` into the windows from `first` on; returns the index of the next window."""
    size, count = 2 * n_window, windows_of(mel, n_window)
    if isinstance(mel, StoredFeatures):
        assert isinstance(batch.features, np.ndarray)
        batch.features[first : first + count] = mel.windows
    else:
        batch.mel_windows[first : first + count].reshape(-1, mel.shape[1])[: len(mel)] = mel
    batch.mel_lengths[first : first + count] = np.minimum(len(mel) - size * np.arange(count), size)
    return first + count


def least_shapes(examples: Sequence[Example], model: ModelGrid) -> tuple[int, int]:
    """Returns the least (seq_len, windows) of a batch that holds every example in a row of its own."""
    windows = sum(windows_of(mel, model.n_window) for example in examples for mel in example.mels)
    return max(map(len, examples)), windows
