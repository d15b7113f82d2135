"""Convolutions over time with logically partitioned kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fac_jax import axes
from fac_jax.layers.param import kernel_init, param, zeros


class Conv1d(nn.Module):
    """Cross-correlation over time; kernel `[width, in / groups, out]`, a torch weight with its axes reversed.

    The bias is named by `axes[2]`. Both are float32.

    Attributes:
      features: output channels.
      width: kernel positions.
      axes: logical names of the kernel's three dimensions.
      stride: steps of the input between outputs.
      dilation: steps of the input between kernel positions.
      groups: blocks of channels that do not see each other.
      padding: zeros before the first and after the last step.
    """

    features: int
    width: int
    axes: tuple[str | None, str | None, str | None]
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: tuple[int, int] = (0, 0)

    @nn.compact
    def __call__(self, x: Float[jax.Array, "B T D"]) -> Float[jax.Array, "B U F"]:
        """Convolves T steps of D channels into U steps of F channels, in the dtype of `x`."""
        shape = (self.width, x.shape[-1] // self.groups, self.features)
        kernel = param(self, "kernel", conv_init, self.axes, shape, "float32")
        y = jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            window_strides=(self.stride,),
            padding=(self.padding,),
            rhs_dilation=(self.dilation,),
            feature_group_count=self.groups,
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return y + param(self, "bias", zeros, self.axes[2:], (self.features,), "float32").astype(y.dtype)


class DepthwiseConv1d(nn.Module):
    """Convolution of every channel with its own kernel, without bias; float32 kernel `[width, 1, channels]`.

    It is a sum of shifted products: XLA's CPU backend runs a depthwise convolution 25 times slower.

    Attributes:
      width: kernel positions, odd; as many zeros are added before the first step as after the last.
      axis: logical name of the channels.
    """

    width: int
    axis: str

    @nn.compact
    def __call__(self, x: Float[jax.Array, "B T D"]) -> Float[jax.Array, "B T D"]:
        """Convolves every channel over time."""
        names, shape = (axes.CONV, None, self.axis), (self.width, 1, x.shape[-1])
        kernel = param(self, "kernel", conv_init, names, shape, "float32").astype(x.dtype)
        half, steps = self.width // 2, x.shape[1]
        padded = jnp.pad(x, ((0, 0), (half, half), (0, 0)))
        products = [padded[:, i : i + steps] * kernel[i] for i in range(self.width)]
        return sum(products[1:], start=products[0])


def causal_padding(width: int, dilation: int = 1) -> tuple[int, int]:
    """Counts the zeros before the first step with which no output sees a later step; none follow the last."""
    return (width - 1) * dilation, 0


def conv_init(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Initialises a convolution as the matrix product of all its kernel positions."""
    return jnp.reshape(kernel_init(key, (shape[0] * shape[1], shape[2]), dtype), shape)
