"""Audio on the wire: 16-bit PCM at 24 kHz or G.711 at 8 kHz, and the rates of the engine."""

import base64
import binascii
import functools
import math
from typing import Final

import numpy as np
import soxr
from jaxtyping import Float32
from scipy import signal

from fac_jax.audio.io import resampled
from fac_jax.serving.detect.base import RATE
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.settings import G711, Pcm

SHORTEST_S: Final = 0.04  # of an audio event
LONGEST_S: Final = 0.4
LAG: Final = 15  # samples that `ForDetector` lags
LEAST_WANTED: Final = 16  # samples at 16 kHz of a block of `ForDetector`


def rate_of(form: Pcm | G711) -> int:
    """Returns the sampling rate of a format in Hz."""
    return form.rate if isinstance(form, Pcm) else 8_000


def from_base64(text: str, form: Pcm | G711, param: str) -> Float32[np.ndarray, " N"]:
    """Decodes the audio of a client; the samples are at the format's rate.

    Raises:
      RefusedError: it is no base64, or has half a sample.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError("The audio is no base64.", param=param) from None
    if isinstance(form, G711):
        return _TABLES[form.type][np.frombuffer(data, np.uint8)]
    if len(data) % 2:
        raise RefusedError("The audio has an odd number of bytes; a sample of PCM16 has two.", param=param)
    return np.frombuffer(data, "<i2").astype(np.float32) / 32_768


def to_base64(samples: Float32[np.ndarray, " N"], form: Pcm | G711) -> str:
    """Encodes samples at the format's rate, clipped to [-1, 1]."""
    words = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2")
    data = words.tobytes() if isinstance(form, Pcm) else _nearest(form, words)
    return base64.b64encode(data).decode()


def encoded(wave: Float32[np.ndarray, " N"], rate: int, form: Pcm | G711) -> str:
    """Encodes a whole wave of another rate."""
    return to_base64(resampled(wave, rate, rate_of(form)), form)


class Resampler:
    """Changes the rate of audio that comes in pieces."""

    def __init__(self, rate: int, wanted: int) -> None:
        self._stream = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, dtype="float32")

    def push(self, samples: Float32[np.ndarray, " N"], last: bool = False) -> Float32[np.ndarray, " M"]:
        """Takes the next samples and returns those that are ready; all of them with the last."""
        return samples if self._stream is None else self._stream.resample_chunk(samples, last)


class ForDetector:
    """Changes the rate of audio to that of detectors without delay: it lags by 3 ms at most, `Resampler` by up to 100.

    A block of samples that lasts as long as a whole number of wanted ones is one row of a product with the taps. It has
    at least 16 wanted ones (1 ms): with fewer, copying the rows costs more than their product.
    """

    def __init__(self, rate: int) -> None:
        self._down, self._taps = _taps(rate)
        self._kept = np.zeros(len(self._taps) - self._down, np.float32)  # samples that the next ones are filtered with

    def push(self, samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " M"]:
        """Takes the next samples and returns those that are ready."""
        if len(self._taps) == 1:
            return samples
        heard = np.concatenate([self._kept, samples])
        blocks = (len(heard) - len(self._taps)) // self._down + 1
        self._kept = heard[blocks * self._down :]
        step = heard.itemsize
        rows = np.ndarray((blocks, len(self._taps)), heard.dtype, heard, 0, (self._down * step, step))
        return (np.ascontiguousarray(rows) @ self._taps).reshape(-1)


@functools.cache
def _taps(rate: int) -> tuple[int, Float32[np.ndarray, "width up"]]:
    """Returns the samples of a block, and the filter of each of the wanted samples in it, of those before and in it."""
    common = math.gcd(rate, RATE)
    up, down = RATE // common, rate // common
    if up == down:
        return 1, np.ones((1, 1), np.float32)
    width = LAG * 2 + 1
    low = signal.firwin(width * up, 0.875 * min(rate, RATE) / 2, fs=rate * up) * up
    repeats = -(-LEAST_WANTED // up)
    wanted, block = repeats * up, repeats * down
    # The sample p of a block lies at `p * down` of the upsampled ones, and sample j of those that come at `j * up`.
    tap = down * np.arange(wanted) - up * np.arange(1 - width, block)[:, None]
    return block, np.where((tap >= 0) & (tap < len(low)), low[np.clip(tap, 0, len(low) - 1)], 0).astype(np.float32)


class Events:
    """Cuts the samples of a reply into the audio of events, each of 40 to 400 ms in base64."""

    def __init__(self, rate: int, form: Pcm | G711) -> None:
        self._form = form
        self._resampler = Resampler(rate, rate_of(form))
        self._waiting = np.zeros(0, np.float32)
        self._shortest, self._longest = round(SHORTEST_S * rate_of(form)), round(LONGEST_S * rate_of(form))

    def push(self, samples: Float32[np.ndarray, " N"]) -> list[tuple[str, float]]:
        """Takes the next samples; returns the audio of events, and the seconds of each."""
        return self._cut(self._resampler.push(samples))

    def close(self) -> list[tuple[str, float]]:
        """Returns the rest; silence makes it as long as an event has to be."""
        events = self._cut(self._resampler.push(np.zeros(0, np.float32), last=True))
        if rest := self._waiting.size:
            events += self._cut(np.zeros(self._shortest - rest, np.float32))
        return events

    def _cut(self, samples: Float32[np.ndarray, " N"]) -> list[tuple[str, float]]:
        ready = np.concatenate([self._waiting, samples])
        pieces = []
        while len(ready) >= self._shortest:
            size = len(ready) if len(ready) <= self._longest else min(self._longest, len(ready) - self._shortest)
            piece, ready = ready[:size], ready[size:]
            pieces.append((to_base64(piece, self._form), size / rate_of(self._form)))
        self._waiting = ready
        return pieces


def _mu_law() -> Float32[np.ndarray, " 256"]:
    """Returns the sample of every code of G.711 mu-law, as 16-bit words."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    size = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return np.where(code & 0x80, 0x84 - size, size - 0x84).astype(np.float32)


def _a_law() -> Float32[np.ndarray, " 256"]:
    """Returns the sample of every code of G.711 A-law, as 16-bit words."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code & 0x70) >> 4
    size = ((code & 0x0F) << 4) + np.where(exponent, 0x108, 8)
    size = size << np.maximum(exponent - 1, 0)
    return np.where(code & 0x80, size, -size).astype(np.float32)


_WORDS: Final = {"audio/pcmu": _mu_law(), "audio/pcma": _a_law()}
_TABLES: Final = {name: words / 32_768 for name, words in _WORDS.items()}


def _nearest(form: G711, words: np.ndarray) -> bytes:
    """Returns the code of G.711 whose sample is nearest to each 16-bit word."""
    order = np.argsort(_WORDS[form.type], kind="stable")
    ordered = _WORDS[form.type][order]
    between = (ordered[1:] + ordered[:-1]) / 2
    return order[np.searchsorted(between, words)].astype(np.uint8).tobytes()
