"""Core-Cocktail's merge: a weighted sum of the parameters of two models, by subtree (paper, section 2.3; DrVoice)."""

import re
from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Float

from fac_jax.training.trainable import SEP
from fac_jax.types import Array, InputError, Params

SHARED_LLM: Final = "backbone/"  # pattern of what is merged by default
SHOWN = 3  # differing parameters that an error names
KEPT: Final = 1.0  # alpha of a parameter that no pattern chooses: that of the trained model


def merge(trained: Params, start: Params, alphas: Mapping[str, float]) -> Params:
    """Computes `alpha * trained + (1 - alpha) * start` on the chosen subtrees; the others are those of `trained`.

    Every leaf keeps its dtype and its sharding; nothing is gathered. The sum is float32 for every dtype.

    Args:
      trained: parameters M_1.
      start: parameters M_0, of the same structure.
      alphas: alpha by regular expression of parameter paths ("backbone/" is the Shared LLM); the first that matches the
        beginning of a path applies. 0 resets a subtree to `start`, 1 leaves it as trained.

    Raises:
      InputError: the trees differ, a pattern matches no parameter, or an alpha is not in [0, 1].
    """
    ours: dict[str, Any] = traverse_util.flatten_dict(trained, sep=SEP)
    theirs: dict[str, Any] = traverse_util.flatten_dict(start, sep=SEP)
    check_same(*({path: tuple(leaf.shape) for path, leaf in flat.items()} for flat in (ours, theirs)))
    chosen = choose_alphas(list(ours), alphas)
    merged = {path: combine(leaf, theirs[path], chosen[path]) for path, leaf in ours.items()}
    return traverse_util.unflatten_dict(merged, sep=SEP)


def combine(trained: Float[Array, "*shape"], start: Float[Array, "*shape"], alpha: float) -> Float[Array, "*shape"]:
    """Computes `alpha * trained + (1 - alpha) * start` of an array in float32, in the dtype of `trained`."""
    return trained if alpha == KEPT else _combine(trained, start, jnp.float32(alpha))


@jax.jit
def _combine(
    trained: Float[Array, "*shape"], start: Float[Array, "*shape"], alpha: Float[jax.Array, ""]
) -> Float[jax.Array, "*shape"]:
    mixed = alpha * jnp.asarray(trained, jnp.float32) + (1 - alpha) * jnp.asarray(start, jnp.float32)
    return mixed.astype(trained.dtype)


def choose_alphas(paths: list[str], alphas: Mapping[str, float]) -> dict[str, float]:
    """Returns the alpha of every path; 1 for a path that no pattern matches.

    Raises:
      InputError: see `merge`.
    """
    outside = [f"{pattern} has {alpha}" for pattern, alpha in alphas.items() if not 0 <= alpha <= 1]
    if outside:
        raise InputError(f"alpha is from 0 to 1, but {', '.join(outside)}")
    idle = [pattern for pattern in alphas if not any(re.match(pattern, path) for path in paths)]
    if idle:
        known = ", ".join(sorted({path.split(SEP)[0] for path in paths}))
        raise InputError(f'merge pattern "{idle[0]}" matches no parameter; the tree has {known}')
    return {path: next((alpha for pattern, alpha in alphas.items() if re.match(pattern, path)), KEPT) for path in paths}


def check_same(trained: dict[str, tuple[int, ...]], start: dict[str, tuple[int, ...]]) -> None:
    """Checks that two models have the same shapes, given by path.

    Raises:
      InputError: they differ; names the first parameters that do, with both shapes.
    """
    wrong = [path for path in sorted(trained | start) if trained.get(path) != start.get(path)]
    if wrong:
        listed = [f"{p} is {trained.get(p, 'absent')} in one, {start.get(p, 'absent')} in the other" for p in wrong]
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InputError(f"models of different shapes cannot be merged: {'; '.join(listed[:SHOWN])}{more}")
