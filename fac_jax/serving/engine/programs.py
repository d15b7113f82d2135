"""The compiled programs of the engine (docs/serving.md).

Each has one shape for all requests: a prompt program for every size of prompts, one or two for all else. What a request
asks for is in arrays. Buffers of slots are donated; what the host wants to know of a step comes back as one small
array, so that it can be copied while the next step runs.
"""

from dataclasses import replace
from functools import partial
from typing import Any, Final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Int, UInt32

from fac_jax.generation.prefill import begin
from fac_jax.generation.sampling import GREEDY, Sampling, fold
from fac_jax.generation.several import of_rows
from fac_jax.generation.slots import Decoding, Request, Slots, empty_speech, insert_slots, requests, take_past
from fac_jax.generation.step import step
from fac_jax.models.decoder import empty_caches
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Array, Batch, KVCache, Params

TOLD: Final = 3  # numbers of a slot that `told` gives before those of speech


@struct.dataclass
class Asked:
    """How one reply is made; every value is an array of one element.

    Attributes:
      seed: of the draws.
      limit: most text ids; 0 for a piece of a prompt that goes on.
      joint: whether the reply speaks.
      adapter: whose model makes it (`generation.several.of_rows`).
      text: how text ids are picked.
      speech: how speech ids are picked.
    """

    seed: UInt32[Array, " R"]
    limit: Int[Array, " R"]
    joint: Bool[Array, " R"]
    adapter: Int[Array, " R"]
    text: Sampling
    speech: Sampling


@struct.dataclass
class Kept:
    """The beginning of a conversation, copied out of a slot: its caches in the Shared LLM and in the refined head."""

    caches: tuple[KVCache, ...]
    speech_caches: tuple[KVCache, ...]


def asked(
    seed: int, limit: int, joint: bool, adapter: int = 0, text: Sampling = GREEDY, speech: Sampling = GREEDY
) -> Asked:
    """Returns a request as arrays of the host; of the seed 32 bits are used."""

    def one(value: Any, dtype: Any) -> np.ndarray:
        return np.array([value], dtype)

    def rows(picking: Sampling) -> Any:
        shares = (picking.temperature, picking.top_p, picking.repetition_penalty)
        temperature, top_p, penalty = (one(share, np.float32) for share in shares)
        return Sampling(temperature, one(picking.top_k, np.int32), top_p, penalty)  # pyright: ignore[reportArgumentType]

    seeds, limits, adapters = one(seed & 0xFFFFFFFF, np.uint32), one(limit, np.int32), one(adapter, np.int32)
    return Asked(seeds, limits, one(joint, bool), adapters, rows(text), rows(speech))


@partial(jax.jit, static_argnames=("model", "slots", "length", "joint"))
def empty(model: FunAudioChat, *, slots: int, length: int, joint: bool) -> Slots:
    """Makes slots without replies, whose caches have `length` LLM positions; `joint` is whether any may speak."""
    c, cache = model.config, model.kernels.cache
    decoding = Decoding("joint" if joint else "text", 1)
    return Slots(
        caches=empty_caches(c.text, slots, length, c.dtype, cache),
        position=jnp.zeros(slots, jnp.int32),
        last=jnp.zeros(slots, jnp.int32),
        seen=jnp.zeros((slots, c.vocab_size), bool),
        alive=jnp.zeros(slots, bool),
        ids=jnp.zeros((slots, 1), jnp.int32),  # the host keeps the ids
        count=jnp.zeros(slots, jnp.int32),
        request=requests(decoding, jnp.broadcast_to(jax.random.key(0), slots)),
        speech=empty_speech(c, slots, length, 1, cache) if joint else None,
    )


