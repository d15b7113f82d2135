"""The Shared LLM: text embedding, Qwen3 decoder, text head (model.md section 5)."""

import flax.linen as nn
import jax

from fac_jax import axes
from fac_jax.layers.attention import Visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.linear import Embedding
from fac_jax.models.config import ModelConfig
from fac_jax.models.decoder import Decoder
from fac_jax.types import KVCache, Params, RouterStats


class Backbone(nn.Module):
    """Runs at 5 Hz on audio. The text head is a table `unembed` `[V, D]`, or the embedding itself if tied."""

    config: ModelConfig
    kernels: Kernels = Kernels()

    def setup(self) -> None:
        c = self.config
        kinds = {"dtype": c.dtype, "param_dtype": c.param_dtype}
        self.embed = Embedding(c.vocab_size, c.text.width, (axes.VOCAB, axes.EMBED), **kinds)
        if not c.tie_embeddings:
            self.unembed = Embedding(c.vocab_size, c.text.width, (axes.VOCAB, axes.EMBED), **kinds)
        self.decoder = Decoder(c.text, self.kernels, c.scan_layers, c.remat, **kinds)

    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        visibility: Visibility,
        caches: tuple[KVCache, ...] | None = None,
        slot: jax.Array | int = 0,
    ) -> tuple[jax.Array, tuple[KVCache, ...] | None, RouterStats | None]:
        """`x` `[B, S, D]` -> hidden states `[B, S, D]`, caches, router statistics."""
        return self.decoder(x, positions, visibility, caches, slot)

    def unembedding(self) -> jax.Array:
        """The text head, `[V, D]`."""
        return self.embed.embedding if self.config.tie_embeddings else self.unembed.embedding


def text_unembedding(params: Params, config: ModelConfig) -> jax.Array:
    """The text head `[V, D]` of a whole model's parameters, its width whole: it is read chunk by chunk."""
    table = params["backbone"]["embed" if config.tie_embeddings else "unembed"]["embedding"]
    return nn.with_logical_constraint(table, (axes.VOCAB, None))
