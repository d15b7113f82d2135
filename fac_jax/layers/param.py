"""Parameters that carry the logical names of their axes, and the dtypes of layers."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

Init: TypeAlias = Callable[..., jax.Array]  # (key, shape, dtype) -> array
SEP: Final = "/"  # between the names of a parameter's path, "backbone/norm/scale"

zeros: Init = nn.initializers.zeros_init()
ones: Init = nn.initializers.ones_init()
kernel_init: Init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
embedding_init: Init = nn.initializers.normal(0.02)


class Typed(nn.Module, kw_only=True):
    """Base class of layers with parameters of one dtype that compute in another; both are given by name.

    Attributes:
      dtype: dtype of the products.
      param_dtype: dtype in which the parameters are made.
    """

    dtype: str = "float32"
    param_dtype: str = "float32"

    @property
    def dtypes(self) -> dict[str, Any]:
        """Both dtypes, for the layers that a layer is made of."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


def param(
    module: nn.Module, name: str, init: Init, axes: tuple[str | None, ...], shape: tuple[int, ...], dtype: str
) -> jax.Array:
    """Declares a parameter of a module, or reads it if the module has it.

    A fresh parameter is initialised by `init`, and boxed with the logical names of its `axes` (`fac_jax/axes.py`).
    """
    boxed: Callable[..., Any] = nn.with_logical_partitioning(init, axes)
    return jnp.asarray(module.param(name, boxed, shape, dtype))  # parameters of a file are NumPy arrays
