"""Preference pairs of the toy model, and trees that are equal."""

import jax
import numpy as np
from toy_training import MODEL, make_batch

from fac_jax.types import IGNORE, Params, PreferenceBatch


def pairs_of(seed: int, rows: int = 2) -> PreferenceBatch:
    """Pairs over the same windows; replies differ in their labels."""
    chosen = make_batch(seed, rows=rows)
    labels = np.where(chosen.labels == IGNORE, IGNORE, (chosen.labels + 7) % MODEL.vocab_size)
    rejected = chosen.replace(labels=labels)
    both = jax.tree.map(lambda a, b: np.stack([a, b], axis=1).reshape(-1, *a.shape[1:]), chosen, rejected)
    batch = both.replace(mel_windows=chosen.mel_windows, mel_lengths=chosen.mel_lengths)
    tasks = np.resize(np.array([[0], [3]], np.int32), (rows, 1))
    return PreferenceBatch(batch, tasks, np.zeros((2 * rows, 1, 2), np.float32))


def same(a: Params, b: Params) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)
