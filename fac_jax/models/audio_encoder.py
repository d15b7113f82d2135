"""The continuous audio encoder: every window a sequence of its own (docs/model.md, section 2)."""

from typing import Final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax.linen.spmd import with_logical_constraint
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.layers.attention import Attend, EncoderAttention, Visibility, einsum_attend, self_visibility
from fac_jax.layers.conv import conv_init
from fac_jax.layers.linear import Linear
from fac_jax.layers.mlp import GeluMLP, gelu
from fac_jax.layers.norm import LayerNorm
from fac_jax.layers.param import Typed, embedding_init, param, zeros
from fac_jax.layers.stack import LAYER_INPUT, MLP_INPUT, Remat, rematerialised, stacked
from fac_jax.models.config import EncoderConfig
from fac_jax.types import Array, KVCache

# Paths of the parameters that `AudioEncoder.features` reads, in the tree of the whole model.
FEATURE_PARAMS: Final = r"encoder/(conv|layers/|positions)"
BEFORE: Final = 2  # frames before a block that its convolutions hear


def sinusoids(length: int, width: int) -> np.ndarray:
    """Makes the position table `[length, width]`: sines, then cosines, timescales 10000^(-i / (width / 2 - 1))."""
    half = width // 2
    scales = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half))
    angle = np.arange(length)[:, None] * scales[None]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def _computed(key: jax.Array, shape: tuple[int, int], dtype: str) -> jax.Array:
    return jnp.asarray(sinusoids(*shape), dtype)


def _pooled(x: Float[jax.Array, "W T C"], valid: Bool[jax.Array, "W T"]) -> Float[jax.Array, "W T//2 C"]:
    """Averages the valid members of pairs: 25 Hz from 50 Hz."""
    pairs = rearrange(jnp.where(valid[..., None], x, 0), "w (f two) d -> w f two d", two=2)
    count = rearrange(valid, "w (f two) -> w f two", two=2).sum(axis=-1, keepdims=True)
    return pairs.sum(axis=2) / jnp.maximum(count, 1).astype(x.dtype)


class Convolution(Typed):
    """Convolution over time with kernel 3 and padding 1, as one matrix product of the three shifts.

    Attributes:
      features: output channels.
      stride: steps of the input between outputs.
      axes: logical names of the kernel's three dimensions.
    """

    features: int
    stride: int
    axes: tuple[str, str, str]

    @nn.compact
    def __call__(self, x: Float[jax.Array, "W T C"]) -> Float[jax.Array, "W U F"]:
        """Convolves T steps of C channels into U = T / stride steps of F channels."""
        shape = (3, x.shape[-1], self.features)
        kernel = param(self, "kernel", conv_init, self.axes, shape, self.param_dtype)
        bias = param(self, "bias", zeros, self.axes[2:], (self.features,), self.param_dtype)
        frames = x.shape[1]
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (0, 0)))
        shifts = jnp.concatenate([padded[:, i : i + frames : self.stride] for i in range(3)], axis=-1)
        return shifts @ rearrange(kernel, "k i o -> (k i) o").astype(self.dtype) + bias.astype(self.dtype)


class EncoderLayer(Typed):
    """Pre-norm Whisper block."""

    config: EncoderConfig
    attend: Attend

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "W T D"],
        visibility: Visibility,
        cache: KVCache | None = None,
        slot: Int[jax.Array, " W"] | int = 0,
    ) -> tuple[Float[jax.Array, "W T D"], KVCache | None]:
        """Returns the new state, and the new cache (None without one)."""
        c = self.config
        attention = EncoderAttention(c.num_heads, self.attend, name="attention", **self.dtypes)
        mlp = GeluMLP(c.mlp_width, name="mlp", **self.dtypes)
        x = checkpoint_name(x, LAYER_INPUT)
        normed = LayerNorm(param_dtype=self.param_dtype, name="attention_norm")(x)
        attended, cache = attention(normed, visibility, cache, slot)
        x = checkpoint_name(x + attended, MLP_INPUT)
        x = x + mlp(LayerNorm(param_dtype=self.param_dtype, name="mlp_norm")(x))
        return with_logical_constraint(x, (axes.WINDOWS, None, axes.EMBED)), cache


