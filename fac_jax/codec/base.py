"""The one interface of all codecs: waveform <-> speech ids at 25 Hz."""

import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from fac_jax.io import write_text
from fac_jax.types import InputError

TOKEN_RATE: int = 25  # Hz
FILE: str = "codec.json"

# Name in codec.json -> module and class; imported on demand, as a codec may bring a model of its own.
_CODECS: dict[str, tuple[str, str]] = {
    "unit": ("fac_jax.codec.unit_codec", "UnitCodec"),
    "cosyvoice3": ("fac_jax.codec.cosyvoice.codec", "CosyVoice3"),
}
_ELSEWHERE = "elsewhere"  # name in a codec.json that only says in which folder the codec lies (`refer`)


class Codec(Protocol):
    """Waveform <-> speech ids.

    Attributes:
      heard_rate: sampling rate of the waves that it encodes, Hz.
      rate: sampling rate of the waves that it decodes to, Hz.
      units: number of ids; the speech specials follow them (`speech_special_ids`).
    """

    heard_rate: int
    rate: int
    units: int

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Float `[N]` -> int32 `[T]`, 25 a second. InputError for speech shorter than one id."""
        ...

    def encode_batch(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`encode` of every wave, faster than one by one. InputError names the first bad wave's index."""
        ...

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Integers `[T]` below `units` -> float32 `[N]`, N = `T * rate / 25`. InputError for other ids or none."""
        ...

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the codec for `load_codec`."""
        ...


def check_ids(ids: np.ndarray, units: int) -> np.ndarray:
    """Ids to be spoken as int32 `[T]`.

    Raises:
      InputError: there is none, or one is outside the codebook.
    """
    if np.size(ids) == 0:
        raise InputError("no speech ids to decode")
    return check_codebook(ids, units)


def check_codebook(ids: np.ndarray, units: int) -> np.ndarray:
    """Any number of ids as int32 `[T]`.

    Raises:
      InputError: one is outside the codebook (special ids never reach a decoder).
    """
    ids = np.asarray(ids)
    outside = ids[(ids < 0) | (ids >= units)]
    if outside.size:
        raise InputError(f"speech id {outside[0]} is outside the codec's {units} units (0 to {units - 1})")
    return ids.astype(np.int32)


def refer(folder: str | os.PathLike[str], codec: Path) -> None:
    """Writes a codec.json into `folder` by which `load_codec` finds the codec that lies in another folder."""
    write_text(Path(folder) / FILE, json.dumps({"name": _ELSEWHERE, "folder": str(codec.absolute())}))


def load_codec(folder: str | os.PathLike[str]) -> Codec:
    """Reads a codec that `save` wrote.

    Raises:
      InputError: no codec there, one of an unknown name, or one that refers to a folder that holds none.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise InputError(f"no codec in {folder}: {FILE} not found")
    try:
        values = json.loads(file.read_text())
        name = values["name"]
        there = Path(values["folder"]) if name == _ELSEWHERE else None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"not a codec description: {file}") from error
    if there is not None:
        if not (there / FILE).is_file():
            raise InputError(f"{file} refers to the codec in {there}, where {FILE} is not found: put it back there")
        return load_codec(there)
    if name not in _CODECS:
        raise InputError(f"{file} names the unknown codec {name!r}; known: {', '.join(_CODECS)}")
    module, cls = _CODECS[name]
    return getattr(importlib.import_module(module), cls).load(folder)
