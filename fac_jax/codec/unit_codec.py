"""The offline codec: k-means over stacked log-mel frames makes units at 25 Hz, and `inversion` speaks them.

A unit is the centroid of 4 consecutive 100 Hz frames of an 80-bin log-mel. The codec sounds like the voices that it was
fitted on, best with a single speaker, and needs no download.
"""

import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from fac_jax.audio.mel import HOP, RATE, filterbank, hann
from fac_jax.codec.base import FILE, TOKEN_RATE, PooledStream, Spoken, check_codebook, check_ids, check_place
from fac_jax.codec.inversion import WINDOW, Past, extended, joined, silence
from fac_jax.io import replacing, write_text
from fac_jax.types import InputError

BINS: int = 80
STACK: int = RATE // TOKEN_RATE // HOP  # mel frames of one unit
SAMPLES: int = HOP * STACK  # samples of one unit
FLOOR: float = 1e-6  # lower bound of the mel power, for silence
CHUNK: int = 16384  # mel frames transformed at a time, to bound memory

PIECE: int = 5  # units that a stream speaks at a time

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


@dataclasses.dataclass(eq=False)
class _Stream:
    """A stream in a place.

    Attributes:
      ids: that are not spoken yet.
      past: what was said.
      before: log-mel of the last frame before them, float32 `[1, BINS]`; none before the first unit.
      ended: whether there will be no others.
    """

    ids: np.ndarray
    past: Past
    before: np.ndarray
    ended: bool = False


class UnitPool:
    """A `SpeechPool` of units: five at a time, of all streams that have so many, and at the end what is left.

    The first five give 164 ms of speech, further ones 200 ms. What is said does not depend on when ids come.
    """

    def __init__(self, log_mels: np.ndarray, iterations: int, places: int) -> None:
        """Makes the places, all of them free; `UnitCodec.pool` calls this.

        Args:
          log_mels: of every unit, float32 `[units, STACK, BINS]`.
        """
        self._log_mels, self._iterations = log_mels, iterations
        self._places: list[_Stream | None] = [None] * places

    def start(self) -> int | None:
        """See `SpeechPool`."""
        if None not in self._places:
            return None
        place = self._places.index(None)
        self._places[place] = _Stream(np.zeros(0, np.int32), silence(), np.zeros((0, BINS), np.float32))
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
        alike: dict[tuple[int, int, bool], dict[int, _Stream]] = {}  # by units, frames to find again, whether they end
        for place, stream in enumerate(self._places):
            if stream is not None and (len(stream.ids) >= PIECE or stream.ended):
                last = len(stream.ids) < PIECE
                kind = min(len(stream.ids), PIECE), stream.past.magnitudes.shape[1], last
                alike.setdefault(kind, {})[place] = stream
        return [one for kind, streams in alike.items() for one in self._spoken(streams, kind[0], kind[2])]

    def _spoken(self, streams: Mapping[int, _Stream], count: int, last: bool) -> Iterator[Spoken]:
        """Speaks the next units of streams that are alike."""
        ids = np.stack([stream.ids[:count] for stream in streams.values()])
        frames = self._log_mels[ids].reshape(len(ids), count * STACK, BINS)
        before = np.stack([stream.before for stream in streams.values()])
        around = np.concatenate([before if before.size else frames[:, :1], frames], axis=1)
        magnitudes = _border_magnitudes(np.concatenate([around, around[:, -1:]], axis=1) if last else around)
        waves, past = extended(joined([one.past for one in streams.values()]), magnitudes, self._iterations, last)
        for row, (place, stream), left in zip(range(len(ids)), streams.items(), past.apart(), strict=True):
            stream.ids, stream.past, stream.before = stream.ids[count:], left, around[row, -1:]
            if last:
                self._places[place] = None
            yield Spoken(place, waves[row], last)


def _border_magnitudes(frames: np.ndarray) -> np.ndarray:
    """Returns magnitudes `[B, N - 1, FREQUENCIES]` of spectra on the borders of hops, from log-mels `[B, N, BINS]`.

    Log-mels are centred on their hops; on a border is the mean of two neighbours. Spectra that are centred as the
    log-mels are jump where units meet, and Whisper hears fewer of their words.
    """
    means = 0.5 * (frames[:, 1:] + frames[:, :-1])
    return np.sqrt(np.maximum(np.exp(means) @ _inverse_filterbank(), 0.0)).astype(np.float32)


@functools.cache
def _inverse_filterbank() -> np.ndarray:
    """Returns the pseudo-inverse of the filters, `[BINS, FREQUENCIES]`."""
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
