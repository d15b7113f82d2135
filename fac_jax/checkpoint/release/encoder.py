"""A Whisper encoder from elsewhere as the encoder of a model that is trained here."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from flax import traverse_util

from fac_jax.checkpoint.release.config import encoder_config, encoder_problems, refuse
from fac_jax.checkpoint.release.names import WHISPER, Entry
from fac_jax.checkpoint.release.params import filled, match, one_dtype
from fac_jax.checkpoint.release.tensors import Tensors
from fac_jax.checkpoint.release.whisper import ENCODER, open_whisper
from fac_jax.models.config import EncoderConfig, ModelConfig
from fac_jax.types import InputError, Params

POSITIONS: Final = f"{ENCODER}embed_positions.weight"


@functools.cache  # a config is resolved more than once
def whisper_shape(path: Path) -> EncoderConfig:
    """Returns the sizes of a Whisper's encoder, in any layout of `open_whisper`, with its stored positions.

    Raises:
      InputError: nothing is there, a file is damaged or of another kind, or asks for what the encoder does not do.
    """
    values, tensors = open_whisper(path)
    refuse(encoder_problems(values))
    if POSITIONS not in tensors.shapes:
        raise InputError(f"{path}: {POSITIONS}, the table of positions, is missing")
    return dataclasses.replace(encoder_config(values), positions="stored")


def whisper_params(path: Path, config: ModelConfig) -> Params:
    """Returns the parameters that a Whisper brings for a model: its encoder's, of the first `n_window` positions.

    The projection to the width of the LLM is not among them.

    Args:
      config: of a model whose encoder has the sizes of `whisper_shape`.

    Returns:
      float32 arrays under "encoder".

    Raises:
      InputError: as `whisper_shape`; tensors are missing, unknown or of another shape; or windows are longer than the
        table of positions.
    """
    entries, tensors = _matched(path, config)
    found: Any = traverse_util.flatten_dict(filled(entries, tensors))
    found["encoder", "positions"] = tensors[POSITIONS][: config.n_window]
    return traverse_util.unflatten_dict({name: np.asarray(leaf, np.float32) for name, leaf in found.items()})


def check_whisper(path: Path, config: ModelConfig) -> None:
    """Checks all that `whisper_params` asks of a Whisper, from the shapes of its tensors; raises as it does."""
    _matched(path, config)


def _matched(path: Path, config: ModelConfig) -> tuple[list[Entry], Tensors]:
    _, tensors = open_whisper(path)
    entries = match(tensors.shapes, WHISPER, config)
    one_dtype(tensors, WHISPER)
    count, wanted = tensors.shapes[POSITIONS][0], config.n_window
    if count < wanted:
        raise InputError(f"{path}: {count} positions; model.audio.n_window is {wanted}, at most that many")
    return entries, tensors


def in_place_of(params: Params, given: Params) -> Params:
    """Returns parameters with those of another tree in their places, in their dtypes and shardings."""
    leaves: Any = traverse_util.flatten_dict(params)
    for name, array in traverse_util.flatten_dict(given).items():
        old = leaves[name]
        new = np.asarray(array).astype(old.dtype)
        leaves[name] = jax.make_array_from_callback(old.shape, old.sharding, new.__getitem__)
    return traverse_util.unflatten_dict(leaves)
