"""The continuous audio encoder: every window a sequence of its own (model.md section 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name

from fac_jax import axes
from fac_jax.layers.attention import Attend, EncoderAttention, Visibility, einsum_attend, self_visibility
from fac_jax.layers.linear import Linear, kernel_init
from fac_jax.layers.mlp import GeluMLP
from fac_jax.layers.norm import LayerNorm
from fac_jax.layers.residuals import LAYER_INPUT, MLP_INPUT
from fac_jax.models.config import EncoderConfig, Remat
from fac_jax.models.remat import rematerialised


def sinusoids(length: int, width: int) -> np.ndarray:
    """Float32 `[length, width]`: sines, then cosines, timescales 10000^(-i / (width / 2 - 1))."""
    half = width // 2
    scales = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half))
    angle = np.arange(length)[:, None] * scales[None]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


class Convolution(nn.Module):
    """Convolution over time with kernel 3 and padding 1, as one matrix product of the three shifts."""

    features: int
    stride: int
    axes: tuple[str, str, str]
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[W, T, in] -> [W, T // stride, out]`; T is a multiple of the stride."""
        shape = (3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.with_logical_partitioning(_conv_init, self.axes), shape, self.param_dtype)
        zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), self.axes[2:])
        bias = self.param("bias", zeros, (self.features,), self.param_dtype)
        frames = x.shape[1]
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (0, 0)))
        shifts = jnp.concatenate([padded[:, i : i + frames : self.stride] for i in range(3)], axis=-1)
        return shifts @ rearrange(kernel, "k i o -> (k i) o").astype(self.dtype) + bias.astype(self.dtype)


def _conv_init(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    return kernel_init(key, (shape[0] * shape[1], shape[2]), dtype).reshape(shape)


class EncoderLayer(nn.Module):
    """Pre-norm Whisper block."""

    config: EncoderConfig
    attend: Attend
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, visibility: Visibility) -> tuple[jax.Array, None]:
        """`[W, T, D] -> [W, T, D]`."""
        c, kinds = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = checkpoint_name(x, LAYER_INPUT)
        normed = LayerNorm(param_dtype=self.param_dtype, name="attention_norm")(x)
        x = x + EncoderAttention(c.num_heads, self.attend, name="attention", **kinds)(normed, visibility)
        x = checkpoint_name(x, MLP_INPUT)
        normed = LayerNorm(param_dtype=self.param_dtype, name="mlp_norm")(x)
        x = x + GeluMLP(c.mlp_width, name="mlp", **kinds)(normed)
        return nn.with_logical_constraint(x, (axes.WINDOWS, None, axes.EMBED)), None


class AudioEncoder(nn.Module):
    """Log-mel windows to 25 Hz frames in LLM width.

    Attributes:
      config: sizes.
      output_width: width D of the Shared LLM.
    """

    config: EncoderConfig
    output_width: int
    attend: Attend = einsum_attend
    remat: Remat = "none"
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, mel_windows: jax.Array, mel_lengths: jax.Array) -> jax.Array:
        """`mel_windows` `[W, 2n, 128]`, `mel_lengths` int32 `[W]` -> `[W, n // 2, D]`.

        Frames that average a pair with one valid member hold that member: the last window of an audio may end in such
        a frame, which model.md counts only when it is the audio's only one; the batch's gather map decides.
        """
        c, kinds = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        valid = jnp.arange(c.mel_frames) < mel_lengths[:, None]
        x = jnp.where(valid[..., None], mel_windows, 0.0)
        x = Convolution(c.width, 1, (axes.CONV, axes.MEL, axes.EMBED), name="conv1", **kinds)(x)
        x = jnp.where(valid[..., None], jax.nn.gelu(x, approximate=False), 0)
        x = Convolution(c.width, 2, (axes.CONV, axes.EMBED, axes.MLP), name="conv2", **kinds)(x)
        x = jax.nn.gelu(x, approximate=False) + sinusoids(c.n_window, c.width).astype(self.dtype)
        x = nn.with_logical_constraint(x, (axes.WINDOWS, None, axes.EMBED))

        frames = jnp.broadcast_to(jnp.arange(c.n_window), x.shape[:2])
        valid = frames < (mel_lengths[:, None] + 1) // 2
        visibility = self_visibility(valid.astype(jnp.int32), frames, causal=False)
        layer = rematerialised(EncoderLayer, self.remat, scanned=True)
        stack = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=c.depth,
            metadata_params={nn.PARTITION_NAME: axes.LAYERS},
        )
        x, _ = stack(c, self.attend, name="layers", **kinds)(x, visibility)

        pairs = rearrange(jnp.where(valid[..., None], x, 0), "w (f two) d -> w f two d", two=2)
        count = rearrange(valid, "w (f two) -> w f two", two=2).sum(axis=-1, keepdims=True)
        x = pairs.sum(axis=2) / jnp.maximum(count, 1).astype(x.dtype)
        x = LayerNorm(param_dtype=self.param_dtype, name="norm")(x)
        # The released checkpoint carries two vectors that its forward pass never reads.
        init = nn.with_logical_partitioning(nn.initializers.normal(0.02), (None, axes.EMBED))
        self.param("bos_eos", init, (2, self.output_width), self.param_dtype)
        out = Linear(self.output_width, (axes.EMBED, axes.MLP), True, name="proj", **kinds)(x)
        return nn.with_logical_constraint(out, (axes.WINDOWS, None, axes.EMBED))
