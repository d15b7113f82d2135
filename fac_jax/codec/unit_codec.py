"""The offline codec: k-means over stacked log-mel frames makes units at 25 Hz, and Griffin-Lim speaks them.

A unit is the centroid of 4 consecutive 100 Hz frames of an 80-bin log-mel. The codec sounds like the voices that it was
fitted on, best with a single speaker, and needs no download.
"""

import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import librosa
import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from fac_jax.audio.mel import HOP, RATE, filterbank, hann
from fac_jax.codec.base import FILE, TOKEN_RATE, SeparatePool, check_codebook, check_ids
from fac_jax.io import replacing, write_text
from fac_jax.types import InputError

WINDOW: int = 512  # samples of one Hann window
BINS: int = 80
STACK: int = RATE // TOKEN_RATE // HOP  # mel frames of one unit
SAMPLES: int = HOP * STACK  # samples of one unit
FLOOR: float = 1e-6  # lower bound of the mel power, for silence
CHUNK: int = 16384  # mel frames transformed at a time, to bound memory

PIECE: int = 10  # units that a stream speaks at a time
CONTEXT: int = 5  # units before and behind a piece that are spoken with it and cut off
FADE: int = SAMPLES // 2  # samples over which pieces pass into each other

CENTROIDS_FILE: str = "centroids.npy"


@dataclasses.dataclass(frozen=True)
class UnitCodecConfig:
    """Settings of fitting and speaking.

    Attributes:
      units: number of centroids.
      seed: seed of k-means and of the initial phases of Griffin-Lim.
      fit_units: upper bound of the stacked frames that k-means sees; more are sampled with the seed.
      iterations: steps of Griffin-Lim.
    """

    units: int = 128
    seed: int = 0
    fit_units: int = 30_000
    iterations: int = 30


