"""Affine maps and tables with logically partitioned parameters."""

import itertools
from collections.abc import Iterable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int

from fac_jax.axes import EMBED
from fac_jax.layers.matrices import Matrix, Rows
from fac_jax.layers.param import Typed, embedding_init, kernel_init, param, zeros
from fac_jax.types import Array


@jax.custom_vjp
def product(x: Float[jax.Array, "*dims D"], kernel: Float[jax.Array, "D F"]) -> Float[jax.Array, "*dims F"]:
    """Multiplies `x` with a kernel; the kernel's gradient is computed as the kernel lies.

    Automatic differentiation asks for the transposed gradient. XLA's CPU backend then makes the transposed copy of the
    wider factor, with all the arithmetic behind it at one strided element after the other.
    """
    return jnp.matmul(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return jnp.matmul(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    return jnp.matmul(grads, kernel.T), jnp.tensordot(x, grads, (rows, rows))


product.defvjp(_forward, _backward)


def fan_out(
    module: Typed, x: Float[jax.Array, "*dims D"], outputs: Mapping[str, tuple[int, str]]
) -> list[Float[jax.Array, "*dims F"]]:
    """Maps vectors by several `Linear` layers of a module at once, if their kernels were joined (`joined`).

    Args:
      outputs: width and logical axis of each output, by the name of its layer.
    """
    widths = [width for width, _ in outputs.values()]
    if module.has_variable("params", joined(outputs)):
        together = module.get_variable("params", joined(outputs)).multiply(x.astype(module.dtype))
        return jnp.split(together, list(itertools.accumulate(widths))[:-1], axis=-1)
    return [Linear(width, (EMBED, axis), name=name, **module.dtypes)(x) for name, (width, axis) in outputs.items()]


def joined(names: Iterable[str]) -> str:
    """Name of the matrix that is made of the kernels of several `Linear` layers, which read the same vectors."""
    return "_".join(names)


class Linear(Typed):
    """`x @ kernel (+ bias)`; the kernel is `[in, out]` (the transpose of a torch weight).

    In generation a `Matrix` takes the place of the kernel (`generation.prepared`).

    Attributes:
      features: output width.
      axes: logical names of the kernel's two dimensions.
      use_bias: whether there is a bias, named by `axes[1]`.
    """

    features: int
    axes: tuple[str | None, str | None]
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims F"]:
        """Maps vectors of the last axis."""
        if self.has_variable("params", "matrix"):
            y = self.get_variable("params", "matrix").multiply(x.astype(self.dtype))
        else:
            shape = (x.shape[-1], self.features)
            kernel = param(self, "kernel", kernel_init, self.axes, shape, self.param_dtype)
            y = product(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y = y + param(self, "bias", zeros, self.axes[1:], (self.features,), self.param_dtype).astype(self.dtype)
        return y


class Embedding(Typed):
    """A table `[rows, width]` that is looked up here and may be read whole as a tied output head.

    In generation a `Matrix` takes its place (`generation.prepared`).

    Attributes:
      rows: number of ids.
      width: length of a row.
      axes: logical names of the table's two dimensions.
    """

    rows: int
    width: int
    axes: tuple[str, str]

    def setup(self) -> None:
        if self.has_variable("params", "matrix"):
            self.matrix: Matrix = self.get_variable("params", "matrix")
        else:
            shape = (self.rows, self.width)
            self.matrix = Rows(param(self, "embedding", embedding_init, self.axes, shape, self.param_dtype))

    def __call__(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """Looks up one row for every id."""
        return self.matrix.take(ids).astype(self.dtype)

    def logits(self, x: Float[jax.Array, "*dims D"]) -> Float32[jax.Array, "*dims rows"]:
        """Multiplies vectors with every row."""
        return self.matrix.multiply(x.astype(self.dtype), "float32")
