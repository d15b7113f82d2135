"""Prompt passes of the Shared LLM and the refined head (docs/model.md, section 9)."""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float, Int, Key

from fac_jax.generation.sampling import Sampling, mark, pick
from fac_jax.generation.state import SpeechState
from fac_jax.layers.attention import Visibility
from fac_jax.models.decoder import empty_caches
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.refined_head import fine_positions
from fac_jax.types import Array, Batch, KVCache


def pad_slots(values: Int[Array, "B S"], slots: int) -> Int[jax.Array, "B {slots}"]:
    """Pads the values of S positions with zeros at the end, one value for each cache slot."""
    return jnp.pad(values, ((0, 0), (0, slots - values.shape[1])))


@dataclasses.dataclass(frozen=True)
class Prefilled:
    """Result of running a prompt through the Shared LLM.

    Attributes:
      hidden: states of the Shared LLM.
      text: embeddings of the text stream.
      caches: one for each layer.
      segments: 1 where a cache slot is filled, 0 elsewhere.
      positions: positions of the filled slots.
    """

    hidden: Float[jax.Array, "B S D"]
    text: Float[jax.Array, "B S D"]
    caches: tuple[KVCache, ...]
    segments: Int[jax.Array, "B n"]
    positions: Int[jax.Array, "B n"]


def prefill_backbone(model: FunAudioChat, prompt: Batch, slots: int) -> Prefilled:
    """Runs the prompt through the Shared LLM, with `slots` cache slots."""
    c = model.config
    embedded, text = model.embed(prompt, model.audio_frames(prompt))
    segments, positions = pad_slots(prompt.segment_ids, slots), pad_slots(prompt.positions, slots)
    visibility = Visibility(prompt.segment_ids, segments, prompt.positions, positions)
    caches = empty_caches(c.text, prompt.text_ids.shape[0], slots, c.dtype, model.kernels.cache)
    hidden, caches, _ = model.backbone(embedded, prompt.positions, visibility, caches, 0)
    return Prefilled(hidden, text, caches, segments, positions)


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
        state = _at(states, fine, segments, total - group)
        seen = jnp.zeros((rows, c.codebook_size), bool)
        for j in range(group):  # G picks, kept only in the cache and in `last`
            ids = pick(
                model.speech_logits(state), seen, jax.vmap(lambda k, j=j: jax.random.fold_in(k, j))(keys), sampling
            )
            seen = mark(seen, ids, jnp.ones_like(ids, bool))
            last = model.speech_embedder.lookup(ids)
            if j == group - 1:
                break
            position = total - tail + j
            slot = length * group + j
            all_segments = all_segments.at[:, slot].set(1)
            all_positions = all_positions.at[:, slot].set(position)
            visibility = Visibility(jnp.ones((rows, 1), jnp.int32), all_segments, position[:, None], all_positions)
            piece = _at(pieces, fine, jnp.repeat(prompt.segment_ids, group, axis=1), position)
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


def _at(
    values: Float[jax.Array, "B T D"],
    positions: Int[jax.Array, "B T"],
    segments: Int[Array, "B T"],
    wanted: Int[Array, " B"],
) -> Float[jax.Array, "B D"]:
    """Takes the value at position `wanted` of every row, wherever padding has placed it."""
    index = jnp.argmax((positions == wanted[:, None]) & (segments > 0), axis=1)
    return jnp.take_along_axis(values, index[:, None, None], axis=1)[:, 0]
