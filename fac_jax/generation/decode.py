"""Replies to one batch of prompts, which begin together; the batch ends with the longest of them."""

import jax
from flax import struct
from jaxtyping import Int, Key

from fac_jax.generation.engine import advance, prefill
from fac_jax.generation.slots import Decoding, requests
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.mesh import Layout
from fac_jax.types import Array, Batch, Params


@struct.dataclass
class Reply:
    """Replies to a batch of prompts.

    Attributes:
      text_ids: text ids, text pad after the end.
      text_count: number of text ids, the eos included.
      speech_ids: groups of speech ids, speech pad after the end; None for text-only generation.
      speech_count: number of groups spoken, the eos group included; None for text-only generation.
    """

    text_ids: Int[Array, "B m"]
    text_count: Int[Array, " B"]
    speech_ids: Int[Array, "B m G"] | None
    speech_count: Int[Array, " B"] | None


def generate(
    model: FunAudioChat,
    params: Params,
    prompt: Batch,
    keys: Key[jax.Array, " B"],
    limit: Int[Array, "*B"] | int,
    decoding: Decoding,
    layout: Layout | None = None,
) -> Reply:
    """Replies to a batch of prompts.

    Args:
      model: a model with `scan_layers=False`; model and parameters are those of `prepared.prepare`.
      prompt: prompts up to and including the assistant's header, one segment a row, padded on either side.
      keys: one PRNG key for each prompt.
      limit: text ids that a reply may have, at most `decoding.max_steps`; one number or one for each prompt.
      layout: mesh on which the parameters and the prompts are; None for one device.
    """
    slots = prefill(
        model,
        params,
        prompt,
        requests(decoding, keys, limit),
        length=prompt.text_ids.shape[1] + decoding.max_steps,
        max_steps=decoding.max_steps,
        joint=decoding.stream == "joint",
        draws=decoding.draws,
        layout=layout,
    )
    slots = advance(model, params, slots, decoding.max_steps, False, draws=decoding.draws, layout=layout)
    speech = slots.speech
    return Reply(slots.ids, slots.count, speech.ids if speech else None, speech.count if speech else None)
