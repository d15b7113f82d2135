"""The offline codec: k-means over stacked log-mel frames makes units at 25 Hz, and `inversion` speaks them.

A unit is the centroid of 4 consecutive 100 Hz frames of an 80-bin log-mel. The codec sounds like the voices that it was
fitted on, best with a single speaker, and needs no download.
"""

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from fac_jax.audio.mel import HOP, RATE, filterbank, hann
from fac_jax.codec.base import FILE, TOKEN_RATE, PooledStream, check_ids
from fac_jax.codec.inversion import WINDOW
from fac_jax.codec.unit_pool import BINS, STACK, UnitPool
from fac_jax.io import replacing, write_text
from fac_jax.types import InputError

SAMPLES: int = HOP * STACK  # samples of one unit
FLOOR: float = 1e-6  # lower bound of the mel power, for silence
CHUNK: int = 16384  # mel frames transformed at a time, to bound memory

CENTROIDS_FILE: str = "centroids.npy"


@dataclasses.dataclass(frozen=True)
class UnitCodecConfig:
    """Settings of fitting and speaking.

    Attributes:
      units: number of centroids.
      seed: seed of k-means.
      fit_units: upper bound of the stacked frames that k-means sees; more are sampled with the seed.
      iterations: of Griffin and Lim.
    """

    units: int = 128
    seed: int = 0
    fit_units: int = 30_000
    iterations: int = 16


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
        stream = self.stream()
        return np.concatenate([stream.push(check_ids(ids, self.units)), stream.finish()])

    def stream(self) -> PooledStream:
        """Begins a wave whose units come one after the other; it says what `decode` says."""
        return PooledStream(self.pool(1))

    def pool(self, places: int) -> "UnitPool":
        """Makes places for streams that are spoken together."""
        return UnitPool(self._centroids.reshape(self.units, STACK, BINS), self.config.iterations, places)


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
