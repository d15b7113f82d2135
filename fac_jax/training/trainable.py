"""Trainable and frozen parameters, chosen by their paths."""

import re
from collections.abc import Sequence

from flax import traverse_util

from fac_jax.layers.param import SEP
from fac_jax.types import InputError, Params


def split(params: Params, patterns: Sequence[str]) -> tuple[Params, Params]:
    """Splits a nested dict of parameters into two: (trainable, frozen).

    A parameter trains if one of the regular expressions matches the beginning of its path: "encoder/", "" for all.

    Raises:
      InputError: a pattern matches no parameter.
    """
    flat = traverse_util.flatten_dict(params, sep=SEP)
    chosen: set[str] = set()
    for pattern in patterns:
        hits = {path for path in flat if re.match(pattern, path)}
        if not hits:
            known = ", ".join(sorted({path.split(SEP)[0] for path in flat}))
            raise InputError(f'trainable pattern "{pattern}" matches no parameter; the tree has {known}')
        chosen |= hits
    trainable = {path: leaf for path, leaf in flat.items() if path in chosen}
    frozen = {path: leaf for path, leaf in flat.items() if path not in chosen}
    return traverse_util.unflatten_dict(trainable, sep=SEP), traverse_util.unflatten_dict(frozen, sep=SEP)


def join(trainable: Params, frozen: Params) -> Params:
    """Joins trainable and frozen parameters into one nested dict; the inverse of `split`."""
    flat = traverse_util.flatten_dict(frozen) | traverse_util.flatten_dict(trainable)
    return traverse_util.unflatten_dict(flat)
