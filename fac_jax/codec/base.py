"""The interface of all codecs, which turn a waveform into speech ids at 25 Hz and back."""

import dataclasses
import importlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from fac_jax.io import write_text
from fac_jax.types import InputError

TOKEN_RATE: int = 25  # Hz
FILE: str = "codec.json"

# Name in codec.json -> module and class. Modules are imported on demand, since a codec may need heavy imports.
_CODECS: dict[str, tuple[str, str]] = {
    "unit": ("fac_jax.codec.unit_codec", "UnitCodec"),
    "cosyvoice3": ("fac_jax.codec.cosyvoice.codec", "CosyVoice3"),
}
_ELSEWHERE = "elsewhere"  # name in a codec.json that only names the folder of another codec (`refer`)


class SpeechStream(Protocol):
    """A wave that is made as its ids arrive (`Codec.stream`)."""

    def push(self, ids: np.ndarray) -> np.ndarray:
        """Takes the next ids, integers `[T]`, and returns the samples that they complete, float32 `[N]`.

        T and N may be 0.

        Raises:
          InputError: an id is outside the codebook.
        """
        ...

    def finish(self) -> np.ndarray:
        """Returns the remaining samples, float32 `[N]`. Nothing may be pushed afterwards."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
    """What a stream of a pool goes on with.

    Attributes:
      place: of the stream.
      made: gives `wave`, and waits for the device if it has not made it yet.
      last: whether the stream has ended; its place is free.
    """

    place: int
    made: Callable[[], np.ndarray]
    last: bool

    @property
    def wave(self) -> np.ndarray:
        """Returns the new samples, float32 `[N]`; N may be 0."""
        return self.made()


class SpeechPool(Protocol):
    """Streams that are spoken together, each in a place of its own (`Codec.pool`)."""

    def start(self) -> int | None:
        """Begins a stream and returns its place; None if no place is free."""
        ...

    def push(self, place: int, ids: np.ndarray) -> None:
        """Takes the next ids of a stream, integers `[T]`.

        Raises:
          InputError: an id is outside the codebook, or nothing is spoken in this place.
        """
        ...

    def end(self, place: int) -> None:
        """Says that a stream has all its ids; `speak` gives the rest, and then frees the place."""
        ...

    def stop(self, place: int) -> None:
        """Ends a stream at once, and frees its place."""
        ...

    def speak(self) -> list[Spoken]:
        """Speaks the next chunk of every stream that has one; call it until it returns nothing.

        It may return before the device has made the samples; `Spoken.wave` waits for them.
        """
        ...


T = TypeVar("T")


def check_place(places: Sequence[T | None], place: int) -> T:
    """Returns what is in a place of a pool.

    Raises:
      InputError: there is no such place, or nothing in it.
    """
    found = places[place] if 0 <= place < len(places) else None
    if found is None:
        raise InputError(f"nothing is spoken in place {place} of {len(places)}")
    return found


class Codec(Protocol):
    """Turns waves into speech ids and back.

    Attributes:
      heard_rate: sampling rate in Hz of the waves that `encode` takes.
      rate: sampling rate in Hz of the waves that `decode` returns.
      units: number of ids; the special speech ids follow them (`speech_special_ids`).
    """

    heard_rate: int
    rate: int
    units: int

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Encodes one wave, float `[N]` at `heard_rate`, as int32 `[T]`, 25 ids a second.

        Raises:
          InputError: the wave is shorter than one id.
        """
        ...

    def encode_batch(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encodes every wave as `encode` does, but faster than one by one.

        Raises:
          InputError: a wave is shorter than one id; the message names the index of the first such wave.
        """
        ...

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Speaks ids, integers `[T]` below `units`, as float32 `[N]` at `rate`, N = `T * rate / 25`.

        Raises:
          InputError: there is no id, or an id is outside the codebook.
        """
        ...

    def stream(self) -> SpeechStream:
        """Begins a wave whose ids come one after the other; in the end it has as many samples as `decode` gives."""
        ...

    def pool(self, places: int) -> SpeechPool:
        """Makes places for so many streams that are spoken together; each gives the samples of `stream`."""
        ...

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the codec into a folder, for `load_codec`."""
        ...


class PooledStream:
    """A `SpeechStream` in a pool of one place."""

    def __init__(self, pool: SpeechPool) -> None:
        """Takes a pool whose place is free."""
        self._pool = pool
        place = pool.start()
        assert place is not None
        self._place = place

    def push(self, ids: np.ndarray) -> np.ndarray:
        """See `SpeechStream`."""
        self._pool.push(self._place, ids)
        return self._spoken()

    def finish(self) -> np.ndarray:
        """See `SpeechStream`."""
        self._pool.end(self._place)
        return self._spoken()

    def _spoken(self) -> np.ndarray:
        waves = [np.zeros(0, np.float32)]
        while made := self._pool.speak():
            waves += [one.wave for one in made]
        return np.concatenate(waves)


def check_ids(ids: np.ndarray, units: int) -> np.ndarray:
    """Checks ids that are to be spoken and returns them as int32 `[T]`.

    Raises:
      InputError: there is no id, or an id is outside the codebook.
    """
    if np.size(ids) == 0:
        raise InputError("no speech ids to decode")
    return check_codebook(ids, units)


def check_codebook(ids: np.ndarray, units: int) -> np.ndarray:
    """Checks any number of ids and returns them as int32 `[T]`.

    Raises:
      InputError: an id is outside the codebook. Special ids must be removed before.
    """
    ids = np.asarray(ids)
    outside = ids[(ids < 0) | (ids >= units)]
    if outside.size:
        raise InputError(f"speech id {outside[0]} is outside the codec's {units} units (0 to {units - 1})")
    return ids.astype(np.int32)


def refer(folder: str | os.PathLike[str], codec: Path) -> None:
    """Writes a codec.json into `folder` that makes `load_codec` read the codec of another folder."""
    write_text(Path(folder) / FILE, json.dumps({"name": _ELSEWHERE, "folder": str(codec.absolute())}))


def load_codec(folder: str | os.PathLike[str]) -> Codec:
    """Reads a codec that `save` wrote.

    Raises:
      InputError: the folder has no codec, a codec of an unknown name, or a reference to a folder without one.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise InputError(f"no codec in {folder}: {FILE} not found")
    try:
        values = json.loads(file.read_text())
        name = values["name"]
        target = Path(values["folder"]) if name == _ELSEWHERE else None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"not a codec description: {file}") from error
    if target is not None:
        if not (target / FILE).is_file():
            raise InputError(f"{file} refers to the codec in {target}, where {FILE} is not found: put it back there")
        return load_codec(target)
    if name not in _CODECS:
        raise InputError(f"{file} names the unknown codec {name!r}; known: {', '.join(_CODECS)}")
    module, cls = _CODECS[name]
    return getattr(importlib.import_module(module), cls).load(folder)
