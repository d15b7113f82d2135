"""Normalisation, always computed in float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fac_jax import axes
from fac_jax.layers.param import ones, param, zeros


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learnt scale over the last axis (Qwen3).

    Attributes:
      eps: added to the mean square.
      axis: logical name of the last axis.
      param_dtype: dtype in which the scale is made.
    """

    eps: float
    axis: str = axes.EMBED
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims D"]:
        """Normalises the last axis; the dtype of `x` stays."""
        scale = param(self, "scale", ones, (self.axis,), (x.shape[-1],), self.param_dtype)
        x32 = x.astype(jnp.float32)
        normed = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        return (normed * scale.astype(jnp.float32)).astype(x.dtype)


class LayerNorm(nn.Module):
    """Layer norm with scale and bias over the last axis (Whisper).

    Attributes:
      eps: added to the variance.
      param_dtype: dtype in which scale and bias are made.
    """

    eps: float = 1e-5
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims D"]:
        """Normalises the last axis; the dtype of `x` stays."""
        shape = (x.shape[-1],)
        scale = param(self, "scale", ones, (axes.EMBED,), shape, self.param_dtype).astype(jnp.float32)
        bias = param(self, "bias", zeros, (axes.EMBED,), shape, self.param_dtype).astype(jnp.float32)
        x32 = x.astype(jnp.float32)
        centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + self.eps) * scale + bias).astype(x.dtype)