class AudioEncoder(Typed):
    """Encoder of log-mel windows, which gives 25 Hz frames in LLM width.

    Attributes:
      output_width: width D of the Shared LLM.
      block: 50 Hz positions of a block, which are heard together where a window is heard block by block.
      attend: attention inside a window.
      scan_layers: whether the layers are scanned over their stacked parameters, or modules of their own, `layers_{i}`.
      remat: what a layer recomputes in the backward pass (`ModelConfig.remat`).
      unroll: whether the compiled scan has no loop (`ModelConfig.unroll_layers`).
    """

    config: EncoderConfig
    output_width: int
    block: int
    attend: Attend = einsum_attend
    scan_layers: bool = True
    remat: Remat = "none"
    unroll: bool = False

    def setup(self) -> None:
        c = self.config
        self.conv1 = Convolution(c.width, 1, (axes.CONV, axes.MEL, axes.EMBED), **self.dtypes)
        self.conv2 = Convolution(c.width, 2, (axes.CONV, axes.EMBED, axes.MLP), **self.dtypes)
        if self.scan_layers:
            layer = rematerialised(EncoderLayer, self.remat, scanned=not self.unroll)
            self.layers = [stacked(layer, c.depth, unroll=self.unroll)(c, self.attend, name="layers", **self.dtypes)]
        else:
            self.layers = [EncoderLayer(c, self.attend, **self.dtypes) for _ in range(c.depth)]
        self.norm = LayerNorm(param_dtype=self.param_dtype)
        self.proj = Linear(self.output_width, (axes.EMBED, axes.MLP), True, **self.dtypes)
        # The released checkpoint carries two vectors that its forward pass never reads.
        names = (None, axes.EMBED)
        self.bos_eos = param(self, "bos_eos", embedding_init, names, (2, self.output_width), self.param_dtype)
        if c.positions == "stored":
            shape = (c.n_window, c.width)
            # A constant of Whisper: it has no gradient.
            stored = param(self, "positions", _computed, names, shape, self.param_dtype)
            self.positions = jax.lax.stop_gradient(stored)

    def __call__(
        self,
        mel_windows: Float[Array, "W M mels"],
        mel_lengths: Int[Array, " W"],
        mel_blocks: Bool[Array, " W"] | None = None,
    ) -> Float[jax.Array, "W M//4 D"]:
        """Encodes windows of which the first `mel_lengths` frames are valid; `mel_blocks` are those of `states`."""
        return self.project(self.features(mel_windows, mel_lengths, mel_blocks))

    def features(
        self,
        mel_windows: Float[Array, "W M mels"],
        mel_lengths: Int[Array, " W"],
        mel_blocks: Bool[Array, " W"] | None = None,
    ) -> Float[jax.Array, "W M//4 C"]:
        """Computes the features of windows, of the encoder's own width C: all but the last norm and the projection.

        A frame that averages a pair with one valid member holds that member. The last window of an audio may end in
        such a frame, which counts only if it is the audio's only frame (docs/model.md, section 2); the batch's gather
        map leaves it out otherwise.
        """
        return _pooled(*self.states(mel_windows, mel_lengths, mel_blocks))

    def states(
        self,
        mel_windows: Float[Array, "W M mels"],
        mel_lengths: Int[Array, " W"],
        mel_blocks: Bool[Array, " W"] | None = None,
    ) -> tuple[Float[jax.Array, "W M//2 C"], Bool[jax.Array, "W M//2"]]:
        """Computes the 50 Hz states after the last layer, and which of them are valid.

        Where `mel_blocks` is True a window is heard block by block, as `hear` does: no block hears a later one. None
        hears all windows whole.
        """
        c = self.config
        valid = jnp.arange(c.mel_frames) < mel_lengths[:, None]
        x = self._convolved(mel_windows, valid)
        if mel_blocks is not None:
            x = jnp.where(mel_blocks[:, None, None], self._convolved_blocks(mel_windows, valid), x)
        x = x + self._positions().astype(self.dtype)
        x = with_logical_constraint(x, (axes.WINDOWS, None, axes.EMBED))

        frames = jnp.broadcast_to(jnp.arange(c.n_window), x.shape[:2])
        valid = frames < (mel_lengths[:, None] + 1) // 2
        if mel_blocks is None:
            visibility = self_visibility(valid.astype(jnp.int32), frames, causal=False)
        else:  # at one position everything is one block
            places = jnp.where(mel_blocks[:, None], frames, 0)
            visibility = self_visibility(valid.astype(jnp.int32), places, causal=True, block=self.block)
        for layer in self.layers:
            x, _ = layer(x, visibility)
        return x, valid

    def hear(
        self,
        mel: Float[jax.Array, "W T mels"],
        place: Int[jax.Array, " W"],
        caches: tuple[KVCache, ...],
    ) -> tuple[Float[jax.Array, "W F C"], tuple[KVCache, ...]]:
        """Computes the features of one block, with the keys and values of the blocks before it in its window.

        Args:
          mel: log-mel of a block and of the two frames before it, which count only inside the window.
          place: number of the block in its window.
          caches: one for each layer, of a window; takes `scan_layers=False`.
        """
        c = self.config
        valid = (jnp.arange(mel.shape[1]) >= BEFORE) | (place > 0)[:, None]
        first = place * self.block
        own = first[:, None] + jnp.arange(self.block)
        x = self._convolved(mel, valid)[:, 1:] + jnp.asarray(self._positions())[own].astype(self.dtype)
        keys = jnp.broadcast_to(jnp.arange(c.n_window), (len(place), c.n_window))
        there = (keys < (first + self.block)[:, None]).astype(jnp.int32)
        visibility = Visibility(jnp.ones_like(own), there, own, keys, causal=False)
        new = []
        for layer, cache in zip(self.layers, caches, strict=True):
            x, cache = layer(x, visibility, cache, first)
            new.append(cache)
        return _pooled(x, jnp.ones(x.shape[:2], bool)), tuple(new)

    def _convolved(self, mel: Float[Array, "W T mels"], valid: Bool[jax.Array, "W T"]) -> Float[jax.Array, "W T//2 C"]:
        x = self.conv1(jnp.where(valid[..., None], mel, 0.0))
        return gelu(self.conv2(jnp.where(valid[..., None], gelu(x), 0)))

    def _convolved_blocks(
        self, mel: Float[Array, "W M mels"], valid: Bool[jax.Array, "W M"]
    ) -> Float[jax.Array, "W M//2 C"]:
        """Convolves every block with the frames before it and, as at the end of an audio, zeros after it."""
        size, windows = 2 * self.block, mel.shape[0]
        index = jnp.arange(0, mel.shape[1], size)[:, None] + jnp.arange(BEFORE + size)
        mel, valid = (jnp.pad(x, ((0, 0), (BEFORE, 0), *[(0, 0)] * (x.ndim - 2)))[:, index] for x in (mel, valid))
        x = self._convolved(rearrange(mel, "w k t c -> (w k) t c"), rearrange(valid, "w k t -> (w k) t"))
        return rearrange(x[:, 1:], "(w k) t c -> w (k t) c", w=windows)

    def _positions(self) -> Float[Array, "n C"]:
        c = self.config
        return self.positions if c.positions == "stored" else sinusoids(c.n_window, c.width)

    def project(self, features: Float[Array, "W F C"]) -> Float[jax.Array, "W F D"]:
        """Normalises features and brings them to the width of the LLM."""
        x = self.norm(jnp.asarray(features, self.dtype))
        return with_logical_constraint(self.proj(x), (axes.WINDOWS, None, axes.EMBED))
