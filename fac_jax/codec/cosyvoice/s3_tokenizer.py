"""The S3 tokenizer, third version: it turns a 128-bin log-mel into 25 Hz speech ids.

The codebook is a finite scalar quantiser with 3^8 entries (docs/codec_model.md, section 1).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import DIGITS, TokenizerConfig
from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.layers.conv import Conv1d, DepthwiseConv1d
from fac_jax.layers.linear import Linear
from fac_jax.layers.mlp import GeluMLP
from fac_jax.layers.norm import LayerNorm
from fac_jax.layers.rope import Rope, rope, rotate
from fac_jax.types import Array

THETA: float = 10000.0
BOUND: float = 0.9990000128746033  # largest absolute value of a feature, as the release stores it
POWERS: np.ndarray = 3 ** np.arange(DIGITS)  # place value of each digit, the least significant first


class MemoryAttention(nn.Module):
    """Rotary attention plus FSMN's memory: a convolution over the values (docs/codec_model.md, section 1.3)."""

    config: TokenizerConfig

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B T D"], table: Rope, visibility: Visibility, valid: Bool[jax.Array, "B T"]
    ) -> Float[jax.Array, "B T D"]:
        """Mixes the steps of every row. The memory reads and writes only the steps that are `valid`."""
        c, width = self.config, x.shape[-1]
        q, k, v = (Linear(width, (axes.EMBED, axes.HEADS), name != "k", name=name)(x) for name in "qkv")
        heads = [rearrange(a, "b t (n h) -> b t n h", n=c.num_heads) for a in (q, k, v)]
        out = einsum_attend(rotate(heads[0], table), rotate(heads[1], table), heads[2], visibility)
        out = Linear(width, (axes.HEADS, axes.EMBED), True, name="o")(rearrange(out, "b t n h -> b t (n h)"))
        held = jnp.where(valid[..., None], v, 0)
        memory = DepthwiseConv1d(c.fsmn_width, axes.EMBED, name="fsmn")(held) + held
        return out + jnp.where(valid[..., None], memory, 0)


class TokenizerLayer(nn.Module):
    """One transformer block, with a layer norm before each half."""

    config: TokenizerConfig

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B T D"], table: Rope, visibility: Visibility, valid: Bool[jax.Array, "B T"]
    ) -> tuple[Float[jax.Array, "B T D"], Float[jax.Array, "B T D"]]:
        """Returns the block's output twice: a scan carries the first on and stacks the second."""
        c = self.config
        normed = LayerNorm(c.attention_norm_eps, name="attention_norm")(x)
        x = x + MemoryAttention(c, name="attention")(normed, table, visibility, valid)
        x = x + GeluMLP(4 * c.width, name="mlp")(LayerNorm(c.mlp_norm_eps, name="mlp_norm")(x))
        return x, x


class S3Tokenizer(nn.Module):
    """Turns a log-mel into speech ids.

    Rows of a batch do not see each other, and no row sees anything after its own length.
    """

    config: TokenizerConfig

    @nn.compact
    def features(
        self, mel: Float[Array, "B M mel_bins"], lengths: Int[Array, " B"]
    ) -> tuple[Float[jax.Array, "B T digits"], Float[jax.Array, "L B T D"]]:
        """Computes the features that are rounded to digits, and the outputs of all blocks.

        XLA removes the computation of an output that the caller does not read.
        """
        c = self.config
        x, lengths = jnp.asarray(mel), jnp.asarray(lengths)
        for name, source in (("conv1", axes.MEL), ("conv2", axes.EMBED)):
            x = jnp.where((jnp.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)
            x = Conv1d(c.width, 3, (axes.CONV, source, axes.MLP), stride=2, padding=(1, 1), name=name)(x)
            x, lengths = jax.nn.gelu(x, approximate=False), halved(lengths)
        positions = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
        valid = positions < lengths[:, None]
        # Steps after the length see those within it, as in the release; nothing reads their outputs.
        visibility = Visibility(jnp.ones_like(positions), valid.astype(jnp.int32), positions, positions, causal=False)
        shared: Any = nn.broadcast  # Linen annotates `in_axes` as an int
        stack = nn.scan(
            TokenizerLayer,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            in_axes=shared,
            length=c.depth,
            metadata_params={nn.PARTITION_NAME: axes.LAYERS},
        )
        table = rope(positions, c.width // c.num_heads, THETA)
        x, outputs = stack(c, name="layers")(x, table, visibility, valid)
        digits = Linear(DIGITS, (axes.EMBED, axes.CODEBOOK), True, name="project_down")(x)
        return jnp.tanh(digits) * BOUND, outputs

    def __call__(self, mel: Float[Array, "B M mel_bins"], lengths: Int[Array, " B"]) -> Int[jax.Array, "B T"]:
        """Returns ids, T = `ceil(M / 4)`; the first `token_lengths(lengths)` of a row are valid.

        Args:
          mel: log-mel float32 at 100 Hz (`audio.mel.log_mel`).
          lengths: mel frames of every row.
        """
        features, _ = self.features(mel, lengths)
        digits = jnp.round(features).astype(jnp.int32) + 1
        return digits @ POWERS.astype(np.int32)


def halved(lengths: Any) -> Any:
    """Output steps of a convolution of stride 2: half of `lengths`, rounded up. Takes integers or integer arrays."""
    return (lengths + 1) // 2


def token_lengths(mel_lengths: Any) -> Any:
    """Number of ids of `mel_lengths` frames: a quarter, rounded up. Takes integers or integer arrays."""
    return halved(halved(mel_lengths))
