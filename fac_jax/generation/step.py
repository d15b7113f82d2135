"""One LLM step of all slots: a text id at 5 Hz, and the group of G speech ids that goes with it at 25 Hz."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, Int, Key

from fac_jax.generation.prefill import earlier
from fac_jax.generation.sampling import Sampling, fold, mark, pick
from fac_jax.generation.slots import Slots, SpeechSlots
from fac_jax.layers.attention import Visibility
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import KVCache


def step(model: FunAudioChat, slots: Slots, draws: bool) -> Slots:
    """Runs one LLM step and, where slots speak, the G fine steps of its group (docs/model.md, section 9)."""
    special, request, alive = model.config.special, slots.request, slots.alive
    text = model.embed_text(slots.last)
    x, speech, position = text, slots.speech, slots.position
    if speech is not None:
        starts = request.joint & (slots.last == special.audio_bos) & ~speech.speaking
        speech = replace(speech, speaking=speech.speaking | starts, started=speech.started & ~starts)
        groups = model.speech_embedder.group(speech.group[:, None])[:, 0]
        spoken = jnp.where(request.speech_alone[:, None], groups, model.join(text, groups))
        x = jnp.where((speech.speaking & speech.started)[:, None], spoken, text)

    length = slots.caches[0].k.shape[-2]
    # A slot without a running reply sees one place, so that a kernel need not read on for it.
    visibility = earlier(jnp.where(alive, position, 0), length)
    hidden, caches, _ = model.backbone.decoder(x[:, None], position[:, None], visibility, slots.caches, position)

    made = slots.count  # a row's draws depend on its own ids, not on when it came
    keys = fold(request.keys, 2 * made)
    picked = written = pick(model.text_logits(hidden[:, 0]), slots.seen, keys, request.text, draws)
    if speech is not None:
        keys = fold(request.keys, 2 * made + 1)
        speech, group = _speak(model, slots, speech, hidden, text[:, None], keys, draws)
        speech, ended = _append(model, speech, group, alive)
        written = jnp.where(ended, special.audio_eos, picked)
    rows, count = jnp.arange(len(alive)), made + alive
    return replace(
        slots,
        caches=caches,
        position=position + alive,
        last=jnp.where(alive, written, slots.last),
        seen=mark(slots.seen, written, alive),
        alive=alive & (picked != special.eos) & (count < request.limit),
        ids=slots.ids.at[rows, jnp.where(alive, made, slots.ids.shape[1])].set(written, mode="drop"),
        count=count,
        speech=speech,
    )


def _speak(
    model: FunAudioChat,
    slots: Slots,
    speech: SpeechSlots,
    hidden: Float[jax.Array, "S 1 D"],
    text: Float[jax.Array, "S 1 D"],
    keys: Key[jax.Array, " S"],
    draws: bool,
) -> tuple[SpeechSlots, Int[jax.Array, "S G"]]:
    """Runs the G fine steps of one LLM state; returns the new state and the group."""
    c, rows = model.config, len(slots.position)
    group, length = c.group_size, slots.caches[0].k.shape[-2] * c.group_size
    pieces = jnp.moveaxis(model.refined_head.condition(hidden, text)[:, 0], 1, 0)
    pad_row = model.speech_embedder.lookup(jnp.full((rows,), c.special.speech_pad, jnp.int32))
    feed_back = speech.speaking | (c.head_prefill == "release")

    def one(model: FunAudioChat, carry: tuple, j: jax.Array) -> tuple[tuple, jax.Array]:
        caches, last, seen = carry
        at = slots.position * group + j
        where = at, earlier(jnp.where(slots.alive, at, 0), length), at
        sampling = slots.request.speech
        ids, caches, seen = fine_step(model, caches, pieces[j] + last, where, seen, fold(keys, j), sampling, draws)
        last = jnp.where(feed_back[:, None], model.speech_embedder.lookup(ids), pad_row)
        return (caches, last, seen), ids

    one_step = partial(nn.apply(one, model.clone(parent=None)), {"params": model.variables["params"]})
    (caches, last, _), ids = jax.lax.scan(one_step, (speech.caches, speech.last, speech.seen), jnp.arange(group))
    return replace(speech, caches=caches, last=jnp.where(slots.alive[:, None], last, speech.last)), ids.T


def fine_step(
    model: FunAudioChat,
    caches: tuple[KVCache, ...],
    x: Float[jax.Array, "S D"],
    where: tuple[Int[jax.Array, " S"], Visibility, Int[jax.Array, "*S"]],
    seen: Bool[jax.Array, "S C"],
    keys: Key[jax.Array, " S"],
    sampling: Sampling,
    draws: bool,
    scores: Callable[[Float32[jax.Array, "S C"]], Float32[jax.Array, "S C"]] = lambda logits: logits,
) -> tuple[Int[jax.Array, " S"], tuple[KVCache, ...], Bool[jax.Array, "S C"]]:
    """Runs the refined head on one fine position of every row.

    Args:
      x: its inputs, a piece of an LLM state and the embedding of the speech id before.
      where: positions, what they see of the caches, and the cache place of each, or one for all.
      seen: speech ids of the history.
      scores: changes the logits.

    Returns:
      the ids that are picked, and the caches and the history with them.
    """
    at, visibility, slot = where
    out, caches = model.refined_head.decode(x[:, None], at[:, None], visibility, caches, slot)
    ids = pick(scores(model.speech_logits(out[:, 0])), seen, keys, sampling, draws)
    return ids, caches, mark(seen, ids, jnp.ones_like(ids, bool))


def _append(
    model: FunAudioChat, speech: SpeechSlots, group: Int[jax.Array, "S G"], alive: Bool[jax.Array, " S"]
) -> tuple[SpeechSlots, Bool[jax.Array, " S"]]:
    """Adds a group to the replies of slots that speak; returns the new state and whether speech ended."""
    eos = model.config.special.speech_eos
    speaks = speech.speaking & alive
    ended = speaks & jnp.any(group == eos, axis=1)
    group = jnp.where(ended[:, None], eos, group)
    rows = jnp.arange(group.shape[0])
    row = jnp.where(speaks, speech.count, speech.ids.shape[1])
    speech = replace(
        speech,
        group=jnp.where(speaks[:, None], group, speech.group),
        ids=speech.ids.at[rows, row].set(group, mode="drop"),
        count=speech.count + speaks,
        seen=mark(speech.seen, group, speaks[:, None]),
        started=(speech.started | speaks) & ~ended,
        speaking=speech.speaking & ~ended,
    )
    return speech, ended
