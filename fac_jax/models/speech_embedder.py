"""Grouped speech embedding: G tokens or G continuous frames become one LLM input (model.md section 3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, reduce

from fac_jax import axes
from fac_jax.layers.linear import Embedding, Linear
from fac_jax.models.config import ModelConfig
from fac_jax.types import NO_FRAME


class SpeechEmbedder(nn.Module):
    """Table `E_s` `[C, D]` of speech tokens and the maps of their groups to LLM inputs."""

    config: ModelConfig

    def setup(self) -> None:
        c, width = self.config, self.config.text.width
        kinds = {"dtype": c.dtype, "param_dtype": c.param_dtype}
        self.embed = Embedding(c.codebook_size, width, (axes.CODEBOOK, axes.EMBED), **kinds)
        self.discrete = Linear(width, (axes.MLP, axes.EMBED), **kinds)
        self.continuous = Linear(width, (axes.MLP, axes.EMBED), **kinds)

    def lookup(self, ids: jax.Array) -> jax.Array:
        """`E_s` of int32 ids `[..] -> [.., D]`; the pad row gets no gradient from being looked up."""
        rows = self.embed(ids)
        is_pad = (ids == self.config.special.speech_pad)[..., None]
        return jnp.where(is_pad, jax.lax.stop_gradient(rows), rows)

    def group(self, ids: jax.Array) -> jax.Array:
        """Discrete groups, int32 `[B, S, G] -> [B, S, D]`: the release's mean, or Eq. 1's concatenation."""
        rows = self.lookup(ids)
        if self.config.grouping == "mean":
            return self.discrete(reduce(rows, "b s g d -> b s d", "mean"))
        return self.discrete(rearrange(rows, "b s g d -> b s (g d)"))

    def __call__(
        self, ids: jax.Array, has_waveform: jax.Array, frame_index: jax.Array, frames: jax.Array | None, parts: int = 1
    ) -> jax.Array:
        """Groups of `ids` `[B, S, G]`, with continuous features where there is a waveform.

        Args:
          ids: int32 `[B, S, G]`.
          has_waveform: bool `[B, S]`.
          frame_index: int32 `[B, S, G]`, rows of `frames` or NO_FRAME (counts as zeros in the mean).
          frames: 25 Hz encoder output `[W * n // 2, D]`, or None when no audio of the batch has a waveform.
          parts: of the batch (`Batch.parts`).
        """
        groups = self.group(ids)
        if frames is None:
            return groups
        picked = _pick(frames, frame_index, parts)
        picked = jnp.where((frame_index != NO_FRAME)[..., None], picked, 0)
        features = self.continuous(reduce(picked, "b s g d -> b s d", "mean"))
        if self.config.continuous_mode == "add":
            return groups + jnp.where(has_waveform[..., None], features, 0)
        return jnp.where(has_waveform[..., None], features, groups)


def _pick(frames: jax.Array, index: jax.Array, parts: int) -> jax.Array:
    """Rows `index` `[B, S, G]` of `frames` `[F, D]`, `[B, S, G, D]`; those of a part are picked from its own frames."""
    if parts == 1:
        return jnp.take(frames, index, axis=0, mode="clip")
    own = rearrange(frames, "(p f) d -> p f d", p=parts)
    local = rearrange(index, "(p b) s g -> p b s g", p=parts) - (jnp.arange(parts) * own.shape[1])[:, None, None, None]
    picked = jax.vmap(lambda rows, at: jnp.take(rows, at, axis=0, mode="clip"))(own, local)
    return rearrange(picked, "p b s g d -> (p b) s g d")
