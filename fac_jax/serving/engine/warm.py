"""Compiles all programs before the first request."""

import jax
import numpy as np

from fac_jax.api import Model
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.grid import encode
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.serving.engine.device import Device
from fac_jax.serving.engine.ears import Ears
from fac_jax.serving.engine.programs import asked
from fac_jax.serving.engine.prompts import Piece
from fac_jax.serving.engine.voices import Voices


def warm_up(model: Model, device: Device, ears: Ears, voices: Voices, sizes: tuple[int, ...]) -> None:
    """Runs every program once, in slots that are made anew afterwards; `sizes` are those of prompts."""
    said = Conversation("warm", "", (Turn("user", "a"),))
    prompt = encode(said, model.tokenizer, model.config, add_generation_prompt=True)
    for size in sizes:
        device.take_up(0, prompt, Piece(0, min(len(prompt), size), size), asked(0, 1, joint=False))
    for draws in (False, True):
        device.advance(np.zeros(device.slots, bool), draws)
    for size in device.kept_sizes:
        device.put(0, jax.tree.map(np.asarray, device.take(0, size)))
    ears.warm_up(device.length * model.config.group_size / TOKEN_RATE)
    voices.warm_up()
    device.reset()
    device.wait()
