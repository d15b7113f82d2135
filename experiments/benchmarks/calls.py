"""Speed of live calls: what a tick of all calls takes, which has to be well below the 200 ms of a slot."""

import dataclasses
import time
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.duplex.call import SLOT, SLOT_SECONDS
from fac_jax.generation.duplex.programs import extend, join, tick
from fac_jax.generation.duplex.side import CHUNK, empty_side, text_chunk
from fac_jax.generation.duplex.state import CallState, empty_calls, options
from fac_jax.generation.prepared import prepare
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig, Stream
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Params

PROMPT: Final = CHUNK  # text ids
TICKS: Final = 300  # a minute
NEVER: Final = -1e4  # nats


def duplex_config(config: ModelConfig, stream: Stream) -> ModelConfig:
    """Returns the config for calls of a model of `decode.endless`, so that no turn ever ends."""
    return replace(config, duplex=DuplexConfig(sinks=64, loudest_floor=0.0, stream=stream, stop_bias=NEVER))


def call_figures(config: ModelConfig, params: Params, calls: int, talks: bool) -> dict[str, float]:
    """Measures a minute of ticks as fast as they go.

    Args:
      config: of `duplex_config`.
      params: parameters in the form of training.
      calls: how many run side by side.
      talks: whether the assistant talks in all of them, all the time, or in none.
    """
    model, params = prepare(config, params)
    state = _begun(model, params, calls, talks)
    heard = np.random.default_rng(0).normal(0, 0.1, (calls, SLOT)).astype(np.float32)
    active, seconds = np.ones(calls, bool), []
    for _ in range(TICKS + 1):  # the first compiles
        begin = time.perf_counter()
        state, slot = tick(model, params, state, heard, active, draws=False)
        jax.device_get(slot)
        seconds.append(time.perf_counter() - begin)
    median, p99 = 1000 * np.percentile(seconds[1:], (50, 99))
    return {
        "tick p50, ms": float(median),
        "tick p99, ms": float(p99),
        "times real time": 1000 * SLOT_SECONDS / float(median),
        "bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
    }


def _begun(model: FunAudioChat, params: Params, calls: int, talks: bool) -> CallState:
    config, state = model.config, empty_calls(model, calls)
    assert config.duplex is not None
    given = options(jax.random.key(0)[None], config.duplex)
    given = dataclasses.replace(given, start_bias=jnp.full(1, NEVER))  # who greets talks in any case
    for place in range(calls):
        side = empty_side(model, PROMPT)
        side = extend(model, params, side, text_chunk(model, np.arange(PROMPT) % config.vocab_size))
        state, _ = join(model, params, state, side, place, given, talks, draws=False)
    return state
