"""Checks of the shapes and types that the model's code states, while its tests run."""

import functools
from collections.abc import Callable
from typing import Any, Self, TypeVar, cast, get_args

from beartype import beartype
from jaxtyping import install_import_hook

F = TypeVar("F", bound=Callable)

CHECKED = (
    "fac_jax.audio",
    "fac_jax.layers",
    "fac_jax.codec.cosyvoice",
    "fac_jax.batching",
    "fac_jax.models",
    "fac_jax.losses",
    "fac_jax.generation",
    "fac_jax.training.merge",
    "fac_jax.training.step",
)


def uncheckable(hint: Any) -> bool:
    """Whether a hint is `Self` or a protocol, against which nothing can be checked, or holds one of them."""
    if isinstance(hint, list | tuple):
        return any(map(uncheckable, hint))
    return hint is Self or getattr(hint, "_is_protocol", False) or uncheckable(get_args(hint))


def checked(function: F) -> F:
    """The function with its arguments and its result checked against their annotations.

    Constructors of dataclasses are left alone: jax fills those that are pytrees with things that are no arrays.
    """
    if function.__name__ == "__init__":
        return function
    hints = function.__annotations__
    function.__annotations__ = {name: Any if uncheckable(hint) else hint for name, hint in hints.items()}

    @functools.cache  # making a check takes a millisecond, and most functions are not called by most processes
    def check() -> F:
        return beartype(function)

    @functools.wraps(function)
    def late(*args: Any, **keywords: Any) -> Any:
        return check()(*args, **keywords)

    return cast(F, late)


def check_shapes() -> None:
    """Checks every function of CHECKED that is imported from now on."""
    install_import_hook(list(CHECKED), f"{__name__}.{checked.__name__}")
