"""Feed-forward blocks."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fac_jax import axes
from fac_jax.layers.linear import Linear, fan_out
from fac_jax.layers.param import Typed


@jax.custom_vjp
def gated(gate: Float[jax.Array, "*dims F"], up: Float[jax.Array, "*dims F"]) -> Float[jax.Array, "*dims F"]:
    """Computes `silu(gate) * up`; the backward pass keeps these two alone, not what lies between them."""
    return jax.nn.silu(gate) * up


def _gated_forward(gate: jax.Array, up: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return jax.nn.silu(gate) * up, (gate, up)


def _gated_backward(saved: tuple[jax.Array, jax.Array], grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, up = saved
    sigmoid = jax.nn.sigmoid(gate)
    return grads * up * sigmoid * (1 + gate * (1 - sigmoid)), grads * gate * sigmoid


gated.defvjp(_gated_forward, _gated_backward)


@jax.custom_vjp
def gelu(x: Float[jax.Array, "*dims F"]) -> Float[jax.Array, "*dims F"]:
    """Computes the GELU with the exact error function, in float32; the backward pass keeps `x` alone."""
    return _times_below(x)


def _below(x: jax.Array) -> jax.Array:
    """Returns how much of the normal distribution is below `x`."""
    return 0.5 * (1 + jax.lax.erf(x * 0.5**0.5))


def _times_below(x: jax.Array) -> jax.Array:
    x32 = x.astype(jnp.float32)
    return (x32 * _below(x32)).astype(x.dtype)


def _gelu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _times_below(x), x


def _gelu_backward(x: jax.Array, grads: jax.Array) -> tuple[jax.Array]:
    x32 = x.astype(jnp.float32)
    density = jax.lax.exp(-0.5 * x32 * x32) * (2 * math.pi) ** -0.5
    return ((grads.astype(jnp.float32) * (_below(x32) + x32 * density)).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


class SwiGLU(Typed):
    """`down(silu(gate(x)) * up(x))` without biases (Qwen3).

    Attributes:
      hidden: hidden width.
    """

    hidden: int

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims D"]:
        """Maps vectors of the last axis."""
        width = (self.hidden, axes.MLP)
        gate, up = fan_out(self, x, {"gate": width, "up": width})
        return Linear(x.shape[-1], (axes.MLP, axes.EMBED), name="down", **self.dtypes)(gated(gate, up))


class GeluMLP(Typed):
    """`fc2(gelu(fc1(x)))` with biases and the exact erf GELU (Whisper).

    Attributes:
      hidden: hidden width.
    """

    hidden: int

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims D"]:
        """Maps vectors of the last axis."""
        linear = partial(Linear, use_bias=True, **self.dtypes)
        hidden = gelu(linear(self.hidden, (axes.EMBED, axes.MLP), name="fc1")(x))
        return linear(x.shape[-1], (axes.MLP, axes.EMBED), name="fc2")(hidden)
