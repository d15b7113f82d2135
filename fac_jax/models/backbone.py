"""The Shared LLM: text embedding, Qwen3 decoder, text head (docs/model.md, section 5)."""

from functools import partial

import flax.linen as nn
import jax
from flax.linen.spmd import with_logical_constraint
from jaxtyping import Float, Int

from fac_jax import axes
from fac_jax.layers.attention import Visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.linear import Embedding
from fac_jax.models.config import ModelConfig
from fac_jax.models.decoder import Decoder
from fac_jax.types import Array, KVCache, Params, RouterStats


class Backbone(nn.Module):
    """Shared LLM, at 5 Hz on audio. Its text head is a table `unembed` `[V, D]`, or the embedding itself if tied.

    Attributes:
      config: sizes of the model.
      kernels: attention and experts.
    """

    config: ModelConfig
    kernels: Kernels = Kernels()

    def setup(self) -> None:
        c = self.config
        table = partial(
            Embedding, c.vocab_size, c.text.width, (axes.VOCAB, axes.EMBED), dtype=c.dtype, param_dtype=c.param_dtype
        )
        self.embed = table()
        if not c.tie_embeddings:
            self.unembed = table()
        self.decoder = Decoder(c.text, self.kernels, c.scan_layers, c.remat, dtype=c.dtype, param_dtype=c.param_dtype)

    def __call__(
        self,
        x: Float[jax.Array, "B S D"],
        positions: Int[Array, "B S"],
        visibility: Visibility,
        caches: tuple[KVCache, ...] = (),
        slot: Int[jax.Array, ""] | int = 0,
    ) -> tuple[Float[jax.Array, "B S D"], tuple[KVCache, ...], RouterStats | None]:
        """Runs the decoder on LLM inputs; see `Decoder`."""
        return self.decoder(x, positions, visibility, caches, slot)

    def unembedding(self) -> Float[Array, "V D"]:
        """The text head."""
        return self.embed.embedding if self.config.tie_embeddings else self.unembed.embedding


def text_unembedding(params: Params, config: ModelConfig) -> Float[Array, "V D"]:
    """Takes the text head from a whole model's parameters; its width is not sharded, since it is read in chunks."""
    table = params["backbone"]["embed" if config.tie_embeddings else "unembed"]["embedding"]
    return with_logical_constraint(table, (axes.VOCAB, None))
