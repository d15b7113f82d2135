"""Feed-forward blocks."""

import flax.linen as nn
import jax

from fac_jax import axes
from fac_jax.layers.linear import Linear


class SwiGLU(nn.Module):
    """`down(silu(gate(x)) * up(x))` without biases (Qwen3)."""

    hidden: int
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[.., D] -> [.., D]`."""
        kinds = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        gate = Linear(self.hidden, (axes.EMBED, axes.MLP), name="gate", **kinds)(x)
        up = Linear(self.hidden, (axes.EMBED, axes.MLP), name="up", **kinds)(x)
        return Linear(x.shape[-1], (axes.MLP, axes.EMBED), name="down", **kinds)(jax.nn.silu(gate) * up)


class GeluMLP(nn.Module):
    """`fc2(gelu(fc1(x)))` with biases and the exact erf GELU (Whisper)."""

    hidden: int
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[.., D] -> [.., D]`."""
        kinds = {"use_bias": True, "dtype": self.dtype, "param_dtype": self.param_dtype}
        hidden = jax.nn.gelu(Linear(self.hidden, (axes.EMBED, axes.MLP), name="fc1", **kinds)(x), approximate=False)
        return Linear(x.shape[-1], (axes.MLP, axes.EMBED), name="fc2", **kinds)(hidden)
