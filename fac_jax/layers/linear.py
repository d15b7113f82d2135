"""Affine maps and tables with logically partitioned parameters."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Final

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int

from fac_jax.axes import EMBED
from fac_jax.layers.frozen import FrozenKernel
from fac_jax.layers.matrices import Int8Rows, Matrix, Rows
from fac_jax.layers.param import Init, Typed, embedding_init, kernel_init, param, zeros
from fac_jax.types import Array

# Parameters of a low-rank adapter (LoRA, Hu et al. 2021), which are next to a kernel `[.., D, F]` that has one: A
# `[.., D, r]`, B `[.., r, F]` and a scale `[..]`, all float32. No layer makes them: `models/lora.py` does. Where each
# row of a batch has an adapter of its own, the scale is `[rows, r]` (`generation.several`).
LORA: Final = ("lora_a", "lora_b", "lora_scale")
LORA_A, LORA_B, LORA_SCALE = LORA


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
        apart = jnp.split(together, list(itertools.accumulate(widths))[:-1], axis=-1)
        adapters = [module.get_variable("params", name, {}) for name in outputs]
        return [adapted(y, x, leaves, module.dtype) for y, leaves in zip(apart, adapters, strict=True)]
    return [Linear(width, (EMBED, axis), name=name, **module.dtypes)(x) for name, (width, axis) in outputs.items()]


def joined(names: Iterable[str]) -> str:
    """Name of the matrix that is made of the kernels of several `Linear` layers, which read the same vectors."""
    return "_".join(names)


def adapted(
    y: Float[jax.Array, "*dims F"], x: Float[jax.Array, "*dims D"], leaves: Mapping[str, Array], dtype: str
) -> Float[jax.Array, "*dims F"]:
    """Adds `((x @ A) @ B) * scale`, computed in `dtype`, to a layer's output `y`, if `leaves` hold an adapter.

    A scale for each row of the batch and each of the r directions stands between A and B.
    """
    if LORA_A not in leaves:
        return y
    a, b, scale = (jnp.asarray(leaves[name]).astype(dtype) for name in LORA)
    low = product(x.astype(dtype), a)
    if scale.ndim == 0:
        return y + product(low, b) * scale
    return y + product(low * scale.reshape(len(scale), *(1,) * (x.ndim - 2), -1), b)


class Linear(Typed):
    """`x @ kernel (+ bias)`; the kernel is `[in, out]` (the transpose of a torch weight).

    In generation a `Matrix` takes the place of the kernel (`generation.prepared`), in training one that is frozen may
    be a `FrozenKernel`. An adapter that is next to the kernel (`LORA`) adds its product; without one nothing changes.

    Attributes:
      features: output width.
      axes: logical names of the kernel's two dimensions.
      use_bias: whether there is a bias, named by `axes[1]`.
      init: makes a fresh kernel.
    """

    features: int
    axes: tuple[str | None, str | None]
    use_bias: bool = False
    init: Init = kernel_init

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims F"]:
        """Maps vectors of the last axis."""
        if self.has_variable("params", "matrix"):
            y = self.get_variable("params", "matrix").multiply(x.astype(self.dtype))
        elif isinstance(frozen := self.get_variable("params", "kernel"), FrozenKernel):
            y = frozen.multiply(x.astype(self.dtype))
        else:
            shape = (x.shape[-1], self.features)
            kernel = param(self, "kernel", self.init, self.axes, shape, self.param_dtype)
            y = product(x.astype(self.dtype), kernel.astype(self.dtype))
        leaves = {name: self.get_variable("params", name) for name in LORA if self.has_variable("params", name)}
        y = adapted(y, x, leaves, self.dtype)
        if self.use_bias:
            y = y + param(self, "bias", zeros, self.axes[1:], (self.features,), self.param_dtype).astype(self.dtype)
        return y


class Embedding(Typed):
    """A table `[rows, width]` that is looked up here and may be read whole as a tied output head.

    In generation a `Matrix` takes its place (`generation.prepared`), in training one that is frozen may be `Int8Rows`.

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
        elif isinstance(frozen := self.get_variable("params", "embedding"), Int8Rows):
            self.matrix = frozen
        else:
            shape = (self.rows, self.width)
            self.matrix = Rows(param(self, "embedding", embedding_init, self.axes, shape, self.param_dtype))

    def __call__(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """Looks up one row for every id."""
        return self.matrix.take(ids).astype(self.dtype)

    def logits(self, x: Float[jax.Array, "*dims D"]) -> Float32[jax.Array, "*dims rows"]:
        """Multiplies vectors with every row."""
        return self.matrix.multiply(x.astype(self.dtype), "float32")
