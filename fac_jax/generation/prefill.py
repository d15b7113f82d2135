"""The prompt pass: slots whose replies begin (docs/model.md, section 9)."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float, Int, Key

from fac_jax.generation.sampling import Sampling, fold, mark, pick
from fac_jax.generation.slots import Request, Slots, SpeechSlots, empty_speech
from fac_jax.layers.attention import Visibility
from fac_jax.models.decoder import empty_caches
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.refined_head import fine_positions
from fac_jax.types import Array, Batch


def begin(
    model: FunAudioChat, prompt: Batch, request: Request, length: int, max_steps: int, joint: bool, draws: bool
) -> Slots:
    """Runs prompts and picks the first text id of each.

    Args:
      prompt: one segment a row, padded on either side; S positions.
      length: n, positions of the caches, S or more.
      joint: whether there is a refined head.
    """
    c, special, rows = model.config, model.config.special, prompt.text_ids.shape[0]
    embedded, text = (_from_first(each, prompt) for each in model.embed(prompt, model.audio_frames(prompt)))
    total = jnp.sum(prompt.segment_ids, axis=1)
    positions = jnp.broadcast_to(jnp.arange(embedded.shape[1]), embedded.shape[:2])
    segments = (positions < total[:, None]).astype(jnp.int32)
    visibility = Visibility(segments, _wide(segments, length), positions, _wide(positions, length))
    caches = empty_caches(c.text, rows, length, c.dtype, model.kernels.cache)
    hidden, caches, _ = model.backbone.decoder(embedded, positions, visibility, caches, 0)
    seen = mark(jnp.zeros((rows, c.vocab_size), bool), prompt.text_ids, prompt.segment_ids > 0)
    first = pick(model.text_logits(_at(hidden, total - 1)), seen, fold(request.keys, 0), request.text, draws)
    speech = None
    if joint:
        first = jnp.where(request.joint & request.force_audio_bos, special.audio_bos, first)
        speech = empty_speech(c, rows, length, max_steps, model.kernels.cache)
        keys = fold(request.keys, 1)
        speech = _head_prefill(model, speech, hidden, text, total, segments, length, keys, request.speech, draws)
    some = request.limit > 0
    ids = jnp.full((rows, max_steps), special.pad, jnp.int32)
    return Slots(
        caches=caches,
        position=total,
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
    hidden: Float[jax.Array, "B S D"],
    text: Float[jax.Array, "B S D"],
    total: Int[jax.Array, " B"],
    segments: Int[jax.Array, "B S"],
    places: int,
    keys: Key[jax.Array, " B"],
    sampling: Sampling,
    draws: bool,
) -> SpeechSlots:
    """Runs the refined head over prompts of `total` positions, with the inputs that `config.head_prefill` names.

    `places` counts the LLM positions of the caches.
    """
    c = model.config
    group, rows, length = c.group_size, *segments.shape
    released = c.head_prefill == "release"
    tail = group - 1 if released else 0
    fill = c.special.speech_bos if released else c.special.speech_pad
    pieces = rearrange(model.refined_head.condition(hidden, text), "b s g d -> b (s g) d")
    last = model.speech_embedder.lookup(jnp.full((rows,), fill, jnp.int32))

    fine = fine_positions(jnp.broadcast_to(jnp.arange(length), (rows, length)), group)
    filled = jnp.repeat(segments, group, axis=1) * (fine < (total * group - tail)[:, None])
    visibility = Visibility(filled, _wide(filled, places * group), fine, _wide(fine, places * group))
    states, caches = model.refined_head.decode(pieces + last[:, None], fine, visibility, speech.caches, 0)

    if released:  # for any G: at G = 1 the only pick stays in `last`
        state = _at(states, total * group - group)
        seen = jnp.zeros((rows, c.codebook_size), bool)
        for j in range(group):  # G picks, kept only in the cache and in `last`
            ids = pick(model.speech_logits(state), seen, fold(keys, j), sampling, draws)
            seen = mark(seen, ids, jnp.ones_like(ids, bool))
            last = model.speech_embedder.lookup(ids)
            if j == group - 1:
                break
            position = total * group - tail + j
            x = (_at(pieces, position) + last)[:, None]
            step, caches = model.refined_head.decode(
                x, position[:, None], earlier(position, places * group), caches, position
            )
            state = step[:, 0]
    return replace(speech, caches=caches, last=last)


def earlier(position: Int[jax.Array, " B"], length: int) -> Visibility:
    """What one query a row sees of a cache: its own position, and all before it."""
    rows = len(position)
    keys = jnp.broadcast_to(jnp.arange(length), (rows, length))
    ones = jnp.ones((rows, 1), jnp.int32)
    return Visibility(ones, jnp.ones((rows, length), jnp.int32), position[:, None], keys)


def _from_first(values: Float[jax.Array, "B S D"], prompt: Batch) -> Float[jax.Array, "B S D"]:
    """Moves the padding before a prompt behind it."""
    first = jnp.argmax(jnp.asarray(prompt.segment_ids) > 0, axis=1)
    length = values.shape[1]
    index = (first[:, None] + jnp.arange(length)) % length
    return jnp.take_along_axis(values, index[..., None], axis=1)


def _wide(values: Int[Array, "B S"], length: int) -> Int[jax.Array, "B {length}"]:
    """Pads the values of S positions with zeros at the end, one value for each place of a cache."""
    return jnp.pad(values, ((0, 0), (0, length - values.shape[1])))


def _at(values: Float[jax.Array, "B T D"], wanted: Int[Array, " B"]) -> Float[jax.Array, "B D"]:
    """Takes the value at a position of every row."""
    return jnp.take_along_axis(values, wanted[:, None, None], axis=1)[:, 0]
