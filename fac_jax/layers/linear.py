"""Affine maps with logically partitioned kernels, and the form of them that decoding reads."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from fac_jax.layers.param import Typed, embedding_init, kernel_init, param, zeros
from fac_jax.types import Array, Params


def against_rows(
    x: Float[jax.Array, "*dims D"], rows: Float[Array, "F D"], dtype: str | None = None
) -> Float[jax.Array, "*dims F"]:
    """Multiplies `x` with every row of a matrix, accumulated in `dtype` (None: the dtype of `x`).

    Few `x` against many rows are bound by the reading of the rows. XLA's CPU backend reads a left factor where it
    lies and repacks a right one at every call, hence the order, which the barrier keeps it from changing.
    """
    flat = x.reshape(-1, x.shape[-1])
    products = jax.lax.optimization_barrier(jnp.matmul(rows.astype(x.dtype), flat.T, preferred_element_type=dtype))
    return products.T.reshape(*x.shape[:-1], rows.shape[0])


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


def by_rows(params: Params) -> Params:
    """Replaces the kernel `[in, out]` of every `Linear` by its transpose `rows` `[out, in]`, for decoding."""
    out = {}
    for name, value in params.items():
        if name == "kernel":
            out["rows"] = value.T
        else:
            out[name] = by_rows(value) if isinstance(value, dict) else value
    return out


class Linear(Typed):
    """`x @ kernel (+ bias)`; kernel `[in, out]` (the transpose of a torch weight), or `rows` if prepared (`by_rows`).

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
        if self.has_variable("params", "rows"):
            y = against_rows(x.astype(self.dtype), self.get_variable("params", "rows"))
        else:
            shape = (x.shape[-1], self.features)
            kernel = param(self, "kernel", kernel_init, self.axes, shape, self.param_dtype)
            y = product(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y = y + param(self, "bias", zeros, self.axes[1:], (self.features,), self.param_dtype).astype(self.dtype)
        return y


class Embedding(Typed):
    """A table `[rows, width]` that is looked up here and may be read whole as a tied output head.

    Attributes:
      rows: number of ids.
      width: length of a row.
      axes: logical names of the table's two dimensions.
    """

    rows: int
    width: int
    axes: tuple[str, str]

    def setup(self) -> None:
        shape = (self.rows, self.width)
        self.embedding = param(self, "embedding", embedding_init, self.axes, shape, self.param_dtype)

    def __call__(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """Looks up one row for every id."""
        return jnp.take(self.embedding, ids, axis=0, mode="clip").astype(self.dtype)
