"""Affine maps with logically partitioned kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp

kernel_init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
embedding_init = nn.initializers.normal(0.02)


class Linear(nn.Module):
    """`x @ kernel (+ bias)`; kernel `[in, out]` (the transpose of a torch weight).

    Attributes:
      features: output width.
      axes: logical names of the kernel's two dimensions.
      use_bias: whether there is a bias, named by `axes[1]`.
      dtype: dtype of the product.
      param_dtype: dtype in which the parameters are made.
    """

    features: int
    axes: tuple[str, str]
    use_bias: bool = False
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[.., in] -> [.., out]`."""
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