class UnitCodec:
    """A `Codec` of k-means units, with waves at 16 kHz in both directions."""

    heard_rate: int = RATE
    rate: int = RATE

    def __init__(self, centroids: np.ndarray, config: UnitCodecConfig) -> None:
        """Takes fitted centroids float32 `[units, STACK * BINS]`; `fit` and `load` call this."""
        self.config = config
        self.units: int = len(centroids)
        self._centroids = centroids

    @classmethod
    def fit(cls, waves: Sequence[np.ndarray], config: UnitCodecConfig | None = None) -> "UnitCodec":
        """Fits the units on float waves `[N]` at 16 kHz, best of the single voice that is to be spoken.

        Raises:
          InputError: a wave is shorter than one unit, or all waves together have fewer frames than there are units.
        """
        config = config or UnitCodecConfig()
        frames = np.concatenate(list(_stacked_mel(waves)))
        if len(frames) < config.units:
            raise InputError(f"{len(frames) / TOKEN_RATE:.1f} s of speech cannot make {config.units} units; add speech")
        if len(frames) > config.fit_units:
            rows = np.random.default_rng(config.seed).choice(len(frames), config.fit_units, replace=False)
            frames = frames[np.sort(rows)]
        # Lloyd's algorithm: mini-batches leave twin centroids on little speech. One thread makes sums repeatable.
        with threadpool_limits(1):
            kmeans = KMeans(config.units, max_iter=25, random_state=config.seed).fit(frames)
        return cls(np.asarray(kmeans.cluster_centers_, np.float32), config)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "UnitCodec":
        """Reads what `save` wrote.

        Raises:
          InputError: the centroids are missing or damaged.
        """
        folder = Path(folder)
        values = json.loads((folder / FILE).read_text())
        try:
            centroids = np.load(folder / CENTROIDS_FILE)
        except (FileNotFoundError, EOFError, ValueError) as error:
            raise InputError(f"codec file is missing or broken: {folder / CENTROIDS_FILE}; fit it again") from error
        return cls(centroids, UnitCodecConfig(**values["config"]))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the centroids, then codec.json, so that an unfinished folder is no codec."""
        with replacing(Path(folder) / CENTROIDS_FILE) as part, part.open("wb") as file:
            np.save(file, self._centroids)
        values = {"name": "unit", "config": dataclasses.asdict(self.config)}
        write_text(Path(folder) / FILE, json.dumps(values, indent=1))

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Encodes one wave: float `[N]` at 16 kHz becomes int32 `[T]`, T = `N // 640`.

        Raises:
          InputError: the wave is shorter than one unit.
        """
        return self.encode_batch([wave])[0]

    def encode_batch(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encodes every wave as `encode` does.

        Raises:
          InputError: a wave is shorter than one unit; the message names its index.
        """
        mean = self._centroids.mean(0)  # centred values are small, so that float32 products are exact enough
        centred = self._centroids - mean
        bias = 0.5 * np.square(centred).sum(1)  # the nearest centroid has the largest x.c - |c|^2 / 2
        ids = [np.argmax((frames - mean) @ centred.T - bias, axis=1) for frames in _stacked_mel(waves)]
        ends = np.cumsum([len(wave) // SAMPLES for wave in waves], dtype=np.int64)
        return np.split(np.concatenate([np.zeros(0), *ids]).astype(np.int32), ends)[:-1]

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Speaks ids: integers `[T]` become float32 `[640 T]` at 16 kHz. Equal ids always give equal waves.

        Raises:
          InputError: there is no id, or an id is outside the codebook.
        """
        ids = check_ids(ids, self.units)
        log_mel = self._centroids[ids].reshape(-1, BINS)
        # Frames are centred on their hop, but Griffin-Lim needs them on the edges of hops: take means of neighbours.
        padded = np.pad(log_mel, ((1, 1), (0, 0)), mode="edge")
        smooth = 0.5 * (padded[:-1] + padded[1:])
        power = np.maximum(np.exp(smooth) @ _inverse_filterbank(), 0.0)
        return librosa.griffinlim(
            np.sqrt(power).T,
            n_iter=self.config.iterations,
            hop_length=HOP,
            n_fft=WINDOW,
            length=len(ids) * SAMPLES,
            random_state=self.config.seed,
        ).astype(np.float32)

    def stream(self) -> "UnitStream":
        """Begins a wave whose units come one after the other."""
        return UnitStream(self)

    def pool(self, places: int) -> SeparatePool:
        """Makes places for streams, which a host speaks one after the other."""
        return SeparatePool(self, places)


class UnitStream:
    """A `SpeechStream` of units: Griffin-Lim speaks pieces with what is around them, which fade into each other.

    A piece is 0.4 s long and comes when the 0.2 s behind it are known.
    """

    def __init__(self, codec: UnitCodec) -> None:
        """Starts the stream; `UnitCodec.stream` calls this."""
        self._codec = codec
        self._ids = np.zeros(0, np.int32)
        self._first = 0  # unit of the next piece
        self._tail = np.zeros(0, np.float32)  # what the piece before says of its beginning

    def push(self, ids: np.ndarray) -> np.ndarray:
        """Takes the next ids and returns the samples of the pieces that they complete, float32 `[N]`.

        Raises:
          InputError: an id is outside the codebook; none of them is taken.
        """
        self._ids = np.concatenate([self._ids, check_codebook(ids, self._codec.units)])
        waves = [np.zeros(0, np.float32)]
        while len(self._ids) >= self._first + PIECE + CONTEXT:
            waves.append(self._speak(self._first + PIECE))
        return np.concatenate(waves)

    def finish(self) -> np.ndarray:
        """Returns the remaining samples, float32 `[N]`. Nothing may be pushed afterwards."""
        return self._speak(len(self._ids)) if len(self._ids) > self._first else np.zeros(0, np.float32)

    def _speak(self, end: int) -> np.ndarray:
        """Speaks from the first unit that is not spoken to `end`."""
        before = max(0, self._first - CONTEXT)
        around = self._codec.decode(self._ids[before : end + CONTEXT])
        wave, behind = np.split(around[(self._first - before) * SAMPLES :], [(end - self._first) * SAMPLES])
        if self._tail.size:
            rise = np.linspace(0, 1, FADE, dtype=np.float32)
            wave[:FADE] = rise * wave[:FADE] + (1 - rise) * self._tail
        self._first, self._tail = end, behind[:FADE]
        return wave


@functools.cache
def _inverse_filterbank() -> np.ndarray:
    """Returns the pseudo-inverse of the filters, `[BINS, WINDOW // 2 + 1]`."""
    return np.linalg.pinv(filterbank(WINDOW, BINS))


def _stacked_mel(waves: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the natural logarithm of the mel power of all waves in order: float32 `[.., STACK * BINS]`."""
    window = hann(WINDOW)
    framed: list[np.ndarray] = []
    for number, wave in enumerate(waves):
        frames = len(wave) // SAMPLES * STACK
        if frames == 0:
            raise InputError(f"speech {number} of the batch has {len(wave)} samples; one unit takes {SAMPLES}")
        edged = np.pad(np.asarray(wave, np.float32), (WINDOW - HOP) // 2)
        framed.append(np.lib.stride_tricks.sliding_window_view(edged, WINDOW)[: frames * HOP : HOP])
    chunk_of = np.cumsum([len(f) for f in framed], dtype=np.int64) // CHUNK
    for _, group in itertools.groupby(zip(chunk_of, framed, strict=True), key=lambda pair: pair[0]):
        spectrum = np.fft.rfft(np.concatenate([f for _, f in group]) * window)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        yield np.log(np.maximum(power @ filterbank(WINDOW, BINS), FLOOR)).reshape(-1, STACK * BINS)
