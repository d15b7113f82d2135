"""Conversations of several turns: a prompt continues what a slot holds of it (docs/generation.md, "Several turns")."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fac_jax.batching.collate import GRID_FIELDS, collate
from fac_jax.batching.conversation import StoredFeatures
from fac_jax.batching.grid import Example, windows_of
from fac_jax.generation.engine import park, prefill
from fac_jax.generation.listening import with_features
from fac_jax.generation.slots import Decoding, Past, Request, Slots
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Batch, Kind, Params

LEAST = 16  # LLM positions of the shortest prompt program
CACHE = 256  # LLM positions of the shortest caches


@dataclasses.dataclass(frozen=True, eq=False)
class Parked:
    """A conversation whose last reply was made in a slot.

    Attributes:
      slots: the slot is one of these.
      at: place of the slot.
      example: the whole conversation, its last reply closed (`batching.generated`).
      prompt: LLM positions of the prompt of the last reply.
    """

    slots: Slots
    at: int
    example: Example
    prompt: int


def take_up(
    model: FunAudioChat,
    params: Params,
    prompt: Example,
    request: Request,
    decoding: Decoding,
    parked: Parked | None = None,
) -> Slots:
    """Runs the prompt of a conversation; only its new part where it continues what is parked.

    The reply is the same, whether the whole prompt is run or its new part: an edited or shortened past is known by its
    ids and log-mels, and run anew from there.

    Args:
      model: a model with `scan_layers=False`; model and parameters are those of `prepared.prepare`.
      request: how the one row replies.
      decoding: sizes and streams.
    """
    kept = 0 if parked is None else kept_positions(parked, prompt, model.config)
    new = tail(prompt, kept, model.config)
    size = _power(len(new), LEAST)
    past, length = None, _power(kept + size + decoding.max_steps, CACHE)
    if parked is not None and kept:
        length = max(length, parked.slots.caches[0].k.shape[-2])
        past = _past(parked, kept, length)
    return prefill(
        model,
        params,
        _batch(model, params, new, size),
        request,
        past,
        length=length,
        max_steps=decoding.max_steps,
        joint=decoding.stream == "joint",
        draws=decoding.draws,
    )


def _batch(model: FunAudioChat, params: Params, prompt: Example, size: int) -> Batch:
    """Lays a prompt out; where some of its audio is encoded already, the rest is encoded before."""
    config = model.config
    windows = sum(windows_of(mel, config.n_window) for mel in prompt.mels)
    count, features = _power(windows, 1) if windows else 0, None
    if any(isinstance(mel, StoredFeatures) for mel in prompt.mels):
        mels = [mel if isinstance(mel, StoredFeatures) else with_features(model, params, mel) for mel in prompt.mels]
        prompt, features = dataclasses.replace(prompt, mels=tuple(mels)), config.audio.width
    return collate([prompt], 1, size, count, config, features, config.dtype)


def kept_positions(parked: Parked, prompt: Example, config: ModelConfig) -> int:
    """Returns how many LLM positions of a slot's caches are also those of the prompt of a new turn.

    The refined head has read its own picks in the group that ended speech, and a prompt reads eos there; with
    `head_prefill="release"` a prompt reads no earlier reply at all. What differs is left out.
    """
    held = int(parked.slots.position[parked.at])
    if parked.slots.speech is not None:
        spoken = np.flatnonzero(parked.example.kind[parked.prompt :] == Kind.JOINT)
        held = min(held, parked.prompt + int(spoken[-1])) if len(spoken) else held
        held = min(held, parked.prompt - 1) if config.head_prefill == "release" else held
    return max(0, min(held, agreement(parked.example, prompt, config) - 1))


def agreement(one: Example, other: Example, config: ModelConfig) -> int:
    """Returns how many positions two examples begin with that are the same in all that a model reads."""
    length = min(len(one), len(other))
    read = (name for name in GRID_FIELDS if name != "labels")
    same = np.ones(length, bool)
    for name in read:
        equal = getattr(one, name)[:length] == getattr(other, name)[:length]
        same &= equal.reshape(length, -1).all(axis=1)
    shared = 0
    for mine, theirs in zip(one.mels, other.mels, strict=False):
        if mine is not theirs:
            break
        shared += windows_of(mine, config.n_window)
    same &= (other.frame_index[:length] < shared * (config.n_window // 2)).all(axis=1)
    return int(np.argmin(same)) if not same.all() else length


def tail(example: Example, start: int, config: ModelConfig) -> Example:
    """Returns the positions of an example from `start` on, with the log-mels that they hear."""
    fields = {name: getattr(example, name)[start:] for name in GRID_FIELDS}
    heard = fields["frame_index"][fields["frame_index"] >= 0]
    first = windows = 0
    while first < len(example.mels):
        ends = windows + windows_of(example.mels[first], config.n_window)
        if heard.size and heard.min() < ends * (config.n_window // 2):
            break
        first, windows = first + 1, ends
    index = fields["frame_index"]
    fields["frame_index"] = np.where(index >= 0, index - windows * (config.n_window // 2), index).astype(np.int32)
    return dataclasses.replace(example, **fields, mels=example.mels[first:])


def _past(parked: Parked, kept: int, length: int) -> Past:
    """Copies the kept positions out of a slot into caches of `length` positions."""
    ids = np.full((1, length), -1, np.int32)
    ids[0, :kept] = parked.example.text_ids[:kept]
    return park(parked.slots, jnp.array([parked.at]), jnp.array([kept]), ids)


def _power(number: int, least: int) -> int:
    """Returns the least power of two that is not smaller, as every size compiles a program."""
    return max(least, 1 << (number - 1).bit_length())
