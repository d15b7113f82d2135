"""State that a running generation carries from step to step. Shapes: n cache slots, m steps at most."""

import jax
from flax import struct
from jaxtyping import Bool, Float, Int, Key

from fac_jax.types import Array, KVCache


@struct.dataclass
class SpeechState:
    """State of the refined head; absent in text-only generation.

    Attributes:
      caches: one for each layer of the head.
      segments: 1 where a cache slot is filled, 0 elsewhere.
      positions: fine positions of the filled slots.
      last: embedding of the last speech token (`a` in docs/model.md, section 9).
      group: the last group spoken.
      speaking: whether the sample is speaking.
      started: whether a group was spoken in this turn.
      seen: speech ids of the reply.
      ids: the reply's groups in order.
      count: number of groups spoken.
    """

    caches: tuple[KVCache, ...]
    segments: Int[jax.Array, "B n"]
    positions: Int[jax.Array, "B n"]
    last: Float[jax.Array, "B D"]
    group: Int[jax.Array, "B G"]
    speaking: Bool[jax.Array, " B"]
    started: Bool[jax.Array, " B"]
    seen: Bool[jax.Array, "B C"]
    ids: Int[jax.Array, "B m G"]
    count: Int[jax.Array, " B"]


@struct.dataclass
class State:
    """Carry of the whole loop.

    Attributes:
      step: number of text ids picked so far.
      caches: one for each layer of the Shared LLM.
      segments: 1 where a cache slot is filled, 0 elsewhere.
      positions: positions of the filled slots.
      length: number of positions of the prompt.
      last: last text id.
      seen: text ids of prompt and reply.
      finished: whether the sample's reply has ended.
      ids: text stream of the reply.
      count: number of text ids of the reply.
      keys: PRNG keys, one for each sample.
      speech: state of the refined head.
    """

    step: Int[jax.Array, ""]
    caches: tuple[KVCache, ...]
    segments: Int[jax.Array, "B n"]
    positions: Int[jax.Array, "B n"]
    length: Int[jax.Array, " B"]
    last: Int[jax.Array, " B"]
    seen: Bool[jax.Array, "B V"]
    finished: Bool[jax.Array, " B"]
    ids: Int[jax.Array, "B m"]
    count: Int[jax.Array, " B"]
    keys: Key[jax.Array, " B"]
    speech: SpeechState | None


@struct.dataclass
class Reply:
    """Replies to a batch of prompts.

    Attributes:
      text_ids: text ids, text pad after the end.
      text_count: number of text ids, the eos included.
      speech_ids: groups of speech ids, speech pad after the end; None for text-only generation.
      speech_count: number of groups spoken, the eos group included; None for text-only generation.
    """

    text_ids: Int[Array, "B m"]
    text_count: Int[Array, " B"]
    speech_ids: Int[Array, "B m G"] | None
    speech_count: Int[Array, " B"] | None
