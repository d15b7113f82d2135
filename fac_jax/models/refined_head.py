"""The Speech Refined Head: 25 Hz speech tokens from 5 Hz LLM states (model.md section 6, Eq. 2 to 4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from fac_jax import axes
from fac_jax.layers.attention import Visibility, self_visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.linear import Linear
from fac_jax.models.config import ModelConfig
from fac_jax.models.decoder import ACTIVATION, Decoder
from fac_jax.types import KVCache


class RefinedHead(nn.Module):
    """`condition` opens an LLM state into G pieces; `decode` runs the 25 Hz transformer on them."""

    config: ModelConfig
    kernels: Kernels = Kernels()

    def setup(self) -> None:
        c, width = self.config, self.config.text.width
        kinds = {"dtype": c.dtype, "param_dtype": c.param_dtype}
        self.pre = Linear(c.group_size * width, (axes.EMBED, axes.GROUP), True, **kinds)
        self.input = Linear(c.head.width, (axes.EMBED, axes.MLP), **kinds)
        self.decoder = Decoder(c.head, self.kernels, c.scan_layers, c.remat, **kinds)
        self.output = Linear(width, (axes.MLP, axes.EMBED), **kinds)

    def condition(self, hidden: jax.Array, text: jax.Array) -> jax.Array:
        """Pieces of LLM states `hidden` and text embeddings `text`, both `[B, S, D]` -> `[B, S, G, D]` (Eq. 2, 3)."""
        pieces = self.pre(hidden + jax.lax.stop_gradient(text))
        return rearrange(pieces, "b s (g d) -> b s g d", g=self.config.group_size)

    def decode(
        self,
        x: jax.Array,
        positions: jax.Array,
        visibility: Visibility,
        caches: tuple[KVCache, ...] | None = None,
        slot: jax.Array | int = 0,
    ) -> tuple[jax.Array, tuple[KVCache, ...] | None]:
        """Fine inputs `[B, T, D]` (piece + embedding of the token before) -> states in LLM width, caches."""
        x = nn.with_logical_constraint(self.input(x), ACTIVATION)
        states, caches, _ = self.decoder(x, positions, visibility, caches, slot)
        return nn.with_logical_constraint(self.output(states), ACTIVATION), caches

    def __call__(
        self, hidden: jax.Array, text: jax.Array, previous: jax.Array, segment_ids: jax.Array, positions: jax.Array
    ) -> jax.Array:
        """Teacher-forced pass.

        Args:
          hidden: LLM states `[B, S, D]`.
          text: embedding of the text stream `[B, S, D]`.
          previous: embedding of the token just before the one to predict, on the fine grid `[B, S, G, D]`.
          segment_ids: int32 `[B, S]`.
          positions: int32 `[B, S]` on the LLM grid.

        Returns:
          `[B, S, G, D]`; fine position iG + j predicts speech label (i + 1)G + j.
        """
        group = self.config.group_size
        x = rearrange(self.condition(hidden, text) + previous, "b s g d -> b (s g) d")
        fine = fine_positions(positions, group)
        segments = jnp.repeat(segment_ids, group, axis=1)
        out, _ = self.decode(x, fine, self_visibility(segments, fine, causal=True))
        return rearrange(out, "b (s g) d -> b s g d", g=group)


def fine_positions(positions: jax.Array, group: int) -> jax.Array:
    """LLM positions int32 `[B, S]` on the 25 Hz grid, `[B, S * G]`: G * position + j."""
    return (positions[..., None] * group + jnp.arange(group)).reshape(positions.shape[0], -1)
