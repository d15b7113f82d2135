"""Checks of the shapes and types that the model's code states, while its tests run."""

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype
from jaxtyping import install_import_hook

F = TypeVar("F", bound=Callable)

CHECKED = ("fac_jax.layers", "fac_jax.models", "fac_jax.generation")


def checked(function: F) -> F:
    """The function with its arguments and its result checked against their annotations.

    Constructors of dataclasses are left alone: jax fills those that are pytrees with things that are no arrays.
    """
    return function if function.__name__ == "__init__" else beartype(function)


def check_shapes() -> None:
    """Checks every function of CHECKED that is imported from now on."""
    install_import_hook(list(CHECKED), f"{__name__}.{checked.__name__}")
