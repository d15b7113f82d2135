"""What a running generation carries from step to step."""

import jax
from flax import struct

from fac_jax.types import KVCache


@struct.dataclass
class SpeechState:
    """The refined head's side; absent in text-only generation.

    Attributes:
      caches: one a layer of the head.
      segments: int32 `[B, slots]`, 1 where a cache slot is filled.
      positions: int32 `[B, slots]`, fine positions of the filled slots.
      last: embedding of the last speech token `[B, D]` (`a` in model.md section 9).
      group: int32 `[B, G]`, the last group spoken.
      speaking: bool `[B]`.
      started: bool `[B]`, a group was spoken in this turn.
      seen: bool `[B, C]`, speech ids of the reply.
      ids: int32 `[B, max_steps, G]`, the reply's groups in order.
      count: int32 `[B]`, groups spoken.
    """

    caches: tuple[KVCache, ...]
    segments: jax.Array
    positions: jax.Array
    last: jax.Array
    group: jax.Array
    speaking: jax.Array
    started: jax.Array
    seen: jax.Array
    ids: jax.Array
    count: jax.Array


@struct.dataclass
class State:
    """The whole loop's carry.

    Attributes:
      step: int32 scalar, text ids picked so far.
      caches: one a layer of the Shared LLM.
      segments: int32 `[B, slots]`, 1 where a cache slot is filled.
      positions: int32 `[B, slots]`.
      length: int32 `[B]`, the prompt's positions.
      last: int32 `[B]`, last text id.
      seen: bool `[B, V]`, text ids of prompt and answer.
      finished: bool `[B]`.
      ids: int32 `[B, max_steps]`, the answer's text stream.
      count: int32 `[B]`, text ids of the answer.
      keys: PRNG keys `[B]`.
      speech: the refined head's side.
    """

    step: jax.Array
    caches: tuple[KVCache, ...]
    segments: jax.Array
    positions: jax.Array
    length: jax.Array
    last: jax.Array
    seen: jax.Array
    finished: jax.Array
    ids: jax.Array
    count: jax.Array
    keys: jax.Array
    speech: SpeechState | None


@struct.dataclass
class Reply:
    """A batch of answers.

    Attributes:
      text_ids: int32 `[B, max_steps]`, text pad after the end.
      text_count: int32 `[B]`, ids of the answer, its eos included.
      speech_ids: int32 `[B, max_steps, G]`, speech pad after the end; None for text-only generation.
      speech_count: int32 `[B]`, groups spoken, the eos group included; None for text-only generation.
    """

    text_ids: jax.Array
    text_count: jax.Array
    speech_ids: jax.Array | None
    speech_count: jax.Array | None
