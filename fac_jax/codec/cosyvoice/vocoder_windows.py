"""Runs the vocoder over speech of any length, window by window (docs/codec_model.md, section 3.8).

The convolutions depend on a fixed number of frames before and after a frame. A window that has that many extra frames
on both sides gives the samples of the whole speech. Only the phase of the source depends on all earlier frames; it is
kept from window to window.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32

from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.codec.cosyvoice.source import F0_BEFORE, F0_LOOKAHEAD, Phase, host_f0, tones
from fac_jax.codec.cosyvoice.vocoder import POST_WIDTH, Vocoder
from fac_jax.precision import EXACT, products
from fac_jax.types import Array, Params

Pitch = Literal["host", "device"]
RELEASE_HELD: int = 8  # frames that the release holds back: the sum of both look-aheads and one more


def frames_after(config: VocoderConfig) -> int:
    """Returns how many later frames a frame's samples depend on: the larger look-ahead, and one for the transform."""
    return max(F0_LOOKAHEAD, config.lookahead) + 1


def frames_before(config: VocoderConfig) -> int:
    """Returns how many earlier frames a frame's samples depend on, pitch and phase aside."""
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
    """Returns how many earlier steps a residual block depends on."""
    return sum((width - 1) * (dilation + 1) for dilation in dilations)


@functools.partial(jax.jit, static_argnames=("config", "method"))
def _apply(config: VocoderConfig, method: str, params: Params, *inputs: Array) -> jax.Array:
    """Applies a method of `Vocoder` to every row of a batch, as it applies to a batch of one."""

    def one(*row: Array) -> jax.Array:
        out: Any = Vocoder(config).apply({"params": params}, *(a[None] if a.ndim else a for a in row), method=method)
        return out[0]

    with products(EXACT):  # rounding to a lower precision is audible
        return jax.vmap(one)(*inputs)


class Window(NamedTuple):
    """What the vocoder reads to make the wave of M frames.

    Attributes:
      mel: log-mel.
      sines: `sines` of `Tones`.
      level: `noise` of `Tones`.
      noise: in [0, 1), N = `M * frame_samples`.
      length: the log-mel is zero from this frame on.
    """

    mel: Float32[np.ndarray, "M mel_bins"]
    sines: Float32[np.ndarray, "M harmonics"]
    level: Float32[np.ndarray, " M"]
    noise: Float32[np.ndarray, "N harmonics"]
    length: np.int32


class WindowedVocoder:
    """The vocoder with its parameters and noise.

    A window has `before` extra frames at its start, and `after` at its end.
    """

    def __init__(self, config: VocoderConfig, params: Params, noise: np.ndarray, pitch: Pitch = "host") -> None:
        """Takes parameters of `Vocoder`, and noise in [0, 1) float32 `[N, harmonics]`, which repeats after N."""
        self.config = config
        self.before, self.after = frames_before(config), frames_after(config)
        self._noise, self._pitch, self._params = noise, pitch, jax.device_put(params)
        self._f0 = jax.tree.map(lambda a: np.asarray(a, np.float64), params["f0_predictor"])

    def speech(self, window: int, phase: Phase = "exact", held: int | None = None) -> "Speech":
        """Starts a new wave, which is decoded `window` frames at a time; each number compiles one program.

        `held` frames wait for later ones, or as few as possible; for the phase see `source.tones`.
        """
        return Speech(self, window, phase, self.after if held is None else held)

    def f0(self, mel: Float[np.ndarray, "M mel_bins"], window: int) -> Float[np.ndarray, " M"]:
        """Predicts the pitch of a log-mel in Hz; a device predicts `window` frames at a time."""
        if self._pitch == "host":
            return host_f0(self._f0, mel)
        size, found = F0_BEFORE + window + F0_LOOKAHEAD, []
        for start in range(0, len(mel), window):
            first = max(0, start - F0_BEFORE)
            heard = _padded(mel[first : first + size], size)[None]
            piece = np.asarray(_apply(self.config, "f0", self._params, heard))[0]
            found.append(piece[start - first : min(start + window, len(mel)) - first])
        return np.concatenate(found)

    def window(
        self,
        mel: Float[np.ndarray, "M mel_bins"],
        sines: Float[np.ndarray, "M harmonics"],
        level: Float[np.ndarray, " M"],
        first: int,
        length: int,
    ) -> Window:
        """Returns a window with its noise; `first` is the number of its first frame in the speech."""
        count = self.config.frame_samples
        samples = np.arange(first * count, (first + len(mel)) * count) % len(self._noise)
        return Window(mel, sines, level, self._noise[samples], np.int32(length))

    def decode(self, windows: Sequence[Window]) -> Float[np.ndarray, "B N"]:
        """Makes the waves of windows of one size, float32; each number of them compiles one program."""
        inputs = (np.stack(arrays) for arrays in zip(*windows, strict=True))
        return np.asarray(_apply(self.config, "__call__", self._params, *inputs))


