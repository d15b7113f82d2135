"""Streams of the unit codec's speech, side by side: one compiled program speaks the next piece of all of them.

A stream is spoken five units at a time, 200 ms, as `inversion` says it.
"""

import dataclasses
import functools
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Float32, Int32

from fac_jax.audio.mel import HOP, RATE, filterbank
from fac_jax.codec.base import TOKEN_RATE, Spoken, check_codebook, check_place
from fac_jax.codec.inversion import HALF, WINDOW, Past, extended, samples_of, silence
from fac_jax.types import Array

BINS: Final = 80
STACK: Final = RATE // TOKEN_RATE // HOP  # mel frames of one unit
PIECE: Final = 5  # units that a stream speaks at a time


@dataclasses.dataclass(eq=False)
class _Stream:
    """A stream in a place.

    Attributes:
      ids: that are not spoken yet.
      begun: whether something of it was spoken.
      ended: whether there will be no others.
    """

    ids: np.ndarray
    begun: bool = False
    ended: bool = False


@struct.dataclass
class _Pieces:
    """The next units of streams, the first rows of P places.

    Attributes:
      places: of the streams.
      ids: of the units; behind the last ones 0.
      counts: how many units there are.
      begun: whether a stream has a past.
      last: whether nothing follows.
    """

    places: Int32[np.ndarray, " P"]
    ids: Int32[np.ndarray, "P {PIECE}"]
    counts: Int32[np.ndarray, " P"]
    begun: Bool[np.ndarray, " P"]
    last: Bool[np.ndarray, " P"]

    @classmethod
    def none(cls, places: int) -> "_Pieces":
        """Returns rows without pieces."""
        ids = np.zeros((places, PIECE), np.int32)
        return cls(ids[:, 0].copy(), ids, ids[:, 0].copy(), np.zeros(places, bool), np.zeros(places, bool))


@struct.dataclass
class _State:
    """What all places have said: the past of each, and the log-mel of the last frame before what comes."""

    past: Past
    before: Float32[Array, "P {BINS}"]


class UnitPool:
    """A `SpeechPool` of units: five at a time, of all streams that have so many, and at the end what is left.

    The first five give 164 ms of speech, further ones 200 ms. What is said does not depend on when ids come. One
    program speaks any number of streams.
    """

    def __init__(self, log_mels: Float32[np.ndarray, "units {STACK} {BINS}"], iterations: int, places: int) -> None:
        """Makes the places, all of them free.

        Args:
          log_mels: of every unit.
          iterations: of Griffin and Lim.
          places: how many streams are spoken together, at most.
        """
        self._log_mels, self._iterations = log_mels, iterations
        self._places: list[_Stream | None] = [None] * places
        self._state = _State(silence(places), jnp.zeros((places, BINS), jnp.float32))

    def start(self) -> int | None:
        """See `SpeechPool`."""
        if None not in self._places:
            return None
        place = self._places.index(None)
        self._places[place] = _Stream(np.zeros(0, np.int32))
        return place

    def push(self, place: int, ids: np.ndarray) -> None:
        """See `SpeechPool`."""
        stream = check_place(self._places, place)
        stream.ids = np.concatenate([stream.ids, check_codebook(ids, len(self._log_mels))])

    def end(self, place: int) -> None:
        """See `SpeechPool`."""
        check_place(self._places, place).ended = True

    def stop(self, place: int) -> None:
        """See `SpeechPool`."""
        check_place(self._places, place)
        self._places[place] = None

    def speak(self) -> list[Spoken]:
        """See `SpeechPool`."""
        due = {
            place: stream
            for place, stream in enumerate(self._places)
            if stream is not None and (len(stream.ids) >= PIECE or stream.ended)
        }
        if not due:
            return []
        pieces = _Pieces.none(len(self._places))
        for row, (place, stream) in enumerate(due.items()):
            ids = stream.ids[:PIECE]
            pieces.places[row], pieces.ids[row, : len(ids)], pieces.counts[row] = place, ids, len(ids)
            pieces.begun[row], pieces.last[row] = stream.begun, len(ids) < PIECE
        waves, self._state = _spoken(self._state, pieces, np.int32(len(due)), self._log_mels, self._iterations)
        return [self._said(place, stream, waves, row) for row, (place, stream) in enumerate(due.items())]

    def _said(self, place: int, stream: _Stream, waves: Float32[Array, "P samples"], row: int) -> Spoken:
        count, last = min(len(stream.ids), PIECE), len(stream.ids) < PIECE
        samples = samples_of(_frames_of(count, last), stream.begun, last)
        stream.ids, stream.begun = stream.ids[count:], True
        if last:
            self._places[place] = None
        return Spoken(place, lambda: np.asarray(waves)[row, :samples], last)


def _frames_of(units: Any, last: Any) -> Any:
    """Returns the new frames of units: those on the borders of hops, at the end the border behind the last hop too."""
    return STACK * units + last


@functools.partial(jax.jit, static_argnames="iterations", donate_argnames="state")
def _spoken(
    state: _State,
    pieces: _Pieces,
    count: Int32[Array, ""],
    log_mels: Float32[Array, "units {STACK} {BINS}"],
    iterations: int,
) -> tuple[Float32[Array, "P samples"], _State]:
    """Speaks the first `count` pieces, one after the other: no stream depends on those beside it, nor on their number.

    Returns:
      the samples of each, of which `samples_of` tells how many are said, and what the places have said now.
    """

    def one(row: jax.Array, carry: tuple[jax.Array, _State]) -> tuple[jax.Array, _State]:
        waves, state = carry
        piece = jax.tree.map(lambda leaf: leaf[row], pieces)
        old = jax.tree.map(lambda leaf: leaf[piece.places] * piece.begun, state)
        frames = log_mels[piece.ids].reshape(PIECE * STACK, BINS)
        before = jnp.where(piece.begun, old.before, frames[0])
        around = jnp.concatenate([before[None], frames])
        around = around[jnp.minimum(jnp.arange(len(around)), STACK * piece.counts)]
        frames_of = _frames_of(piece.counts, piece.last)
        magnitudes = _border_magnitudes(around)
        wave, past = extended(old.past, magnitudes, frames_of, piece.begun, piece.last, iterations)
        new = _State(past, around[-1])
        return waves.at[row].set(wave), jax.tree.map(lambda held, leaf: held.at[piece.places].set(leaf), state, new)

    samples = (PIECE * STACK + 1) * HOP + HALF
    waves = jnp.zeros((len(pieces.places), samples), jnp.float32)
    return jax.lax.fori_loop(0, count, one, (waves, state))


def _border_magnitudes(frames: Float32[Array, "N {BINS}"]) -> Float32[Array, "N-1 {FREQUENCIES}"]:
    """Returns magnitudes of spectra on the borders of hops, from log-mels.

    Log-mels are centred on their hops; on a border is the mean of two neighbours. Spectra that are centred as the
    log-mels are jump where units meet, and Whisper hears fewer of their words.
    """
    means = 0.5 * (frames[1:] + frames[:-1])
    return jnp.sqrt(jnp.maximum(jnp.matmul(jnp.exp(means), _inverse_filterbank(), precision="highest"), 0.0))


@functools.cache
def _inverse_filterbank() -> np.ndarray:
    """Returns the pseudo-inverse of the filters, `[BINS, FREQUENCIES]`."""
    return np.linalg.pinv(filterbank(WINDOW, BINS))
