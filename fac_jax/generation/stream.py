"""One reply, handed out step by step while the next step runs."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.generation.continuous import reply_of, written
from fac_jax.generation.engine import advance
from fac_jax.generation.slots import Decoding, Slots
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import Params

BROKEN = "\N{REPLACEMENT CHARACTER}"  # stands for the beginning of a character whose other bytes are to come


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """What an LLM step adds to a reply.

    Attributes:
      text: what the text goes on with, whole characters.
      units: codec ids of the group that was spoken.
      last: whether nothing follows.
      finished: whether the reply has ended with its eos.
      reply: all ids so far.
      slots: the state behind the step that follows; given up when the next part is asked for.
    """

    text: str
    units: Int32[np.ndarray, " T"]
    last: bool
    finished: bool
    reply: GeneratedReply
    slots: Slots


def stream(
    model: FunAudioChat, params: Params, slots: Slots, tokenizer: Tokenizer, decoding: Decoding
) -> Iterator[Part]:
    """Yields a reply as it is made, from the one slot in which it begins (`engine.prefill`, `turns.take_up`).

    Its parts together are the `Response` of `respond` to the same prompt. A step is read when the next one has been
    started, so that the device does not wait for what is done with it.
    """
    c = model.config
    told = groups = 0
    last = False
    while not last:
        made = _copied(written(slots))  # before the next step takes the buffers
        slots = advance(model, params, slots, 1, False, draws=decoding.draws)
        alive, *ids = (each[0] for each in jax.device_get(made))
        reply, last = reply_of(*ids, group_size=c.group_size), not alive
        units = reply.groups[groups:]
        units = units[units < c.units].astype(np.int32)
        text = _text(tokenizer, reply.text_ids.tolist(), last)
        yield Part(text[told:], units, last, bool(np.any(reply.text_ids == c.special.eos)), reply, slots)
        told, groups = len(text), len(reply.groups)


@jax.jit
def _copied(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return jax.tree.map(jnp.copy, arrays)


def _text(tokenizer: Tokenizer, ids: Sequence[int], last: bool) -> str:
    """The text of ids without spaces around it; before the last, also without a character that is not whole."""
    text = tokenizer.decode(ids).lstrip()
    return text.rstrip() if last else text.rstrip(BROKEN).rstrip()
