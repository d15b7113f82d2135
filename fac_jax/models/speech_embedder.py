"""Grouped speech embedding: G tokens or G continuous frames become one LLM input (docs/model.md, section 3)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.layers.linear import Embedding, Linear
from fac_jax.models.config import ModelConfig
from fac_jax.types import NO_FRAME, Array


class SpeechEmbedder(nn.Module):
    """Table `E_s` `[C, D]` of speech tokens, and the maps from their groups to LLM inputs."""

    config: ModelConfig

    def setup(self) -> None:
        c, width = self.config, self.config.text.width
        linear = partial(Linear, width, (axes.MLP, axes.EMBED), dtype=c.dtype, param_dtype=c.param_dtype)
        names = (axes.CODEBOOK, axes.EMBED)
        self.embed = Embedding(c.codebook_size, width, names, dtype=c.dtype, param_dtype=c.param_dtype)
        self.discrete = linear()
        self.continuous = linear()

    def lookup(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """Looks ids up in `E_s`; the pad row gets no gradient from being looked up."""
        rows = self.embed(ids)
        is_pad = (ids == self.config.special.speech_pad)[..., None]
        return jnp.where(is_pad, jax.lax.stop_gradient(rows), rows)

    def group(self, ids: Int[Array, "B S G"]) -> Float[jax.Array, "B S D"]:
        """Maps groups of ids to LLM inputs: the release's mean, or the concatenation of Eq. 1."""
        rows = self.lookup(ids)
        if self.config.grouping == "mean":
            return self.discrete(reduce(rows, "b s g d -> b s d", "mean"))
        return self.discrete(rearrange(rows, "b s g d -> b s (g d)"))

    def __call__(
        self,
        ids: Int[Array, "B S G"],
        has_waveform: Bool[Array, "B S"],
        frame_index: Int[Array, "B S G"],
        frames: Float[jax.Array, "F D"] | None,
        parts: int = 1,
    ) -> tuple[Float[jax.Array, "B S D"], Float[jax.Array, "B S D"] | None]:
        """Maps groups to LLM inputs, with continuous features where there is a waveform.

        Args:
          has_waveform: True where continuous features are used.
          frame_index: rows of `frames`, or NO_FRAME, which counts as zeros in the mean.
          frames: 25 Hz encoder output of all windows, or None if no audio of the batch has a waveform.

        Returns:
          LLM inputs, and the continuous features of every position, None without frames.
        """
        groups = self.group(ids)
        if frames is None:
            return groups, None
        picked = _pick(frames, frame_index, parts)
        picked = jnp.where((frame_index != NO_FRAME)[..., None], picked, 0)
        features = self.continuous(reduce(picked, "b s g d -> b s d", "mean"))
        if self.config.continuous_mode == "add":
            return groups + jnp.where(has_waveform[..., None], features, 0), features
        return jnp.where(has_waveform[..., None], features, groups), features


def _pick(frames: Float[jax.Array, "F D"], index: Int[Array, "B S G"], parts: int) -> Float[jax.Array, "B S G D"]:
    """Picks rows `index` of `frames`; each part of the batch picks from its own frames."""
    if parts == 1:
        return jnp.take(frames, index, axis=0, mode="clip")
    own = rearrange(frames, "(p f) d -> p f d", p=parts)
    local = rearrange(index, "(p b) s g -> p b s g", p=parts) - (jnp.arange(parts) * own.shape[1])[:, None, None, None]
    picked = jax.vmap(lambda rows, at: jnp.take(rows, at, axis=0, mode="clip"))(own, local)
    return rearrange(picked, "p b s g d -> (p b) s g d")
