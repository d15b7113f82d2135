"""The flow's estimator: a diffusion transformer over mel frames, whole or chunk by chunk (codec.md section 2.4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import DiTConfig
from fac_jax.layers.attention import masked_softmax
from fac_jax.layers.conv import Conv1d
from fac_jax.layers.linear import Linear
from fac_jax.layers.rope import Rope, rope, rotate_pairs
from fac_jax.types import Array

THETA: float = 10000.0
TIME_SCALE: float = 1000.0
NORM_EPS: float = 1e-6


@struct.dataclass
class Past:
    """What an estimate of the frames of a chunk keeps of those before it.

    Attributes:
      k: rotated keys float32 `[L, B, W, D]`.
      v: values, likewise.
      tails: inputs of the two positional convolutions float32 `[2, B, conv_width - 1, D]`; zeros before the first.
    """

    k: jax.Array
    v: jax.Array
    tails: jax.Array


@struct.dataclass
class Conditions:
    """What an estimate is conditioned on.

    Attributes:
      mu: of the tokens, float32 `[B, M, 80]`.
      cond: log-mel of the prompt, zero behind it, float32 `[B, M, 80]`.
      speaker: float32 `[B, 80]`.
    """

    mu: Array
    cond: Array
    speaker: Array


class TimeEmbedding(nn.Module):
    """A time in [0, 1] as a vector."""

    config: DiTConfig

    @nn.compact
    def __call__(self, t: jax.Array) -> jax.Array:
        """Float32 `[B] -> [B, D]`."""
        half = self.config.time_features // 2
        scales = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half)).astype(np.float32)
        angle = TIME_SCALE * t[:, None] * scales
        features = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
        hidden = jax.nn.silu(Linear(self.config.width, (None, axes.MLP), True, name="fc1")(features))
        return Linear(self.config.width, (axes.MLP, axes.EMBED), True, name="fc2")(hidden)


class PositionalConvolution(nn.Module):
    """Two grouped causal convolutions with Mish, which tell a frame where it is."""

    config: DiTConfig

    @nn.compact
    def __call__(self, x: jax.Array, tails: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`[B, M, D]` and the inputs before it `[2, B, K - 1, D]` -> `[B, M, D]`, the inputs before what follows."""
        c, kept = self.config, []
        for i in range(2):
            x = jnp.concatenate([tails[i], x], axis=1)
            kept.append(x[:, x.shape[1] - tails.shape[2] :])
            names = (axes.CONV, axes.EMBED, axes.MLP)
            x = Conv1d(c.width, c.conv_width, names, groups=c.conv_groups, name=f"conv{i + 1}")(x)
            x = jax.nn.mish(x)
        return x, jnp.stack(kept)


class DiTAttention(nn.Module):
    """Attention of which only the first head is rotated, as in the release."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, table: Rope, mask: jax.Array, past: tuple[jax.Array, jax.Array] | None
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """`x` `[B, M, D] -> [B, M, D]`, its keys and values; `mask` bool `[M, W + M]` over past keys and own ones."""
        c, width = self.config, self.config.num_heads * self.config.head_dim
        q, k, v = (Linear(width, (axes.EMBED, axes.HEADS), True, name=name)(x) for name in "qkv")
        first = c.head_dim
        q, k = (jnp.concatenate([rotate_pairs(a[..., :first], table), a[..., first:]], axis=-1) for a in (q, k))
        own = (k, v)
        if past is not None:
            k, v = (jnp.concatenate([before, now], axis=1) for before, now in zip(past, own, strict=True))
        q, k, v = (rearrange(a, "b t (n h) -> b n t h", n=c.num_heads) for a in (q, k, v))
        scores = jnp.einsum("bnth,bnsh->bnts", q, k) * c.head_dim**-0.5
        out = jnp.einsum("bnts,bnsh->bnth", masked_softmax(scores, mask), v)
        return Linear(c.width, (axes.HEADS, axes.EMBED), True, name="o")(rearrange(out, "b n t h -> b t (n h)")), own


class DiTLayer(nn.Module):
    """A block whose norms and gates are set by the time."""

    config: DiTConfig
    keep: bool

    @nn.compact
    def __call__(
        self, x: jax.Array, past: tuple[jax.Array, jax.Array] | None, time: jax.Array, table: Rope, mask: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
        """`[B, M, D] -> [B, M, D]`, and keys and values if they are to be kept; `time` `[B, D]` is behind its SiLU."""
        c = self.config
        modulation = Linear(6 * c.width, (axes.EMBED, axes.MLP), True, name="modulation")(time)[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(modulation, 6, axis=-1)
        mixed, own = DiTAttention(c, name="attention")(modulated(x, shift1, scale1), table, mask, past)
        x = x + gate1 * mixed
        hidden = Linear(c.mlp_ratio * c.width, (axes.EMBED, axes.MLP), True, name="fc1")(modulated(x, shift2, scale2))
        hidden = jax.nn.gelu(hidden, approximate=True)
        x = x + gate2 * Linear(c.width, (axes.MLP, axes.EMBED), True, name="fc2")(hidden)
        return x, own if self.keep else None


class DiT(nn.Module):
    """The direction of the flow at a time."""

    config: DiTConfig
    mel_bins: int

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        conditions: Conditions,
        positions: jax.Array,
        mask: jax.Array,
        past: Past | None = None,
    ) -> tuple[jax.Array, Past | None]:
        """Estimates the direction.

        Args:
          x: float32 `[B, M, 80]`.
          t: float32 `[B]`.
          conditions: for those frames.
          positions: int32 `[M]` of the frames, for the rotation.
          mask: bool `[M, W + M]`, the frames that each sees: those of `past`, then these.
          past: of the frames before; None for none.

        Returns:
          float32 `[B, M, 80]`; with `past`, keys and values of these frames (W = M) and the tails behind them.
        """
        c = self.config
        speaker = jnp.broadcast_to(conditions.speaker[:, None], x.shape)
        joined = jnp.concatenate([x, conditions.cond, conditions.mu, speaker], axis=-1)
        h = Linear(c.width, (axes.MEL, axes.EMBED), True, name="input")(joined)
        tails = jnp.zeros((2, x.shape[0], c.conv_width - 1, c.width), h.dtype) if past is None else past.tails
        placed, tails = PositionalConvolution(c, name="position")(h, tails)
        time = jax.nn.silu(TimeEmbedding(c, name="time")(t))
        stack = nn.scan(
            DiTLayer,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
            length=c.depth,
            metadata_params={nn.PARTITION_NAME: axes.LAYERS},
        )
        before = None if past is None else (past.k, past.v)
        table = rope(positions[None], c.head_dim, THETA)
        h, kept = stack(c, past is not None, name="layers")(h + placed, before, time, table, mask)
        scale, shift = jnp.split(Linear(2 * c.width, (axes.EMBED, axes.MLP), True, name="final")(time)[:, None], 2, -1)
        out = Linear(self.mel_bins, (axes.EMBED, axes.MEL), True, name="output")(modulated(h, shift, scale))
        return out, None if past is None else Past(*kept, tails=tails)


def modulated(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Layer norm without parameters of `x` `[B, M, D]`, scaled by `1 + scale` and shifted, both `[B, 1, D]`."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + NORM_EPS)
    return normed * (1 + scale) + shift
