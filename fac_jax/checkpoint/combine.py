"""Combines two models on disk into one, piece by piece."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from fac_jax.checkpoint.arrays import StoredArray
from fac_jax.checkpoint.assets import trained_assets
from fac_jax.checkpoint.export import finish, load_config, resolve
from fac_jax.checkpoint.release.convert import Wrap, at_destination, fill_params, fingerprint
from fac_jax.checkpoint.release.names import Entry, release_entries
from fac_jax.checkpoint.release.params import Read
from fac_jax.checkpoint.store import folder_of

Mix = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


def combine_models(
    first: epath.PathLike,
    second: epath.PathLike,
    destination: Path,
    mix: Mix,
    origin: dict[str, Any],
    wrap: Wrap = iter,
) -> None:
    """Writes a model folder whose every parameter is made from those of two others, which have the same shapes.

    Configuration, tokenizer, codec and dtype are those of `first`; `export.resolve` finds both.

    Args:
      destination: must not exist.
      mix: gives a piece of a parameter from its path ("backbone/decoder/norm/scale") and both models' pieces.
      origin: what made it; two different mixes of the same models have different origins.
      wrap: of the pieces while they are written, for a progress bar.

    Raises:
      InputError: a model is missing, or the disk is full.
    """
    folders = [resolve(first), resolve(second)]
    config = load_config(folders[0])
    job = {"combine": [fingerprint(Path(folder)) for folder in folders], "origin": origin}
    with at_destination(destination, job) as unfinished:
        entries = [_combined(entry, folders, mix) for entry in release_entries(config)]
        fill_params(unfinished, config, entries, wrap)
        finish(unfinished, config, origin, trained_assets(folders[0]))


def _combined(entry: Entry, folders: list[epath.Path], mix: Mix) -> tuple[Entry, Read]:
    """Returns a parameter whose pieces are named by their places ("3", "3 1"), and what mixes the pieces of a place."""
    stored = [StoredArray(Path(folder_of(folder, entry.path)), entry.path) for folder in folders]

    def read(place: str) -> np.ndarray:
        first, second = (array.read(tuple(map(int, place.split()))) for array in stored)
        return mix("/".join(entry.path), first, second)

    places = [" ".join(map(str, index)) for index in np.ndindex(entry.names.shape)]
    return Entry(entry.path, np.array(places).reshape(entry.names.shape), "same"), read
