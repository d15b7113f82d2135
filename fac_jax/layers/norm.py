"""Normalisation, always computed in float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fac_jax import axes


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learnt scale over the last axis (Qwen3)."""

    eps: float
    axis: str = axes.EMBED
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[.., D] -> [.., D]` in the dtype of `x`."""
        init = nn.with_logical_partitioning(nn.initializers.ones_init(), (self.axis,))
        scale = self.param("scale", init, (x.shape[-1],), self.param_dtype)
        x32 = x.astype(jnp.float32)
        normed = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        return (normed * scale.astype(jnp.float32)).astype(x.dtype)


class LayerNorm(nn.Module):
    """Layer norm with scale and bias over the last axis (Whisper)."""

    eps: float = 1e-5
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[.., D] -> [.., D]` in the dtype of `x`."""
        ones = nn.with_logical_partitioning(nn.initializers.ones_init(), (axes.EMBED,))
        zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), (axes.EMBED,))
        scale = self.param("scale", ones, (x.shape[-1],), self.param_dtype).astype(jnp.float32)
        bias = self.param("bias", zeros, (x.shape[-1],), self.param_dtype).astype(jnp.float32)
        x32 = x.astype(jnp.float32)
        centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + self.eps) * scale + bias).astype(x.dtype)