class Speech:
    """A wave that is made piece by piece (`WindowedVocoder.speech`)."""

    def __init__(self, vocoder: WindowedVocoder, window: int, phase: Phase, held: int) -> None:
        config = vocoder.config
        self._vocoder, self._window, self._held = vocoder, window, held
        self._phase: Phase = phase
        # Numbers of the first frame that is kept, of the first not yet returned, and of the one behind the last.
        self._start = self._done = self._end = 0
        self._final = False
        self._mel = np.zeros((0, config.mel_bins), np.float32)
        self._sines = np.zeros((0, config.harmonics), np.float32)
        self._level = np.zeros(0, np.float32)
        self._turns = np.zeros(config.harmonics)

    def push(self, mel: Float[np.ndarray, "M mel_bins"], final: bool = False) -> Float32[np.ndarray, " N"]:
        """Takes the next frames, M >= 0, and returns the samples that they complete.

        The frames that are held back have no samples until the speech ends, with `final`. All calls together return
        `frame_samples` samples for each frame.
        """
        self.feed(mel, final)
        waves = [np.zeros(0, np.float32)]
        while (window := self.window()) is not None:
            waves.append(self.take(self._vocoder.decode([window])[0]))
        return np.concatenate(waves)

    def feed(self, mel: Float[np.ndarray, "M mel_bins"], final: bool = False) -> None:
        """Takes the next frames; `window` and `take` then make the samples that they complete."""
        self._mel = np.concatenate([self._mel, np.asarray(mel, np.float32)])
        total = self._start + len(self._mel)
        self._final, self._end = final, total if final else total - self._held
        self._play(total if final else total - F0_LOOKAHEAD)

    def window(self) -> Window | None:
        """Returns what the vocoder reads for the next samples; None if those of the frames so far are made."""
        if self._done >= self._end:
            return None
        vocoder, total = self._vocoder, self._start + len(self._mel)
        size, first = vocoder.before + self._window + vocoder.after, max(0, self._done - vocoder.before)
        kept = slice(first - self._start, first - self._start + size)
        pieces = (_padded(array[kept], size) for array in (self._mel, self._sines, self._level))
        return vocoder.window(*pieces, first=first, length=min(size, total - first) if self._final else size)

    def take(self, wave: Float[np.ndarray, " N"]) -> Float32[np.ndarray, " n"]:
        """Takes the wave of the window, and returns the samples that are new."""
        vocoder, samples = self._vocoder, self._vocoder.config.frame_samples
        first, count = max(0, self._done - vocoder.before), min(self._window, self._end - self._done)
        skipped = (self._done - first) * samples
        self._done += count
        forgotten = max(0, self._done - vocoder.before) - self._start
        self._start += forgotten
        self._mel, self._sines, self._level = (a[forgotten:] for a in (self._mel, self._sines, self._level))
        return wave[skipped : skipped + count * samples]

    def _play(self, end: int) -> None:
        """Computes the tones of the frames up to `end`."""
        known = self._start + len(self._level)
        if end <= known:
            return
        first = max(self._start, known - F0_BEFORE)
        f0 = self._vocoder.f0(self._mel[first - self._start :], self._window)[known - first : end - first]
        played = tones(f0, self._turns, self._vocoder.config, self._phase)
        self._sines = np.concatenate([self._sines, played.sines])
        self._level = np.concatenate([self._level, played.noise])
        self._turns = played.turns


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """Pads the first axis with zeros to `size`."""
    return np.pad(array, ((0, size - len(array)), *[(0, 0)] * (array.ndim - 1)))
