"""Encoder features of users' waves on a disk, found by the waves themselves.

FOLDER/NAME.npy   float16 [W, F, C], the windows of some waves one after the other
FOLDER/NAME.json  {digest of a wave: [first window, windows, samples of the wave as it was heard]}; written last
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fac_jax.batching.conversation import StoredFeatures
from fac_jax.io import replacing, write_text
from fac_jax.types import InputError


def digest(wave: np.ndarray) -> str:
    """Returns 32 hexadecimal digits that a wave has alone."""
    return hashlib.blake2b(np.ascontiguousarray(wave).tobytes(), digest_size=16).hexdigest()


class FeatureStore:
    """The features in a folder, each read when it is asked for; processes open it for themselves.

    Attributes:
      folder: need not exist, for a store without features.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[str, int, int, int]] = {}
        for file in sorted(folder.glob("*.json")):
            for name, place in json.loads(file.read_text()).items():
                self._places[name] = file.stem, *place

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[Path]]:
        return FeatureStore, (self.folder,)

    def __contains__(self, name: str) -> bool:
        """Returns whether there are features of the wave with this digest."""
        return name in self._places

    def of(self, wave: np.ndarray) -> StoredFeatures:
        """Returns the features of a wave, float32 `[N]` at 16 kHz as it was before it was changed.

        Raises:
          InputError: there are none, or their file is gone.
        """
        try:
            file, first, count, samples = self._places[digest(wave)]
            windows = np.load(self.folder / f"{file}.npy", mmap_mode="r")[first : first + count]
        except (KeyError, OSError, ValueError) as error:
            raise InputError(f"{self.folder} lacks features of a wave ({error!r}): remove that folder") from error
        return StoredFeatures(np.array(windows), samples)  # a copy, so that no file stays open

    def write(self, found: Mapping[str, StoredFeatures]) -> None:
        """Adds features of at least one wave by their digests; they appear together, or not at all."""
        name = digest(np.frombuffer("".join(found).encode(), np.uint8))  # of the waves, as runs may write side by side
        places, first = {}, 0
        for one, features in found.items():
            places[one] = first, len(features.windows), features.samples
            first += len(features.windows)
        with replacing(self.folder / f"{name}.npy") as part, part.open("wb") as out:
            np.save(out, np.concatenate([features.windows for features in found.values()]))
        write_text(self.folder / f"{name}.json", json.dumps(places) + "\n")
        self._places |= {one: (name, *place) for one, place in places.items()}
