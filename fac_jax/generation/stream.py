"""One reply, handed out step by step while the next step runs."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from fac_jax.batching.grid import Example
from fac_jax.generation.continuous import written
from fac_jax.generation.engine import advance, prefill
from fac_jax.generation.respond import ExamplePrompts
from fac_jax.generation.sampling import fold
from fac_jax.generation.slots import Decoding
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
    """

    text: str
    units: Int32[np.ndarray, " T"]
    last: bool
    finished: bool


def stream(
    model: FunAudioChat, params: Params, prompt: Example, tokenizer: Tokenizer, decoding: Decoding, seed: int = 0
) -> Iterator[Part]:
    """Yields a reply as it is made; its parts together are the `Response` of `respond` to the prompt alone.

    A step is read when the next one has been started, so that the device does not wait for what is done with it.
    """
    c = model.config
    laid_out = ExamplePrompts(c, [prompt], decoding, fold(jax.random.key(seed)[None], 0))
    batch, request = laid_out.batch([0])
    slots = prefill(
        model,
        params,
        batch,
        request,
        length=laid_out.length + decoding.max_steps,
        max_steps=decoding.max_steps,
        joint=decoding.stream == "joint",
        draws=decoding.draws,
    )
    told = groups = 0
    last = False
    while not last:
        made = _copied(written(slots))  # before the next step takes the buffers
        slots = advance(model, params, slots, 1, False, draws=decoding.draws)
        alive, ids, count, *speech = (each[0] for each in jax.device_get(made))
        last = not alive
        units = np.zeros(0, np.int32)
        if speech:
            units, groups = speech[0][groups : speech[1]].reshape(-1), int(speech[1])
            units = units[units < c.units].astype(np.int32)
        text = _text(tokenizer, ids[:count].tolist(), last)
        yield Part(text[told:], units, last, bool(np.any(ids[:count] == c.special.eos)))
        told = len(text)


@jax.jit
def _copied(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return jax.tree.map(jnp.copy, arrays)


def _text(tokenizer: Tokenizer, ids: Sequence[int], last: bool) -> str:
    """The text of ids without spaces around it; before the last, also without a character that is not whole."""
    text = tokenizer.decode(ids).lstrip()
    return text.rstrip() if last else text.rstrip(BROKEN).rstrip()
