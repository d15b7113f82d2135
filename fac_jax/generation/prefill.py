"""The prompt pass: slots whose replies begin (docs/model.md, section 9)."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float, Int, Key, Shaped

from fac_jax.generation.sampling import Sampling, fold, mark, pick
from fac_jax.generation.slots import Past, Request, Slots, SpeechSlots, empty_speech
from fac_jax.layers.attention import Visibility
from fac_jax.models.decoder import empty_caches
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import IGNORE, Array, Batch


def begin(
    model: FunAudioChat,
    prompt: Batch,
    request: Request,
    past: Past | None,
    length: int,
    max_steps: int,
    joint: bool,
    draws: bool,
) -> Slots:
    """Runs prompts and picks the first text id of each.

    Args:
      prompt: one segment a row, padded on either side; S positions.
      past: what the prompts continue, with caches of n positions; None if they begin.
      length: n, positions of the caches; the prompts with their padding fit in behind the past.
      joint: whether there is a refined head.
    """
    c, special, rows = model.config, model.config.special, prompt.text_ids.shape[0]
    embedded, text = (_from_first(each, prompt) for each in model.embed(prompt, model.audio_frames(prompt)))
    total = jnp.sum(prompt.segment_ids > 0, axis=1)
    if past is None:
        before, caches = 0, empty_caches(c.text, rows, length, c.dtype, model.kernels.cache)
        seen, start = jnp.zeros((rows, c.vocab_size), bool), jnp.zeros(rows, jnp.int32)
    else:
        before, caches = past.length, past.caches
        seen, start = past.seen, past.length
    there = jnp.broadcast_to(jnp.arange(embedded.shape[1]), embedded.shape[:2])
    positions = start[:, None] + there
    visibility = _after(there < total[:, None], positions, start + total, length)
    hidden, caches, _ = model.backbone.decoder(embedded, positions, visibility, caches, before)
    seen = mark(seen, prompt.text_ids, prompt.segment_ids > 0)
    first = pick(model.text_logits(_at(hidden, total - 1)), seen, fold(request.keys, 0), request.text, draws)
    speech = None
    if joint:
        first = jnp.where(request.joint & request.force_audio_bos, special.audio_bos, first)
        speech = empty_speech(c, rows, length, max_steps, model.kernels.cache)
        if past is not None and past.speech_caches:
            speech = replace(speech, caches=past.speech_caches)
        labels = _from_first(prompt.speech_labels, prompt)
        pieces = rearrange(model.refined_head.condition(hidden, text), "b s g d -> b (s g) d")
        keys = fold(request.keys, 1)
        speech = _head_prefill(model, speech, pieces, labels, total, before, length, keys, request.speech, draws)
    some = request.limit > 0
    ids = jnp.full((rows, max_steps), special.pad, jnp.int32)
    return Slots(
        caches=caches,
        position=start + total,
        last=first,
        seen=mark(seen, first, jnp.ones_like(first, bool)),
        alive=(request.limit > 1) & (first != special.eos),
        ids=ids.at[:, 0].set(jnp.where(some, first, special.pad)),
        count=some.astype(jnp.int32),
        request=request,
        speech=speech,
    )


def _head_prefill(
    model: FunAudioChat,
    speech: SpeechSlots,
    pieces: Float[jax.Array, "B T D"],
    labels: Int[Array, "B S G"],
    total: Int[jax.Array, " B"],
    before: Int[jax.Array, " B"] | int,
    length: int,
    keys: Key[jax.Array, " B"],
    sampling: Sampling,
    draws: bool,
) -> SpeechSlots:
    """Runs the refined head over prompts of `total` positions, with the inputs that `config.head_prefill` names.

    Args:
      pieces: what the states of the Shared LLM open into, T = S G.
      labels: speech labels of the prompt, those of earlier replies.
      before: LLM positions that the caches hold already.
      length: LLM positions of the caches.
    """
    c = model.config
    group, rows, fine = c.group_size, pieces.shape[0], pieces.shape[1]
    released = c.head_prefill == "release"
    tail = group - 1 if released else 0
    places = length * group  # a model without a head has no caches
    if released:
        last = model.speech_embedder.lookup(jnp.full((rows,), c.special.speech_bos, jnp.int32))
        previous = last[:, None]
    else:
        last = model.speech_embedder.lookup(jnp.full((rows,), c.special.speech_pad, jnp.int32))
        previous = model.speech_embedder.lookup(_shifted(labels, c.special.speech_pad))
    start = jnp.broadcast_to(jnp.asarray(before, jnp.int32) * group, (rows,))
    there = jnp.broadcast_to(jnp.arange(fine), (rows, fine))
    filled = total * group - tail
    positions = start[:, None] + there
    visibility = _after(there < filled[:, None], positions, start + filled, places)
    states, caches = model.refined_head.decode(pieces + previous, positions, visibility, speech.caches, before * group)

    if released:  # for any G: at G = 1 the only pick stays in `last`
        state = _at(states, total * group - group)
        seen = jnp.zeros((rows, c.codebook_size), bool)
        for j in range(group):  # G picks, kept only in the cache and in `last`
            ids = pick(model.speech_logits(state), seen, fold(keys, j), sampling, draws)
            seen = mark(seen, ids, jnp.ones_like(ids, bool))
            last = model.speech_embedder.lookup(ids)
            if j == group - 1:
                break
            position = start + filled + j
            x = (_at(pieces, filled + j) + last)[:, None]
            step, caches = model.refined_head.decode(x, position[:, None], earlier(position, places), caches, position)
            state = step[:, 0]
    return replace(speech, caches=caches, last=last)


def _shifted(labels: Int[Array, "B S G"], pad: int) -> Int[jax.Array, "B T"]:
    """The id before each that fine position iG + j predicts, label (i + 1) G + j, as in training; pad at the end."""
    group = labels.shape[-1]
    flat = rearrange(jnp.where(labels == IGNORE, pad, labels), "b s g -> b (s g)")
    return jnp.pad(flat[:, group - 1 :], ((0, 0), (0, group - 1)), constant_values=pad)


def _after(
    valid: Bool[jax.Array, "B S"], positions: Int[jax.Array, "B S"], filled: Int[jax.Array, " B"], length: int
) -> Visibility:
    """What the queries of a prompt see of caches whose first `filled` places, the prompt's included, are valid."""
    keys = jnp.broadcast_to(jnp.arange(length), (len(filled), length))
    present = (keys < filled[:, None]).astype(jnp.int32)
    return Visibility(valid.astype(jnp.int32), present, positions, keys)


def earlier(position: Int[jax.Array, " B"], length: int) -> Visibility:
    """What one query a row sees of a cache: its own position, and all before it."""
    rows = len(position)
    keys = jnp.broadcast_to(jnp.arange(length), (rows, length))
    ones = jnp.ones((rows, 1), jnp.int32)
    return Visibility(ones, jnp.ones((rows, length), jnp.int32), position[:, None], keys)


def _from_first(values: Shaped[Array, "B S D"], prompt: Batch) -> Shaped[jax.Array, "B S D"]:
    """Moves the padding before a prompt behind it."""
    first = jnp.argmax(jnp.asarray(prompt.segment_ids) > 0, axis=1)
    length = values.shape[1]
    index = (first[:, None] + jnp.arange(length)) % length
    return jnp.take_along_axis(jnp.asarray(values), index[..., None], axis=1)


def _at(values: Float[jax.Array, "B T D"], wanted: Int[Array, " B"]) -> Float[jax.Array, "B D"]:
    """Takes the value at a position of every row."""
    return jnp.take_along_axis(values, wanted[:, None, None], axis=1)[:, 0]
