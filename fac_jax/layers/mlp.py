"""Feed-forward blocks."""

from functools import partial

import flax.linen as nn
import jax
from jaxtyping import Float

from fac_jax import axes
from fac_jax.layers.linear import Linear
from fac_jax.layers.param import Typed


class SwiGLU(Typed):
    """`down(silu(gate(x)) * up(x))` without biases (Qwen3).

    Attributes:
      hidden: hidden width.
    """

    hidden: int

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims D"]:
        """Maps vectors of the last axis."""
        linear = partial(Linear, **self.dtypes)
        gate = linear(self.hidden, (axes.EMBED, axes.MLP), name="gate")(x)
        up = linear(self.hidden, (axes.EMBED, axes.MLP), name="up")(x)
        return linear(x.shape[-1], (axes.MLP, axes.EMBED), name="down")(jax.nn.silu(gate) * up)


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
        hidden = jax.nn.gelu(linear(self.hidden, (axes.EMBED, axes.MLP), name="fc1")(x), approximate=False)
        return linear(x.shape[-1], (axes.MLP, axes.EMBED), name="fc2")(hidden)
