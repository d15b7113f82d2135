"""Trainable and frozen parameters, chosen by their paths."""

import re
from collections.abc import Sequence

from flax import traverse_util

from fac_jax.types import InputError, Params


def path_of(keys: tuple[str, ...]) -> str:
    """Returns the path of a parameter that patterns are matched with, "backbone/norm/scale"."""
    return "/".join(keys)


def split(params: Params, patterns: Sequence[str]) -> tuple[Params, Params]:
    """Splits a nested dict of parameters into two: (trainable, frozen).

    A parameter trains if one of the regular expressions matches the beginning of its path: "encoder/", "" for all.

    Raises:
      InputError: a pattern matches no parameter.
    """
    flat = traverse_util.flatten_dict(params)
    matchers = {pattern: re.compile(pattern) for pattern in patterns}
    chosen: set[tuple[str, ...]] = set()
    for pattern, matcher in matchers.items():
        hits = {keys for keys in flat if matcher.match(path_of(keys))}
        if not hits:
            known = ", ".join(sorted({keys[0] for keys in flat}))
            raise InputError(f'trainable pattern "{pattern}" matches no parameter; the tree has {known}')
        chosen |= hits
    trainable = {keys: leaf for keys, leaf in flat.items() if keys in chosen}
    frozen = {keys: leaf for keys, leaf in flat.items() if keys not in chosen}
    return traverse_util.unflatten_dict(trainable), traverse_util.unflatten_dict(frozen)


def join(trainable: Params, frozen: Params) -> Params:
    """Joins trainable and frozen parameters into one nested dict; the inverse of `split`."""
    flat = traverse_util.flatten_dict(frozen) | traverse_util.flatten_dict(trainable)
    return traverse_util.unflatten_dict(flat)
