"""The vocoder over any length of speech, window by window: the samples of the whole at a bounded cost.

Its convolutions hear a fixed number of frames behind and ahead. A window that begins that many frames before the ones
that are wanted, and ends that many behind, gives them as the whole would; only the phase of the source grows with
everything before, and that is kept.
"""

import functools
import math
from typing import Literal

import jax
import numpy as np

from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.codec.cosyvoice.source import F0_BEHIND, F0_LOOKAHEAD, Phase, host_f0, tones
from fac_jax.codec.cosyvoice.vocoder import POST_WIDTH, Vocoder
from fac_jax.types import Params

Pitch = Literal["host", "device"]
RELEASE_HELD: int = 8  # frames that the release holds back: the two look-aheads one behind the other, and one more


def frames_ahead(config: VocoderConfig) -> int:
    """Frames behind a frame that its samples hear: the wider look-ahead, and one that the transform laps into."""
    return max(F0_LOOKAHEAD, config.lookahead) + 1


def frames_behind(config: VocoderConfig) -> int:
    """Frames before a frame that its samples hear, besides through pitch and phase."""
    steps = config.frame_steps
    overlap = config.fft // config.hop
    heard = (overlap + POST_WIDTH - 1) / steps
    most, rate = heard, steps
    for i in reversed(range(len(config.upsample_rates))):
        blocks = zip(config.block_widths, config.block_dilations, strict=True)
        heard += max(_span(width, dilations) for width, dilations in blocks) / rate
        source = _span(config.source_widths[i], config.source_dilations[i]) / rate + 2 / rate + overlap / steps
        most = max(most, heard + source)
        heard += (config.upsample_widths[i] - 1) / rate + 1 / steps
        rate //= config.upsample_rates[i]
        heard += 1 / rate
    return math.ceil(max(most, heard)) + 1


def _span(width: int, dilations: tuple[int, ...]) -> int:
    """Steps before a step that a residual block hears."""
    return sum((width - 1) * (dilation + 1) for dilation in dilations)


@functools.partial(jax.jit, static_argnames="config")
def _decode(config: VocoderConfig, params: Params, *inputs: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):  # whatever the device's default: rounding is heard
        return Vocoder(config).apply({"params": params}, *inputs)[0]  # type: ignore[index]


@functools.partial(jax.jit, static_argnames="config")
def _device_f0(config: VocoderConfig, params: Params, mel: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return Vocoder(config).apply({"params": params}, mel[None], method="f0")[0]  # type: ignore[index]


class WindowedVocoder:
    """The vocoder with its parameters and noise; `speech` begins a wave.

    Attributes:
      config: sizes.
      behind: frames of a window before the wanted ones.
      ahead: frames behind them.
    """

    def __init__(self, config: VocoderConfig, params: Params, noise: np.ndarray, pitch: Pitch = "host") -> None:
        """Takes parameters of `Vocoder`, and noise in [0, 1) float32 `[N, harmonics]`, which begins anew after N."""
        self.config = config
        self.behind, self.ahead = frames_behind(config), frames_ahead(config)
        self._noise, self._pitch, self._params = noise, pitch, jax.device_put(params)
        self._f0 = jax.tree.map(lambda a: np.asarray(a, np.float64), params["f0_predictor"])

    def speech(self, window: int, phase: Phase = "exact", held: int | None = None) -> "Speech":
        """A new wave.

        Args:
          window: frames that are made at a time; one program is compiled for each number.
          phase: see `source.tones`.
          held: frames that are held back until more come; None for no more than must be.
        """
        return Speech(self, window, phase, self.ahead if held is None else held)

    def f0(self, mel: np.ndarray, window: int) -> np.ndarray:
        """Pitch in Hz `[F]` of log-mel `[F, 80]`; `window` frames at a time on a device."""
        if self._pitch == "host":
            return host_f0(self._f0, mel)
        size, found = F0_BEHIND + window + F0_LOOKAHEAD, []
        for start in range(0, len(mel), window):
            first = max(0, start - F0_BEHIND)
            piece = np.asarray(_device_f0(self.config, self._params, _padded(mel[first : first + size], size)))
            found.append(piece[start - first : min(start + window, len(mel)) - first])
        return np.concatenate(found)

    def decode(self, mel: np.ndarray, sines: np.ndarray, level: np.ndarray, first: int, length: int) -> np.ndarray:
        """Wave of a window of F frames that begins with frame `first`; `length` frames of it are there."""
        count = self.config.frame_samples
        samples = np.arange(first * count, (first + len(mel)) * count) % len(self._noise)
        inputs = (mel[None], sines[None], level[None], self._noise[samples][None], np.int32(length))
        return np.asarray(_decode(self.config, self._params, *inputs))


class Speech:
    """A wave in the making."""

    def __init__(self, vocoder: WindowedVocoder, window: int, phase: Phase, held: int) -> None:
        config = vocoder.config
        self._vocoder, self._window, self._held = vocoder, window, held
        self._phase: Phase = phase
        self._start = self._done = 0  # number of the first frame that is kept, of the first that was not given out
        self._mel = np.zeros((0, config.mel_bins), np.float32)
        self._sines = np.zeros((0, config.harmonics), np.float32)
        self._level = np.zeros(0, np.float32)
        self._turns = np.zeros(config.harmonics)

    def push(self, mel: np.ndarray, final: bool = False) -> np.ndarray:
        """Takes log-mel float32 `[F, 80]` and gives the samples that it completes, float32 `[N]`.

        Altogether F frames give `F * frame_samples` samples once `final` was said; before, those of the frames that
        are held back are missing.
        """
        vocoder, config = self._vocoder, self._vocoder.config
        self._mel = np.concatenate([self._mel, np.asarray(mel, np.float32)])
        total = self._start + len(self._mel)
        self._play(total if final else total - F0_LOOKAHEAD)
        end = total if final else total - self._held
        size = vocoder.behind + self._window + vocoder.ahead
        waves = [np.zeros(0, np.float32)]
        while self._done < end:
            first, count = max(0, self._done - vocoder.behind), min(self._window, end - self._done)
            kept = slice(first - self._start, first - self._start + size)
            pieces = (_padded(array[kept], size) for array in (self._mel, self._sines, self._level))
            wave = vocoder.decode(*pieces, first=first, length=min(size, total - first) if final else size)
            skipped = (self._done - first) * config.frame_samples
            waves.append(wave[skipped : skipped + count * config.frame_samples])
            self._done += count
        self._forget(max(0, self._done - vocoder.behind))
        return np.concatenate(waves)

    def _play(self, end: int) -> None:
        """Adds the tones of the frames up to `end`."""
        known = self._start + len(self._level)
        if end <= known:
            return
        first = max(self._start, known - F0_BEHIND)
        f0 = self._vocoder.f0(self._mel[first - self._start :], self._window)[known - first : end - first]
        played = tones(f0, self._turns, self._vocoder.config, self._phase)
        self._sines = np.concatenate([self._sines, played.sines])
        self._level = np.concatenate([self._level, played.noise])
        self._turns = played.turns

    def _forget(self, first: int) -> None:
        gone, self._start = first - self._start, first
        self._mel, self._sines, self._level = self._mel[gone:], self._sines[gone:], self._level[gone:]


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    return np.pad(array, ((0, size - len(array)), *[(0, 0)] * (array.ndim - 1)))
