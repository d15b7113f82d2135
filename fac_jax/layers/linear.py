"""Affine maps with logically partitioned kernels, and the form of them that decoding reads."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fac_jax.types import Params

kernel_init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
embedding_init = nn.initializers.normal(0.02)


def against_rows(x: jax.Array, rows: jax.Array, dtype: str | None = None) -> jax.Array:
    """Products of `x` `[.., in]` with every row of `rows` `[out, in]`, accumulated in `dtype`: `[.., out]`.

    Few `x` against many rows are bound by the reading of the rows. XLA's CPU backend reads a left factor where it
    lies and repacks a right one at every call, hence the order, which the barrier keeps it from changing.
    """
    flat = x.reshape(-1, x.shape[-1])
    products = jax.lax.optimization_barrier(jnp.matmul(rows.astype(x.dtype), flat.T, preferred_element_type=dtype))
    return products.T.reshape(*x.shape[:-1], rows.shape[0])


def by_rows(params: Params) -> Params:
    """Parameters with the kernel `[in, out]` of every `Linear` in them as `rows` `[out, in]`, for decoding."""
    out = {}
    for name, value in params.items():
        if name == "kernel":
            out["rows"] = value.T
        else:
            out[name] = by_rows(value) if isinstance(value, dict) else value
    return out


class Linear(nn.Module):
    """`x @ kernel (+ bias)`; kernel `[in, out]` (the transpose of a torch weight), or `rows` if prepared (`by_rows`).

    Attributes:
      features: output width.
      axes: logical names of the kernel's two dimensions.
      use_bias: whether there is a bias, named by `axes[1]`.
      dtype: dtype of the product.
      param_dtype: dtype in which the parameters are made.
    """

    features: int
    axes: tuple[str | None, str | None]
    use_bias: bool = False
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[.., in] -> [.., out]`."""
        if self.has_variable("params", "rows"):
            y = against_rows(x.astype(self.dtype), self.get_variable("params", "rows"))
        else:
            init = nn.with_logical_partitioning(kernel_init, self.axes)
            kernel = self.param("kernel", init, (x.shape[-1], self.features), self.param_dtype)
            y = jnp.matmul(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), self.axes[1:])
            y = y + self.param("bias", zeros, (self.features,), self.param_dtype).astype(self.dtype)
        return y


class Embedding(nn.Module):
    """A table `[rows, D]` that is looked up here and may be read whole as a tied output head."""

    rows: int
    width: int
    axes: tuple[str, str]
    dtype: str = "float32"
    param_dtype: str = "float32"

    def setup(self) -> None:
        init = nn.with_logical_partitioning(embedding_init, self.axes)
        self.embedding = self.param("embedding", init, (self.rows, self.width), self.param_dtype)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """int32 `[..] -> [.., D]`."""
        return jnp.take(self.embedding, ids, axis=0, mode="clip").astype(self.dtype)
