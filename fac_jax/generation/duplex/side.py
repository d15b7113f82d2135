"""What a call begins with, or goes on with after a roll-over: caches of one row, which are filled chunk by chunk.

A chunk takes a few milliseconds, so that chunks run between the ticks of other calls. Positions are cache places here:
a prompt ends at place P - 1, and slots that are run again follow it.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct
from jaxtyping import Bool, Float, Int

from fac_jax.generation.duplex.state import CallState, Keys, Mode, Options, Slot, call_config, head_ring, replayed
from fac_jax.generation.duplex.tick import chance, text_scores
from fac_jax.generation.sampling import fold, pick
from fac_jax.models.decoder import empty_caches
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.refined_head import fine_positions
from fac_jax.types import Array, InputError, KVCache

CHUNK = 32  # LLM positions


@struct.dataclass
class Chunk:
    """Up to C LLM positions in order; those from `count` on are padding.

    Attributes:
      text_ids: text ids.
      inputs: of the Shared LLM, for slots that are run again.
      slots: whether these are slots; the inputs of all others are the embeddings of their text ids.
      read: speech ids that the refined head reads.
      count: how many there are.
    """

    text_ids: Int[Array, " C"]
    inputs: Float[jax.Array, "C D"]
    slots: Bool[Array, ""]
    read: Int[Array, "C G"]
    count: Int[Array, ""]


def text_chunk(model: FunAudioChat, ids: Sequence[int] | Int[np.ndarray, " n"]) -> Chunk:
    """Returns a chunk of a prompt: at most C text ids."""
    c = model.config
    return Chunk(
        text_ids=np.pad(np.asarray(ids, np.int32), (0, CHUNK - len(ids))),
        inputs=jnp.zeros((CHUNK, c.text.width), c.dtype),
        slots=np.array(False),
        read=np.full((CHUNK, c.group_size), c.special.speech_pad, np.int32),
        count=np.array(len(ids), np.int32),
    )


@struct.dataclass
class Side:
    """Caches of one row, P + R places and room for the padding of a chunk.

    Attributes:
      caches: one for each layer of the Shared LLM.
      head_caches: one for each layer of the refined head, G places for each LLM position.
      start: place of the first key.
      filled: place after the last one.
      hidden: state of the Shared LLM at the last position.
    """

    caches: tuple[KVCache, ...]
    head_caches: tuple[KVCache, ...]
    start: Int[jax.Array, ""]
    filled: Int[jax.Array, ""]
    hidden: Float[jax.Array, "1 D"]


def empty_side(model: FunAudioChat, positions: int) -> Side:
    """Returns caches without a key, for a prompt of so many positions, which ends where the sinks end.

    Raises:
      InputError: the prompt has no position, or more than there are sinks.
    """
    c, config = model.config, call_config(model.config)
    if not 0 < positions <= config.sinks:
        raise InputError(
            f"a call's prompt takes {positions} LLM positions; the model has sinks for 1 to {config.sinks}"
        )
    places, first = config.sinks + replayed(config) + CHUNK, config.sinks - positions
    return Side(
        caches=empty_caches(c.text, 1, places, c.dtype, model.kernels.cache),
        head_caches=empty_caches(c.head, 1, places * c.group_size, c.dtype, model.kernels.cache),
        start=jnp.int32(first),
        filled=jnp.int32(first),
        hidden=jnp.zeros((1, c.text.width), c.dtype),
    )


def add_chunk(model: FunAudioChat, side: Side, chunk: Chunk) -> Side:
    """Runs a chunk behind what the caches hold."""
    c, group = model.config, model.config.group_size
    size, places = len(chunk.text_ids), side.caches[0].k.shape[-2]
    text = model.embed_text(chunk.text_ids)
    x = jnp.where(chunk.slots, chunk.inputs, text)
    positions = (side.filled + jnp.arange(size))[None]
    valid = (jnp.arange(size) < chunk.count)[None]
    filled = side.filled + chunk.count
    there = jnp.arange(places)[None]
    keys = Keys(((there >= side.start) & (there < filled)).astype(jnp.int32), there)
    visibility = keys.seen_by(positions, valid, c.limits)
    hidden, caches, _ = model.backbone.decoder(x[None], positions, visibility, side.caches, side.filled)

    pieces = model.refined_head.condition(hidden, text[None]) + model.speech_embedder.lookup(chunk.read)[None]
    fine = fine_positions(positions, group)
    visibility = keys.fine(group).seen_by(fine, jnp.repeat(valid, group, axis=1), c.head_limits)
    flat = rearrange(pieces, "1 c g d -> 1 (c g) d")
    _, head_caches = model.refined_head.decode(flat, fine, visibility, side.head_caches, side.filled * group)
    last = jax.lax.dynamic_index_in_dim(hidden, chunk.count - 1, axis=1, keepdims=False)
    return Side(caches, head_caches, side.start, filled, last)


def past_chunk(state: CallState, at: Int[jax.Array, ""], first: Int[jax.Array, ""], count: Int[jax.Array, ""]) -> Chunk:
    """Takes up to C slots of a call that it still remembers, from slot `first` on."""
    kept = state.past.text_ids.shape[1]
    there = (first + jnp.arange(CHUNK)) % kept
    past = jax.tree.map(lambda leaf: leaf[at][there], state.past)
    return Chunk(past.text_ids, past.inputs, jnp.bool_(True), past.read, count)


def insert_side(model: FunAudioChat, state: CallState, side: Side, at: Int[jax.Array, ""]) -> CallState:
    """Gives a place the keys of a side, in place of those that it has.

    The slots that were run again go to the places in the rings that the last ticks had, the latest first.
    """
    config, group = call_config(model.config), model.config.group_size
    slots = side.filled - config.sinks

    def rings(ring: int) -> tuple[Int[jax.Array, " n"], Keys]:
        """The places of the side that the places of a cache take, and what is in them."""
        age = (state.tick - 1 - jnp.arange(ring)) % ring
        sinks = jnp.arange(config.sinks)
        taken = jnp.concatenate([sinks, jnp.maximum(side.filled - 1 - age, 0)])
        there = jnp.concatenate([sinks >= side.start, age < slots])
        return taken, Keys(there.astype(jnp.int32), taken)

    def put(old: jax.Array, new: jax.Array, taken: Int[jax.Array, " n"]) -> jax.Array:
        rows = old.reshape(len(state.mode), -1, *old.shape[-2:])
        row = new.reshape(-1, *new.shape[-2:])[:, taken]
        return rows.at[at].set(row).reshape(old.shape)

    def listed(old: Keys, new: Keys) -> Keys:
        return jax.tree.map(lambda a, b: a.at[at].set(b), old, new)

    taken, keys = rings(config.window)
    head_taken, head_keys = rings(head_ring(config))
    fine = (head_taken[:, None] * group + jnp.arange(group)).reshape(-1)
    return replace(
        state,
        caches=jax.tree.map(lambda a, b: put(a, b, taken), state.caches, side.caches),
        keys=listed(state.keys, keys),
        head_caches=jax.tree.map(lambda a, b: put(a, b, fine), state.head_caches, side.head_caches),
        head_keys=listed(state.head_keys, head_keys),
        position=state.position.at[at].set(side.filled),
    )


def begin_call(
    model: FunAudioChat,
    state: CallState,
    side: Side,
    at: Int[jax.Array, ""],
    given: Options,
    greets: Bool[jax.Array, ""],
    draws: bool,
) -> tuple[CallState, Slot]:
    """Begins a call in a place: picks what its slot 0 is, after the prompt that a side holds.

    Args:
      given: options of one row.
      greets: whether the assistant's turn begins in slot 0, whatever the model picks.
      draws: see `tick.next_slot`.
    """
    c, special = model.config, model.config.special
    state = insert_side(model, state, side, at)
    idle = jnp.full(1, Mode.IDLE, jnp.int32)
    scores = text_scores(model.text_logits(side.hidden), idle, given, c)
    nothing = jnp.zeros((1, c.vocab_size), bool)
    first = pick(scores, nothing, fold(given.keys, 0), given.text, draws)
    first = jnp.where(greets, special.audio_bos, first)
    mode = jnp.where(first == special.audio_bos, Mode.OPENING, Mode.IDLE).astype(jnp.int32)
    pads, no = jnp.full((1, c.group_size), special.speech_pad, jnp.int32), jnp.zeros(1, bool)
    slot = Slot(first, pads, mode, chance(scores, no, c), no)

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[at].set(new[0])

    begun = replace(
        state,
        mode=put(state.mode, mode),
        text=put(state.text, first),
        group=put(state.group, slot.groups),
        slots=state.slots.at[at].set(0),
        said=put(state.said, nothing),
        spoken=state.spoken.at[at].set(False),
        options=jax.tree.map(put, state.options, given),
    )
    return begun, slot


def end_call(state: CallState, at: Int[jax.Array, ""]) -> CallState:
    """Frees a place; nothing of its call is seen again."""
    keys, head_keys = (replace(keys, segments=keys.segments.at[at].set(0)) for keys in (state.keys, state.head_keys))
    return replace(state, mode=state.mode.at[at].set(Mode.FREE), keys=keys, head_keys=head_keys)
