"""Combines two models on disk into one, piece by piece."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from fac_jax.checkpoint.arrays import StoredArray
from fac_jax.checkpoint.assets import trained_assets
from fac_jax.checkpoint.export import load_config, resolve
from fac_jax.checkpoint.release.convert import Wrap, at_destination, fill_params, fingerprint, finish
from fac_jax.checkpoint.release.names import Entry, release_entries
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
    """Writes a model folder whose every parameter is made from those of two others.

    Configuration, tokenizer, codec and dtype are those of `first`.

    Args:
      first: what `export.resolve` finds.
      second: of the same shapes.
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


class _Pieces(Mapping[str, np.ndarray]):
    """The mixed pieces of one parameter by their number, made when asked for."""

    def __init__(self, path: tuple[str, ...], lead: tuple[int, ...], folders: list[epath.Path], mix: Mix) -> None:
        self._path, self._lead, self._folders, self._mix = path, lead, folders, mix

    def __getitem__(self, number: str) -> np.ndarray:
        index = tuple(map(int, np.unravel_index(int(number), self._lead))) if self._lead else ()
        first, second = (
            StoredArray(Path(folder_of(folder, self._path)), self._path).read(index) for folder in self._folders
        )
        return self._mix("/".join(self._path), first, second)

    def __iter__(self) -> Iterator[str]:
        return map(str, range(len(self)))

    def __len__(self) -> int:
        return int(np.prod(self._lead))


def _combined(entry: Entry, folders: list[epath.Path], mix: Mix) -> tuple[Entry, Mapping[str, np.ndarray]]:
    lead = entry.names.shape
    numbers = np.arange(entry.names.size).astype(str).reshape(lead)
    return Entry(entry.path, numbers, "same"), _Pieces(entry.path, lead, folders, mix)
