"""Replies to many prompts, batch by batch at one static shape."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from fac_jax import axes
from fac_jax.batching.collate import collate
from fac_jax.batching.grid import Example, windows_of
from fac_jax.generation.decode import Decoding, generate
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.batches import HostShard, host_shard, place_batch
from fac_jax.parallel.hosts import everywhere
from fac_jax.parallel.mesh import Layout
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import Params

BUCKET = 16  # prompts are padded to a multiple of this number of LLM positions


@dataclasses.dataclass(frozen=True, eq=False)
class Response:
    """One reply.

    Attributes:
      id: id of the prompt's record.
      text: text of the reply, without special tokens.
      units: codec ids of the spoken reply (25 Hz); empty if nothing was spoken.
      finished: whether the reply ended with its eos, before the step limit.
    """

    id: str
    text: str
    units: Int32[np.ndarray, " T"]
    finished: bool


def respond(
    model: FunAudioChat,
    params: Params,
    prompts: Sequence[Example],
    tokenizer: Tokenizer,
    decoding: Decoding,
    rows: int,
    seed: int = 0,
    layout: Layout | None = None,
) -> Iterable[Response]:
    """Replies to prompts in their order; one compilation serves all of them.

    Args:
      model: model with unstacked layers (`decode.prepare`).
      prompts: examples encoded with the generation prompt.
      rows: prompts in one batch.
      seed: seed of the draws; every prompt has its own key.
      layout: mesh on which the parameters are; it divides `rows` evenly.

    Raises:
      InputError: the mesh does not divide `rows`.
    """
    c = model.config
    length = -(-max(map(len, prompts)) // BUCKET) * BUCKET
    windows = rows * max(sum(windows_of(mel, c.audio.n_window) for mel in prompt.mels) for prompt in prompts)
    shards = 1 if layout is None else layout.shards(axes.BATCH)
    windows = -(-windows // shards) * shards
    shard = HostShard() if layout is None else host_shard(layout)
    mine = slice(shard.host * rows // shard.hosts, (shard.host + 1) * rows // shard.hosts)
    keys = jax.random.split(jax.random.key(seed), len(prompts) + rows)
    for start in range(0, len(prompts), rows):
        chosen = prompts[start : start + rows]
        filled = [*chosen, *[chosen[0]] * (rows - len(chosen))][mine]
        batch = collate(filled, len(filled), length, windows // shard.hosts, c)
        placed = batch if layout is None else place_batch(batch, layout)
        limit = jnp.int32(decoding.max_steps)
        made = generate(model, params, placed, keys[start : start + rows], limit, decoding, layout)
        reply = everywhere(made)
        for row, prompt in enumerate(chosen):
            ids = reply.text_ids[row, : reply.text_count[row]]
            spoken = np.zeros(0, np.int32)
            if reply.speech_ids is not None:
                groups = reply.speech_ids[row, : reply.speech_count[row]].reshape(-1)
                spoken = groups[groups < c.units].astype(np.int32)  # specials never reach a codec
            text = tokenizer.decode(ids.tolist()).strip()
            yield Response(prompt.id, text, spoken, bool(np.any(ids == c.special.eos)))
