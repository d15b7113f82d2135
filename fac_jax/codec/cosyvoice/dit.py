"""The estimator of the flow: a diffusion transformer over mel frames (docs/codec_model.md, section 2.4).

It estimates all frames at once, or one chunk after the other with the keys and values of earlier chunks.
"""

from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import DiTConfig
from fac_jax.layers.attention import masked_softmax
from fac_jax.layers.conv import Conv1d
from fac_jax.layers.linear import Linear
from fac_jax.layers.rope import Rope, rope, rotate_pairs
from fac_jax.layers.stack import stacked
from fac_jax.types import Array

THETA: float = 10000.0
TIME_SCALE: float = 1000.0
NORM_EPS: float = 1e-6


@struct.dataclass
class Past:
    """What the estimate of a chunk needs from the chunks before it, float32.

    Attributes:
      k: rotated keys.
      v: values.
      tails: last inputs of the two positional convolutions, tail = `conv_width - 1`; zeros at the start.
    """

    k: Float[jax.Array, "L B W D"]
    v: Float[jax.Array, "L B W D"]
    tails: Float[jax.Array, "2 B tail D"]


@struct.dataclass
class Conditions:
    """What an estimate is conditioned on, float32.

    Attributes:
      mu: the tokens, embedded and repeated to frames.
      cond: log-mel of the prompt, zero after it.
      speaker: the projected speaker embedding.
    """

    mu: Float[Array, "B M mel_bins"]
    cond: Float[Array, "B M mel_bins"]
    speaker: Float[Array, "B mel_bins"]


class TimeEmbedding(nn.Module):
    """Embeds a time in [0, 1]."""

    config: DiTConfig

    @nn.compact
    def __call__(self, t: Float[jax.Array, " B"]) -> Float[jax.Array, "B D"]:
        """Returns one vector for each time."""
        half = self.config.time_features // 2
        scales = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half)).astype(np.float32)
        angle = TIME_SCALE * t[:, None] * scales
        features = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
        hidden = jax.nn.silu(Linear(self.config.width, (None, axes.MLP), True, name="fc1")(features))
        return Linear(self.config.width, (axes.MLP, axes.EMBED), True, name="fc2")(hidden)


class PositionalConvolution(nn.Module):
    """Two grouped causal convolutions with Mish; they give a frame its position relative to its neighbours."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B M D"], tails: Float[jax.Array, "2 B W D"]
    ) -> tuple[Float[jax.Array, "B M D"], Float[jax.Array, "2 B W D"]]:
        """Returns the convolved frames, and the tails for the frames that follow.

        Args:
          tails: the last `W = conv_width - 1` inputs of both convolutions before `x`.
        """
        c, kept = self.config, []
        for i in range(2):
            x = jnp.concatenate([tails[i], x], axis=1)
            kept.append(x[:, x.shape[1] - tails.shape[2] :])
            names = (axes.CONV, axes.EMBED, axes.MLP)
            x = Conv1d(c.width, c.conv_width, names, groups=c.conv_groups, name=f"conv{i + 1}")(x)
            x = jax.nn.mish(x)
        return x, jnp.stack(kept)


KeysValues: TypeAlias = tuple[jax.Array, jax.Array]


class DiTAttention(nn.Module):
    """Attention whose first head is the only one with rotary positions, as in the release."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B M D"], table: Rope, mask: Bool[jax.Array, "M KV"], past: KeysValues | None
    ) -> tuple[Float[jax.Array, "B M D"], KeysValues]:
        """Returns the mixed frames, and the keys and values of these frames, `[B, M, D]` each.

        Args:
          table: rotations at their positions.
          mask: which keys a frame sees: W of the past, then M of these frames (KV = W + M).
          past: keys and values `[B, W, D]` of earlier frames; None for none.
        """
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
    """A transformer block whose norms and gates depend on the time."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "B M D"],
        past: KeysValues | None,
        time: Float[jax.Array, "B D"],
        table: Rope,
        mask: Bool[jax.Array, "M KV"],
    ) -> tuple[Float[jax.Array, "B M D"], KeysValues | None]:
        """Returns the block's output, and with `past` its keys and values.

        The embedded time comes after a SiLU; the other arguments are those of `DiTAttention`.
        """
        c = self.config
        modulation = Linear(6 * c.width, (axes.EMBED, axes.MLP), True, name="modulation")(time)[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(modulation, 6, axis=-1)
        mixed, own = DiTAttention(c, name="attention")(modulated(x, shift1, scale1), table, mask, past)
        x = x + gate1 * mixed
        hidden = Linear(c.mlp_ratio * c.width, (axes.EMBED, axes.MLP), True, name="fc1")(modulated(x, shift2, scale2))
        hidden = jax.nn.gelu(hidden, approximate=True)
        x = x + gate2 * Linear(c.width, (axes.MLP, axes.EMBED), True, name="fc2")(hidden)
        return x, None if past is None else own


class DiT(nn.Module):
    """Estimates the direction of the flow at a time."""

    config: DiTConfig
    mel_bins: int

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "B M mel_bins"],
        t: Float[jax.Array, " B"],
        conditions: Conditions,
        positions: Int[jax.Array, " M"],
        mask: Bool[jax.Array, "M KV"],
        past: Past | None = None,
    ) -> tuple[Float[jax.Array, "B M mel_bins"], Past | None]:
        """Estimates the direction at `x`, float32.

        With `past` it also returns the keys and values of these frames (W = M), and their tails.

        Args:
          x: frames between noise and log-mel, float32.
          positions: positions of the frames, for the rotation.
          mask: which frames a frame sees: W of `past`, then M of these (KV = W + M).
          past: keys, values and tails of earlier frames; None for none.
        """
        c = self.config
        x, t = jnp.asarray(x), jnp.asarray(t)
        speaker = jnp.broadcast_to(conditions.speaker[:, None], x.shape)
        joined = jnp.concatenate([x, conditions.cond, conditions.mu, speaker], axis=-1)
        h = Linear(c.width, (axes.MEL, axes.EMBED), True, name="input")(joined)
        tails = jnp.zeros((2, x.shape[0], c.conv_width - 1, c.width), h.dtype) if past is None else past.tails
        position, tails = PositionalConvolution(c, name="position")(h, tails)
        time = jax.nn.silu(TimeEmbedding(c, name="time")(t))
        stack = stacked(DiTLayer, c.depth, in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast))
        before = None if past is None else (past.k, past.v)
        table = rope(positions[None], c.head_dim, THETA)
        h, kept = stack(c, name="layers")(h + position, before, time, table, mask)
        scale, shift = jnp.split(Linear(2 * c.width, (axes.EMBED, axes.MLP), True, name="final")(time)[:, None], 2, -1)
        out = Linear(self.mel_bins, (axes.EMBED, axes.MEL), True, name="output")(modulated(h, shift, scale))
        return out, None if kept is None else Past(*kept, tails=tails)


def modulated(
    x: Float[jax.Array, "B M D"], shift: Float[jax.Array, "B 1 D"], scale: Float[jax.Array, "B 1 D"]
) -> Float[jax.Array, "B M D"]:
    """Normalises `x` without learnt parameters, multiplies by `1 + scale` and adds `shift`."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + NORM_EPS)
    return normed * (1 + scale) + shift