@partial(jax.jit, static_argnames=("model",), donate_argnames=("slots",))
def take_up(
    model: FunAudioChat,
    params: Params,
    slots: Slots,
    at: Int[Array, " R"],
    kept: Int[Array, " R"],
    past_ids: Int[Array, "R P"],
    prompt: Batch,
    asked: Asked,
) -> tuple[Slots, Int[jax.Array, "S N"]]:
    """Runs a prompt behind what a slot holds, and picks the first text id of its reply.

    Args:
      model: a model with `scan_layers=False`; model and parameters are those of `prepared.prepare`.
      params: its parameters, with several adapters or not (`generation.several`).
      slots: their buffers are given up.
      at: place of the slot; one.
      kept: LLM positions that the slot keeps; 0 for a prompt that begins.
      past_ids: text ids of these positions, in any order, then -1; P is the number of positions of the caches.
      prompt: the prompt from position `kept` on.
      asked: how it is answered.

    Returns:
      the slots, and what `told` says of them.
    """
    at, kept = jnp.asarray(at), jnp.asarray(kept)
    joint, limit = jnp.asarray(asked.joint), jnp.asarray(asked.limit)
    keys = fold(jax.vmap(jax.random.key)(asked.seed), 0)  # those of `Model.respond` for one question
    on = jnp.ones_like(joint)
    request = Request(keys, limit, joint, on, ~on, asked.text, asked.speech)

    def run(model: FunAudioChat, slots: Slots) -> Slots:
        past = take_past(slots, at, kept, past_ids)
        prefix = begin(model, prompt, request, past, past_ids.shape[1], 1, slots.speech is not None, draws=True)
        return insert_slots(slots, prefix, at)

    slots = nn.apply(run, model)({"params": of_rows(params, asked.adapter)}, slots)
    return slots, told(slots)


@partial(jax.jit, static_argnames=("model", "draws"), donate_argnames=("slots",))
def advance(
    model: FunAudioChat,
    params: Params,
    slots: Slots,
    going: Bool[Array, " S"],
    adapter: Int[Array, " S"],
    *,
    draws: bool,
) -> tuple[Slots, Int[jax.Array, "S N"]]:
    """Runs one LLM step of the slots that go on; the others change nothing.

    Args:
      slots: their buffers are given up.
      going: slots that go on, if their reply has not ended.
      adapter: whose model each slot has (`generation.several.of_rows`).
      draws: whether one of them draws ids; without it every slot takes the likeliest.

    Returns:
      the slots, and what `told` says of them.
    """
    alive = slots.alive
    some = replace(slots, alive=alive & going)
    moved = nn.apply(partial(step, draws=draws), model)({"params": of_rows(params, adapter)}, some)
    moved = replace(moved, alive=jnp.where(going, moved.alive, alive))
    return moved, told(moved)


def told(slots: Slots) -> Int[jax.Array, "S N"]:
    """What the host wants to know of each slot: whether it is alive, number of its text ids, and the last of them.

    Where something speaks: then the number of its groups, and the last group.
    """
    columns = [slots.alive.astype(jnp.int32), slots.count, slots.last]
    if slots.speech is not None:
        columns += [slots.speech.count, *slots.speech.group.T]
    return jnp.stack(columns, axis=1)


@partial(jax.jit, static_argnames=("size",))
def take(slots: Slots, at: Int[Array, ""], *, size: int) -> Kept:
    """Copies the first `size` LLM positions out of a slot."""
    rows, length = len(slots.position), slots.caches[0].k.shape[-2]

    def copied(cache: jax.Array) -> jax.Array:
        apart = cache.reshape(rows, -1, *cache.shape[-2:])[at]
        return apart[:, : size * cache.shape[-2] // length]  # the head has G places for each position

    speech = () if slots.speech is None else slots.speech.caches
    return Kept(jax.tree.map(copied, slots.caches), jax.tree.map(copied, speech))


@partial(jax.jit, donate_argnames=("slots",))
def put(slots: Slots, kept: Kept, at: Int[Array, ""]) -> Slots:
    """Puts a copy back into a slot; the slots' buffers are given up."""
    rows = len(slots.position)

    def written(cache: jax.Array, new: Array) -> jax.Array:
        apart = cache.reshape(rows, -1, *cache.shape[-2:])
        return apart.at[at, :, : new.shape[1]].set(new).reshape(cache.shape)

    caches = jax.tree.map(written, slots.caches, kept.caches)
    if slots.speech is None:
        return replace(slots, caches=caches)
    speech = replace(slots.speech, caches=jax.tree.map(written, slots.speech.caches, kept.speech_caches))
    return replace(slots, caches=caches, speech=speech)
