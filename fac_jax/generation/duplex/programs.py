"""Calls side by side: they come and go while the others continue (docs/duplex.md, "Runtime").

`tick` runs one slot of all calls. `extend` runs a prompt, or a call's past, chunk by chunk next to them; `join` begins
a call with it, `roll_over` gives it to a call that goes on, and `leave` ends a call. All are compiled once for a number
of places, whatever the calls do.
"""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float32, Int

from fac_jax.duplex import ears
from fac_jax.generation.duplex.side import Chunk, Side, add_chunk, begin_call, end_call, insert_side, past_chunk
from fac_jax.generation.duplex.state import CallState, Mode, Options, Slot
from fac_jax.generation.duplex.tick import next_slot
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Array, Params


@partial(jax.jit, static_argnames=("model", "draws"), donate_argnames=("state",))
def tick(
    model: FunAudioChat,
    params: Params,
    state: CallState,
    samples: Float32[Array, "N 3200"],
    active: Bool[Array, " N"],
    *,
    draws: bool,
) -> tuple[CallState, Slot]:
    """Runs one slot of all calls, and returns the new state and what they do in the slot after it.

    Args:
      model: a model with `scan_layers=False`; model and parameters are those of `prepared.prepare`.
      state: its buffers are given up.
      samples: what the users say in the slot, at 16 kHz.
      active: places that run; a call that does not is paused, and a free place never runs.
      draws: whether some call draws ids; without it every call takes the likeliest.
    """

    def run(model: FunAudioChat, state: CallState) -> tuple[CallState, Slot]:
        running = jnp.asarray(active) & (state.mode != Mode.FREE)
        heard, frames = ears.hear(model, state.ears, jnp.asarray(samples), running)
        new, slot, _ = next_slot(model, replace(state, ears=heard), frames, running, draws)
        return new, slot

    return nn.apply(run, model)({"params": params}, state)


@partial(jax.jit, static_argnames=("model",), donate_argnames=("side",))
def extend(model: FunAudioChat, params: Params, side: Side, chunk: Chunk) -> Side:
    """Runs a chunk behind what a side holds; the side's buffers are given up."""
    return nn.apply(add_chunk, model)({"params": params}, side, chunk)


@jax.jit
def past(state: CallState, at: Int[Array, ""] | int, first: Int[Array, ""] | int, count: Int[Array, ""] | int) -> Chunk:
    """Copies up to a chunk of slots that a call remembers (`side.past_chunk`), from slot `first` on."""
    return past_chunk(state, jnp.asarray(at), jnp.asarray(first), jnp.asarray(count, jnp.int32))


@partial(jax.jit, static_argnames=("model", "draws"), donate_argnames=("state",))
def join(
    model: FunAudioChat,
    params: Params,
    state: CallState,
    side: Side,
    at: Int[Array, ""] | int,
    options: Options,
    greets: Bool[Array, ""] | bool,
    *,
    draws: bool,
) -> tuple[CallState, Slot]:
    """Begins a call in a free place, and returns its slot 0, of one row.

    Args:
      state: its buffers are given up.
      side: holds the prompt.
      at: the place, from 0.
      options: how the one row is answered.
      greets: whether the assistant speaks first.
      draws: see `tick`.
    """

    def run(model: FunAudioChat, state: CallState) -> tuple[CallState, Slot]:
        place = jnp.asarray(at)
        opened = replace(state, ears=ears.begin(state.ears, jnp.arange(len(state.mode)) == place))
        return begin_call(model, opened, side, place, options, jnp.asarray(greets), draws)

    return nn.apply(run, model)({"params": params}, state)


@partial(jax.jit, static_argnames=("model",), donate_argnames=("state",))
def roll_over(model: FunAudioChat, state: CallState, side: Side, at: Int[Array, ""] | int) -> CallState:
    """Lets a call go on with what a side holds; the state's buffers are given up."""
    return insert_side(model, state, side, jnp.asarray(at))


@partial(jax.jit, donate_argnames=("state",))
def leave(state: CallState, at: Int[Array, ""] | int) -> CallState:
    """Ends the call of a place, which is then free; the state's buffers are given up."""
    return end_call(state, jnp.asarray(at))
