"""Prompts in pieces of few sizes, each of which has a program."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fac_jax.batching.collate import GRID_FIELDS, collate
from fac_jax.batching.conversation import StoredFeatures
from fac_jax.batching.grid import Example
from fac_jax.generation.turns import tail
from fac_jax.models.config import ModelConfig
from fac_jax.types import NO_FRAME, Batch


@dataclasses.dataclass(frozen=True)
class Piece:
    """Positions `start .. end` of a prompt, which run in the program of `size` positions."""

    start: int
    end: int
    size: int


def pieces(total: int, kept: int, sizes: Sequence[int], length: int) -> list[Piece]:
    """Divides a prompt of `total` positions, of which `kept` are there already, into pieces.

    A piece ends with a position that the next one runs again, since the refined head reads the ids that follow it.

    Args:
      sizes: of the programs, growing.
      length: positions of the caches, at least `total`; a program that would write behind them begins earlier.
    """
    found, start, most = [], kept, sizes[-1]
    while total - start > most:
        found.append(Piece(start, start + most, most))
        start += most - 1
    size = next(size for size in sizes if size >= total - start)
    return [*found, Piece(min(start, length - size), total, size)]


def continued(prompt: Example, forced: Sequence[int]) -> Example:
    """Returns a prompt with the first text ids of its reply, which stand as text behind the assistant's header."""
    if not forced:
        return prompt
    fields = {name: getattr(prompt, name) for name in GRID_FIELDS}
    more = {name: np.repeat(field[-1:], len(forced), axis=0) for name, field in fields.items()}
    more["text_ids"] = np.array(forced, np.int32)
    return dataclasses.replace(prompt, **{name: np.concatenate([fields[name], more[name]]) for name in fields})


def lay_out(prompt: Example, piece: Piece, config: ModelConfig) -> Batch:
    """Lays a piece out as a batch of one row.

    Every position has its G encoder frames in a window of its own, so that the number of windows follows from the
    number of positions. All audio of the prompt is encoded before.
    """
    count, group = piece.end - piece.start, config.group_size
    new = tail(prompt, piece.start, config)
    fields = {name: getattr(new, name)[:count] for name in GRID_FIELDS}
    index = fields["frame_index"]
    there = index != NO_FRAME
    fields["frame_index"] = np.where(there, np.arange(count * group).reshape(count, group), NO_FRAME).astype(np.int32)
    row = dataclasses.replace(new, **fields, mels=())
    batch = collate([row], 1, piece.size, 0, config)
    if config.user_audio == "tokens":
        return batch
    features = np.zeros((piece.size, group, config.audio.width), config.dtype)
    if there.any():
        windows = [mel.windows for mel in new.mels if isinstance(mel, StoredFeatures)]
        frames = np.concatenate(windows).reshape(-1, config.audio.width)
        features[:count][there] = frames[index[there]]
    return dataclasses.replace(
        batch,
        features=features,
        mel_windows=np.zeros((piece.size, 0, config.mel_bins), np.float32),
        mel_lengths=np.zeros(piece.size, np.int32),
    )
