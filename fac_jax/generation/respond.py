"""Replies to many prompts, side by side in slots."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from fac_jax import axes
from fac_jax.batching.collate import collate
from fac_jax.batching.grid import Example, windows_of
from fac_jax.generation.continuous import answers
from fac_jax.generation.sampling import fold
from fac_jax.generation.slots import Decoding, Request, requests
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.batches import HostShard, host_shard, place_batch
from fac_jax.parallel.mesh import Layout
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import Batch, Params

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
    numbers: Sequence[int] | None = None,
) -> Iterable[Response]:
    """Replies to prompts in their order, `rows` of them side by side; where one ends, the next prompt begins.

    Programs are compiled for the longest prompt, and serve all.

    Args:
      model: model with unstacked layers (`prepared.prepare`).
      prompts: examples encoded with the generation prompt.
      rows: prompts that are answered side by side.
      seed: seed of the draws; every prompt has its own key, by its number.
      layout: mesh on which the parameters are; it divides `rows` evenly.
      numbers: of the prompts; 0, 1, .. if not given.

    Raises:
      InputError: the mesh does not divide `rows`.
    """
    keys = fold(jnp.broadcast_to(jax.random.key(seed), len(prompts)), np.array(numbers or range(len(prompts))))
    laid_out = ExamplePrompts(model.config, prompts, decoding, keys, layout)
    done: dict[int, Response] = {}
    given = 0
    for answer in answers(model, params, laid_out, decoding, rows, layout):
        units = answer.reply.groups.reshape(-1)
        done[answer.number] = Response(
            id=prompts[answer.number].id,
            text=tokenizer.decode(answer.reply.text_ids.tolist()).strip(),
            units=units[units < model.config.units].astype(np.int32),  # specials never reach a codec
            finished=bool(np.any(answer.reply.text_ids == model.config.special.eos)),
        )
        while given in done:
            yield done.pop(given)
            given += 1


class ExamplePrompts:
    """`Prompts` of examples, all answered in the same way."""

    def __init__(
        self,
        config: ModelConfig,
        prompts: Sequence[Example],
        decoding: Decoding,
        keys: jax.Array,
        layout: Layout | None = None,
    ) -> None:
        """Takes a key for each prompt."""
        self._config, self._prompts, self._decoding, self._keys, self._layout = config, prompts, decoding, keys, layout
        self.length = -(-max(map(len, prompts)) // BUCKET) * BUCKET
        self.together = 1 if layout is None else layout.shards(axes.BATCH)
        size = config.audio.n_window
        self._windows = max(sum(windows_of(mel, size) for mel in prompt.mels) for prompt in prompts)

    def __len__(self) -> int:
        return len(self._prompts)

    def batch(self, chosen: Sequence[int | None]) -> tuple[Batch, Request]:
        """See `Prompts`."""
        rows, layout = len(chosen), self._layout
        shards = 1 if layout is None else layout.shards(axes.BATCH)
        shard = HostShard() if layout is None else host_shard(layout)
        mine = slice(shard.host * rows // shard.hosts, (shard.host + 1) * rows // shard.hosts)
        windows = -(-rows * self._windows // shards) * shards
        filled = [self._prompts[index or 0] for index in chosen][mine]
        batch = collate(filled, len(filled), self.length, windows // shard.hosts, self._config)
        numbers = np.array([index or 0 for index in chosen])
        limits = np.where([index is None for index in chosen], 0, self._decoding.max_steps)
        request = requests(self._decoding, self._keys[numbers], limits)
        return batch if layout is None else place_batch(batch, layout), request
