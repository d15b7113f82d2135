"""What a running generation carries from step to step, and the prompt pass of the head (docs/model.md, section 9).

Shapes: n cache slots, m steps at most.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Bool, Float, Int, Key

from fac_jax.generation.sampling import Sampling, fold, mark, pick
from fac_jax.layers.attention import Visibility
from fac_jax.models.decoder import empty_caches
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.refined_head import fine_positions
from fac_jax.types import Array, Batch, KVCache


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


def pad_slots(values: Int[Array, "B S"], slots: int) -> Int[jax.Array, "B {slots}"]:
    """Pads the values of S positions with zeros at the end, one value for each cache slot."""
    return jnp.pad(values, ((0, 0), (0, slots - values.shape[1])))


def prefill_head(
    model: FunAudioChat,
    prompt: Batch,
    hidden: Float[jax.Array, "B S D"],
    text: Float[jax.Array, "B S D"],
    keys: Key[jax.Array, " B"],
    sampling: Sampling,
    max_steps: int,
) -> SpeechState:
    """Runs the refined head over the prompt, with the inputs that `config.head_prefill` names."""
    c = model.config
    group, rows, length = c.group_size, *prompt.text_ids.shape
    tail = group - 1 if c.head_prefill == "release" else 0
    slots = length * group + tail + max_steps * group
    fill = c.special.speech_bos if c.head_prefill == "release" else c.special.speech_pad
    pieces = rearrange(model.refined_head.condition(hidden, text), "b s g d -> b (s g) d")
    fill_row = model.speech_embedder.lookup(jnp.full((rows,), fill, jnp.int32))

    fine = fine_positions(prompt.positions, group)
    total = prompt.segment_ids.sum(axis=1) * group
    segments = jnp.repeat(prompt.segment_ids, group, axis=1) * (fine < (total - tail)[:, None])
    all_segments, all_positions = pad_slots(segments, slots), pad_slots(fine, slots)
    visibility = Visibility(segments, all_segments, fine, all_positions)
    caches = empty_caches(c.head, rows, slots, c.dtype, model.kernels.cache)
    states, caches = model.refined_head.decode(pieces + fill_row[:, None], fine, visibility, caches, 0)

    last = fill_row
    if c.head_prefill == "release":  # for any G: at G = 1 the only pick stays in `last`
        state = at_position(states, fine, segments, total - group)
        seen = jnp.zeros((rows, c.codebook_size), bool)
        for j in range(group):  # G picks, kept only in the cache and in `last`
            ids = pick(model.speech_logits(state), seen, fold(keys, j), sampling)
            seen = mark(seen, ids, jnp.ones_like(ids, bool))
            last = model.speech_embedder.lookup(ids)
            if j == group - 1:
                break
            position = total - tail + j
            slot = length * group + j
            all_segments = all_segments.at[:, slot].set(1)
            all_positions = all_positions.at[:, slot].set(position)
            visibility = Visibility(jnp.ones((rows, 1), jnp.int32), all_segments, position[:, None], all_positions)
            piece = at_position(pieces, fine, jnp.repeat(prompt.segment_ids, group, axis=1), position)
            step, caches = model.refined_head.decode(
                (piece + last)[:, None], position[:, None], visibility, caches, slot
            )
            state = step[:, 0]
    return SpeechState(
        caches=caches,
        segments=all_segments,
        positions=all_positions,
        last=last,
        group=jnp.full((rows, group), c.special.speech_pad, jnp.int32),
        speaking=jnp.zeros((rows,), bool),
        started=jnp.zeros((rows,), bool),
        seen=jnp.zeros((rows, c.codebook_size), bool),
        ids=jnp.full((rows, max_steps, group), c.special.speech_pad, jnp.int32),
        count=jnp.zeros((rows,), jnp.int32),
    )


def at_position(
    values: Float[jax.Array, "B T D"],
    positions: Int[Array, "B T"],
    segments: Int[Array, "B T"],
    wanted: Int[Array, " B"],
) -> Float[jax.Array, "B D"]:
    """Takes the value at position `wanted` of every row, wherever padding has placed it."""
    index = jnp.argmax((positions == wanted[:, None]) & (segments > 0), axis=1)
    return jnp.take_along_axis(values, index[:, None, None], axis=1)[:, 0]
