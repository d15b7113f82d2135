"""The Speech Refined Head: 25 Hz speech tokens from 5 Hz LLM states (docs/model.md, section 6, Eq. 2 to 4)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from flax.linen.spmd import with_logical_constraint
from jaxtyping import Float, Int

from fac_jax import axes
from fac_jax.layers.attention import Visibility, self_visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.linear import Linear
from fac_jax.models.config import ModelConfig
from fac_jax.models.decoder import ACTIVATION, Decoder
from fac_jax.types import Array, KVCache


class RefinedHead(nn.Module):
    """Head that turns 5 Hz states of the Shared LLM into 25 Hz predictions of speech tokens.

    `condition` opens an LLM state into G pieces; `decode` runs the 25 Hz transformer on them.
    """

    config: ModelConfig
    kernels: Kernels = Kernels()

    def setup(self) -> None:
        c, width = self.config, self.config.text.width
        linear = partial(Linear, dtype=c.dtype, param_dtype=c.param_dtype)
        self.pre = linear(c.group_size * width, (axes.EMBED, axes.GROUP), True)
        self.input = linear(c.head.width, (axes.EMBED, axes.MLP))
        self.decoder = Decoder(
            c.head, self.kernels, c.scan_layers, c.remat, c.unroll_layers, dtype=c.dtype, param_dtype=c.param_dtype
        )
        self.output = linear(width, (axes.MLP, axes.EMBED))

    def condition(
        self, hidden: Float[jax.Array, "B S D"], text: Float[jax.Array, "B S D"]
    ) -> Float[jax.Array, "B S G D"]:
        """Opens LLM states and text embeddings into the pieces of a group (Eq. 2, 3)."""
        pieces = self.pre(hidden + jax.lax.stop_gradient(text))
        return rearrange(pieces, "b s (g d) -> b s g d", g=self.config.group_size)

    def decode(
        self,
        x: Float[jax.Array, "B T D"],
        positions: Int[Array, "B T"],
        visibility: Visibility,
        caches: tuple[KVCache, ...] = (),
        slot: Int[jax.Array, "*B"] | int = 0,
    ) -> tuple[Float[jax.Array, "B T D"], tuple[KVCache, ...]]:
        """Runs the transformer on fine inputs (piece + embedding of the token before).

        Gives states in LLM width, and the caches with the new keys and values from `slot` on.
        """
        x = with_logical_constraint(self.input(x), ACTIVATION)
        states, caches, _ = self.decoder(x, positions, visibility, caches, slot)
        return with_logical_constraint(self.output(states), ACTIVATION), caches

    def __call__(
        self,
        hidden: Float[jax.Array, "B S D"],
        text: Float[jax.Array, "B S D"],
        previous: Float[jax.Array, "B S G D"],
        segment_ids: Int[Array, "B S"],
        positions: Int[Array, "B S"],
    ) -> Float[jax.Array, "B S G D"]:
        """Runs the head with the true speech tokens as its past.

        `previous` is the embedding of the token just before the one to predict, on the fine grid. The states are in LLM
        width; fine position iG + j predicts speech label (i + 1)G + j.
        """
        group = self.config.group_size
        x = rearrange(self.condition(hidden, text) + previous, "b s g d -> b (s g) d")
        fine = fine_positions(positions, group)
        segments = jnp.repeat(segment_ids, group, axis=1)
        out, _ = self.decode(x, fine, self_visibility(segments, fine, causal=True, **self.config.head_limits))
        return rearrange(out, "b (s g) d -> b s g d", g=group)


def fine_positions(positions: Int[Array, "B S"], group: int) -> Int[jax.Array, "B S*{group}"]:
    """Positions of the 25 Hz grid, G * position + j, from those of the LLM grid."""
    return (jnp.asarray(positions)[..., None] * group + jnp.arange(group)).reshape(positions.shape[0], -1)
