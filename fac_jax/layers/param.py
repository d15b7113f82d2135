"""Parameters that carry the logical names of their axes."""

from collections.abc import Callable
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

Init: TypeAlias = Callable[..., jax.Array]  # (key, shape, dtype) -> array

zeros: Init = nn.initializers.zeros_init()
ones: Init = nn.initializers.ones_init()
kernel_init: Init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
embedding_init: Init = nn.initializers.normal(0.02)


def param(
    module: nn.Module, name: str, init: Init, axes: tuple[str | None, ...], shape: tuple[int, ...], dtype: str
) -> jax.Array:
    """Declares a parameter of a module, or reads it if the module has it.

    Args:
      module: the module that holds the parameter.
      name: name of the parameter inside the module.
      init: initialiser of a fresh parameter.
      axes: logical axis names of the dimensions (`fac_jax/axes.py`), with which a fresh parameter is boxed.
      shape: shape of the parameter.
      dtype: dtype of a fresh parameter.
    """
    boxed: Callable[..., Any] = nn.with_logical_partitioning(init, axes)
    return jnp.asarray(module.param(name, boxed, shape, dtype))  # parameters of a file are NumPy arrays
