"""Batches whose log-mel the device makes: the host lays samples into windows, nothing else changes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fac_jax.audio.mel import BINS
from fac_jax.audio.window_mel import to_samples, window_log_mel
from fac_jax.batching.grid import Example
from fac_jax.batching.pairs import PairExample
from fac_jax.types import Batch, PreferenceBatch


@dataclasses.dataclass(frozen=True, eq=False)
class Heard:
    """What `window_mel.window_log_mel` takes; a leading axis of micro-batches where there are several."""

    samples: np.ndarray
    lengths: np.ndarray
    owners: np.ndarray


def heard(items: Sequence[Any], windows: int, n_window: int) -> Heard:
    """Samples of all items' audios, in the order in which `collate_packed` lays them.

    Args:
      items: their `mels` are `host_mel.wave_frames`.
      windows: W.
      n_window: half the mel frames of a window.
    """
    return Heard(*to_samples([frames for item in items for frames in item.mels], windows, 2 * n_window))


def stacked(parts: Sequence[Heard]) -> Heard:
    """Micro-batches as one."""
    return Heard(*(np.stack([getattr(p, field.name) for p in parts]) for field in dataclasses.fields(Heard)))


def silent(item: Any) -> Any:
    """The item with mels of its audios' lengths that hold nothing and take no memory."""
    if isinstance(item, PairExample):
        return dataclasses.replace(item, chosen=_silent(item.chosen), rejected=_silent(item.rejected))
    return _silent(item)


def _silent(example: Example) -> Example:
    blank = np.zeros((), np.float32)
    return dataclasses.replace(example, mels=tuple(np.broadcast_to(blank, (len(m), BINS)) for m in example.mels))


def with_mel(
    batch: Batch | PreferenceBatch, heard: Heard, place: jax.sharding.Sharding | None
) -> Batch | PreferenceBatch:
    """The batch on a device, its log-mel made there.

    Args:
      batch: of silent items.
      heard: what is heard in it.
      place: sharding of all leaves; None for the default device.
    """
    given = jax.device_put((heard.samples, heard.lengths, heard.owners), place)
    make = window_log_mel if heard.samples.ndim == 2 else jax.vmap(window_log_mel)
    mel = make(*given)
    if isinstance(batch, PreferenceBatch):
        rest = dataclasses.replace(batch, batch=dataclasses.replace(batch.batch, mel_windows=None))
        placed = jax.device_put(rest, place)
        return dataclasses.replace(placed, batch=dataclasses.replace(placed.batch, mel_windows=mel))
    placed = jax.device_put(dataclasses.replace(batch, mel_windows=None), place)
    return dataclasses.replace(placed, mel_windows=mel)
