"""Convolutions over time with logically partitioned kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fac_jax import axes
from fac_jax.layers.linear import kernel_init


class Conv1d(nn.Module):
    """Cross-correlation over time; kernel `[width, in / groups, out]`, a torch weight with its axes reversed.

    Attributes:
      features: output channels.
      width: kernel positions.
      axes: logical names of the kernel's three dimensions.
      stride: steps of the input between outputs.
      dilation: steps of the input between kernel positions.
      groups: blocks of channels that do not see each other.
      padding: zeros before the first and behind the last step.
      use_bias: whether there is a bias, named by `axes[2]`.
      param_dtype: dtype in which the parameters are made.
    """

    features: int
    width: int
    axes: tuple[str | None, str | None, str | None]
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: tuple[int, int] = (0, 0)
    use_bias: bool = True
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, T, in] -> [B, T', out]` in the dtype of `x`."""
        shape = (self.width, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.with_logical_partitioning(_init, self.axes), shape, self.param_dtype)
        y = jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            window_strides=(self.stride,),
            padding=(self.padding,),
            rhs_dilation=(self.dilation,),
            feature_group_count=self.groups,
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        if self.use_bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), self.axes[2:])
            y = y + self.param("bias", zeros, (self.features,), self.param_dtype).astype(y.dtype)
        return y


class DepthwiseConv1d(nn.Module):
    """Every channel convolved with a kernel of its own, without bias; kernel `[width, 1, channels]`.

    A sum of shifted products: XLA's CPU backend runs a depthwise convolution 25 times slower.

    Attributes:
      width: kernel positions, odd; as many zeros lie before the first step as behind the last.
      axis: logical name of the channels.
      param_dtype: dtype in which the parameters are made.
    """

    width: int
    axis: str
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, T, C] -> [B, T, C]`."""
        init = nn.with_logical_partitioning(_init, (axes.CONV, None, self.axis))
        kernel = self.param("kernel", init, (self.width, 1, x.shape[-1]), self.param_dtype).astype(x.dtype)
        half, steps = self.width // 2, x.shape[1]
        padded = jnp.pad(x, ((0, 0), (half, half), (0, 0)))
        return sum(padded[:, i : i + steps] * kernel[i] for i in range(self.width))


def causal_padding(width: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before the first step, with which no output sees a later step."""
    return (width - 1) * dilation, 0


def _init(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    return jnp.reshape(kernel_init(key, (shape[0] * shape[1], shape[2]), dtype), shape)
