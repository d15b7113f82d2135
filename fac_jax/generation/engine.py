"""Slots that reply side by side: prompts come and replies go while the others continue (docs/generation.md).

`prefill` makes a slot of a prompt, `insert` puts it among others, `advance` runs steps of all, `release` frees one.
All are compiled once for a number of slots, a length and a limit, whatever the requests ask for.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

from fac_jax.generation.prefill import begin
from fac_jax.generation.slots import Past, Request, Slots, insert_slots, on_their_devices, take_past
from fac_jax.generation.step import step
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.mesh import Layout
from fac_jax.types import Array, Batch, Params


@partial(
    jax.jit,
    static_argnames=("model", "length", "max_steps", "joint", "draws", "layout"),
    donate_argnames=("past",),
)
def prefill(
    model: FunAudioChat,
    params: Params,
    prompt: Batch,
    request: Request,
    past: Past | None = None,
    *,
    length: int,
    max_steps: int,
    joint: bool,
    draws: bool,
    layout: Layout | None = None,
) -> Slots:
    """Runs prompts, and returns a slot for each in which the first text id is picked.

    Args:
      model: a model with `scan_layers=False`; model and parameters are those of `prepared.prepare`.
      prompt: prompts up to and including the assistant's header, one segment a row, padded on either side.
      request: how each row replies.
      past: what each prompt continues (`park`); its buffers are given up. None for prompts that begin.
      length: positions of the caches, those of the past if there is one; the prompts with their padding fit in behind
        what it keeps.
      max_steps: most text ids of a reply, at least the greatest limit of the requests.
      joint: whether some reply speaks; without it there is no state of the refined head.
      draws: whether some row draws ids; without it every row takes the likeliest.
      layout: mesh on which the parameters and the prompts are; None for one device.
    """

    def run(model: FunAudioChat, prompt: Batch, request: Request, past: Past | None) -> Slots:
        return on_their_devices(begin(model, prompt, request, past, length, max_steps, joint, draws))

    return _inside(nn.apply(run, model), layout)({"params": params}, prompt, request, past)


@partial(jax.jit, static_argnames=("layout",))
def park(
    slots: Slots,
    at: Int[Array, " R"],
    length: Int[Array, " R"],
    text_ids: Int[Array, "R P"],
    layout: Layout | None = None,
) -> Past:
    """Copies the beginning of conversations out of slots, so that other prompts can continue it.

    Args:
      slots: S slots, which stay as they are.
      at: places of R of them, from 0.
      length: LLM positions of each that are kept; a reply that was cut is left out by a smaller number.
      text_ids: text ids of these positions, in any order, filled up with -1; repetition penalties read them. P is the
        number of LLM positions that the copied caches have, at least those of the slots.
    """
    return _inside(lambda *given: on_their_devices(take_past(*given)), layout)(
        slots, jnp.asarray(at), jnp.asarray(length, jnp.int32), text_ids
    )


@partial(jax.jit, static_argnames=("layout",), donate_argnames=("slots",))
def insert(slots: Slots, prefix: Slots, at: Int[Array, " R"], layout: Layout | None = None) -> Slots:
    """Puts slots that `prefill` made into others, whose caches are as long or longer.

    Args:
      slots: S slots; their buffers are given up.
      prefix: R slots.
      at: place of each of them, from 0; S leaves it out.
    """
    return _inside(lambda *given: on_their_devices(insert_slots(*given)), layout)(slots, prefix, jnp.asarray(at))


@partial(jax.jit, static_argnames=("model", "draws", "layout"), donate_argnames=("slots",))
def advance(
    model: FunAudioChat,
    params: Params,
    slots: Slots,
    most: Int[jax.Array, ""] | int,
    until_free: Bool[jax.Array, ""] | bool,
    *,
    draws: bool,
    layout: Layout | None = None,
) -> Slots:
    """Runs LLM steps of all slots until no reply goes on.

    Args:
      slots: their buffers are given up.
      most: steps after which it stops.
      until_free: whether it stops as soon as one of the replies has ended.
      draws: see `prefill`.
    """

    def run(model: FunAudioChat, slots: Slots) -> Slots:
        # A bound method inside a loop would be lifted variable by variable; parameters are constants here.
        one, variables = nn.apply(partial(step, draws=draws), model.clone(parent=None)), model.variables["params"]
        begun = slots.alive

        def running(carry: tuple[jax.Array, Slots]) -> jax.Array:
            number, slots = carry
            free = until_free & jnp.any(begun & ~slots.alive)
            return (number < most) & jnp.any(slots.alive) & ~free

        def next_step(carry: tuple[jax.Array, Slots]) -> tuple[jax.Array, Slots]:
            return carry[0] + 1, one({"params": variables}, carry[1])

        return on_their_devices(jax.lax.while_loop(running, next_step, (jnp.int32(0), slots))[1])

    return _inside(nn.apply(run, model), layout)({"params": params}, slots)


@partial(jax.jit, static_argnames=("layout",), donate_argnames=("slots",))
def release(slots: Slots, at: Int[jax.Array, ""] | int, layout: Layout | None = None) -> Slots:
    """Ends the reply of a slot, which is then free; its ids stay until another comes in."""
    ended = replace(slots, alive=slots.alive.at[at].set(False))
    return _inside(on_their_devices, layout)(ended)


def _inside(function: Any, layout: Layout | None) -> Any:
    return function if layout is None else layout.inside(function)
