"""The S3 tokenizer, third version: 128-bin log-mel to 25 Hz ids of a finite scalar codebook (codec.md section 1)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import DIGITS, TokenizerConfig
from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.layers.conv import Conv1d, DepthwiseConv1d
from fac_jax.layers.linear import Linear
from fac_jax.layers.mlp import GeluMLP
from fac_jax.layers.norm import LayerNorm
from fac_jax.layers.rope import Rope, rope, rotate

THETA: float = 10000.0
BOUND: float = 0.9990000128746033  # of a bounded feature, as the release stores it
POWERS: np.ndarray = 3 ** np.arange(DIGITS)  # value of each digit, the least significant first


class MemoryAttention(nn.Module):
    """Rotary attention with a convolution over the values beside it (FSMN)."""

    config: TokenizerConfig

    @nn.compact
    def __call__(self, x: jax.Array, table: Rope, visibility: Visibility, valid: jax.Array) -> jax.Array:
        """`[B, T, D] -> [B, T, D]`; `valid` bool `[B, T]` are the steps that the memory holds."""
        c, width = self.config, x.shape[-1]

        def project(name: str, use_bias: bool) -> jax.Array:
            return Linear(width, (axes.EMBED, axes.HEADS), use_bias, name=name)(x)

        q, k, v = project("q", True), project("k", False), project("v", True)
        heads = [rearrange(a, "b t (n h) -> b t n h", n=c.num_heads) for a in (q, k, v)]
        out = einsum_attend(rotate(heads[0], table), rotate(heads[1], table), heads[2], visibility)
        out = Linear(width, (axes.HEADS, axes.EMBED), True, name="o")(rearrange(out, "b t n h -> b t (n h)"))
        held = jnp.where(valid[..., None], v, 0)
        memory = DepthwiseConv1d(c.fsmn_width, axes.EMBED, name="fsmn")(held) + held
        return out + jnp.where(valid[..., None], memory, 0)


class TokenizerLayer(nn.Module):
    """Pre-norm block."""

    config: TokenizerConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, table: Rope, visibility: Visibility, valid: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """`[B, T, D] -> [B, T, D]`, twice, for a scan that hands on and keeps it."""
        c = self.config
        normed = LayerNorm(c.attention_norm_eps, name="attention_norm")(x)
        x = x + MemoryAttention(c, name="attention")(normed, table, visibility, valid)
        x = x + GeluMLP(4 * c.width, name="mlp")(LayerNorm(c.mlp_norm_eps, name="mlp_norm")(x))
        return x, x


class S3Tokenizer(nn.Module):
    """Log-mel to speech ids; rows of a batch do not see each other, nor what lies beyond their lengths."""

    config: TokenizerConfig

    @nn.compact
    def features(self, mel: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log-mel float32 `[B, M, 128]`, lengths int32 `[B]` -> bounded features `[B, T, 8]`, outputs of all blocks.

        The outputs are `[L, B, T, D]`; what nobody reads is not computed.
        """
        c = self.config
        x, lengths = jnp.asarray(mel), jnp.asarray(lengths)
        for name, source in (("conv1", axes.MEL), ("conv2", axes.EMBED)):
            x = jnp.where((jnp.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)
            x = Conv1d(c.width, 3, (axes.CONV, source, axes.MLP), stride=2, padding=(1, 1), name=name)(x)
            x, lengths = jax.nn.gelu(x, approximate=False), halved(lengths)
        positions = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
        valid = positions < lengths[:, None]
        # Steps beyond the length see those within it, as in the release; nothing is read from them.
        visibility = Visibility(jnp.ones_like(positions), valid.astype(jnp.int32), positions, positions, causal=False)
        stack = nn.scan(
            TokenizerLayer,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=c.depth,
            metadata_params={nn.PARTITION_NAME: axes.LAYERS},
        )
        table = rope(positions, c.width // c.num_heads, THETA)
        x, outputs = stack(c, name="layers")(x, table, visibility, valid)
        digits = Linear(DIGITS, (axes.EMBED, axes.CODEBOOK), True, name="project_down")(x)
        return jnp.tanh(digits) * BOUND, outputs

    def __call__(self, mel: jax.Array, lengths: jax.Array) -> jax.Array:
        """Log-mel float32 `[B, M, 128]`, lengths int32 `[B]` -> ids int32 `[B, T]`, T = `ceil(M / 4)`.

        The first `token_lengths(lengths)` of a row are its own.
        """
        features, _ = self.features(mel, lengths)
        digits = jnp.round(features).astype(jnp.int32) + 1
        return digits @ POWERS.astype(np.int32)


def halved(lengths: Any) -> Any:
    """Steps behind a convolution of stride 2: half, rounded up; whole numbers or integer arrays."""
    return (lengths + 1) // 2


def token_lengths(mel_lengths: Any) -> Any:
    """Ids of so many mel frames: a quarter, rounded up; whole numbers or integer arrays."""
    return halved(halved(mel_lengths))
