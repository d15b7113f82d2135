"""A user's audio, encoded while it arrives (docs/generation.md, "Several turns")."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import soxr
from jaxtyping import Float, Float32, Int32

from fac_jax.audio.io import RATE
from fac_jax.audio.mel import HOP, WINDOW, host_log_power, mel_frames, normalised
from fac_jax.batching.conversation import StoredFeatures
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import InputError, Params

BEFORE = 2  # frames whose samples a frame hears before its own, from an edge that is mirrored


def encodes_as_it_comes(config: ModelConfig) -> bool:
    """Returns whether a window can be encoded before the audio has ended: no front end, no codec needs the whole."""
    return config.user_audio == "waveform" and config.front_end == "plain"


class Listener:
    """Takes samples as they come, and encodes every full window of the encoder at once.

    When the user stops, only the last window is left to encode, 2 s at full size. The loudest bin of the whole audio
    sets the range of its log-mel: a window in which a later, louder sound changes something is encoded again at the
    end. A model that needs the whole wave (`encodes_as_it_comes`) encodes everything at the end.
    """

    def __init__(self, model: FunAudioChat, params: Params, rate: int = RATE) -> None:
        """Begins to listen; `rate` is the sampling rate of the samples in Hz."""
        self._model, self._params = model, params
        self._resample = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32")
        self._wave = np.zeros(0, np.float32)
        self._log: list[np.ndarray] = []  # of each window that is encoded
        self._found: list[jax.Array] = []
        self._loudest: list[float] = []  # as it was when the window was encoded
        self._encodes = encodes_as_it_comes(model.config)
        self._closed = False

    @property
    def seconds(self) -> float:
        """Seconds that were heard."""
        return len(self._wave) / RATE

    def push(self, samples: np.ndarray) -> None:
        """Takes the next samples `[N]`, floats between -1 and 1, one channel; N may be 0.

        Raises:
          InputError: they are no such samples, or the audio was closed.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not np.isfinite(samples).all():
            shape = f"{samples.dtype} {list(samples.shape)}"
            raise InputError(f"listener: samples are finite floats [N] between -1 and 1, one channel; not {shape}")
        if self._closed:
            raise InputError("listener: its audio was closed; begin another")
        self._take(samples.astype(np.float32), last=False)
        size = 2 * self._model.config.n_window
        while self._encodes:
            first = size * len(self._log)
            if len(self._wave) < (first + size - 1) * HOP + WINDOW // 2:
                break
            self._log.append(self._powers(first, first + size))
            self._loudest.append(max(float(log.max()) for log in self._log))
            self._found.append(self._encoded(self._log[-1], self._loudest[-1]))

    def close(self) -> tuple[Float32[np.ndarray, " N"], StoredFeatures | None]:
        """Ends the audio, and returns its wave at 16 kHz, and its features where it was encoded on the way."""
        if not self._closed:
            self._take(np.zeros(0, np.float32), last=True)
            self._closed = True
        if not self._encodes or not mel_frames(len(self._wave)):
            return self._wave, None
        size, frames = 2 * self._model.config.n_window, mel_frames(len(self._wave))
        log = [*self._log]
        for first in range(size * len(log), frames, size):
            log.append(self._powers(first, min(first + size, frames)))
        loudest = max(float(one.max()) for one in log)
        found = [*self._found, *[None] * (len(log) - len(self._found))]
        for i, one in enumerate(log):
            new = i >= len(self._found)
            if new or (loudest > self._loudest[i] and one.min() < loudest - 8):
                found[i] = self._encoded(one, loudest)
        return self._wave, StoredFeatures(np.concatenate(jax.device_get(found)), len(self._wave))

    def _take(self, samples: np.ndarray, last: bool) -> None:
        if self._resample is not None:
            samples = self._resample.resample_chunk(samples, last=last)
        self._wave = np.concatenate([self._wave, samples])

    def _powers(self, first: int, end: int) -> np.ndarray:
        """Log10 powers of frames, all of whose samples are there."""
        before = min(first, BEFORE)
        heard = self._wave[(first - before) * HOP :]
        if end < mel_frames(len(self._wave)):
            heard = heard[: (before + end - first + BEFORE) * HOP]
        return host_log_power(heard, self._model.config.mel_bins)[before : before + end - first]

    def _encoded(self, log: np.ndarray, loudest: float) -> jax.Array:
        """Encodes one window."""
        config = self._model.config
        mel = np.zeros((1, 2 * config.n_window, config.mel_bins), np.float32)
        mel[0, : len(log)] = normalised(log, loudest)
        return encoded(self._model, self._params, mel, np.array([len(log)], np.int32))


@partial(jax.jit, static_argnames=("model",))
def encoded(
    model: FunAudioChat,
    params: Params,
    mel_windows: Float32[np.ndarray | jax.Array, "W M mels"],
    mel_lengths: Int32[np.ndarray | jax.Array, " W"],
) -> jax.Array:
    """Computes the encoder's features of windows, float `[W, F, C]`."""

    def run(model: FunAudioChat) -> Any:
        return model.audio_features(mel_windows, mel_lengths)

    return nn.apply(run, model)({"params": params})


def with_features(model: FunAudioChat, params: Params, mel: Float[np.ndarray, "M mels"]) -> StoredFeatures:
    """Encodes a whole log-mel, to stand next to features."""
    config = model.config
    size = 2 * config.n_window
    count = -(-len(mel) // size)
    rows = 1 << (count - 1).bit_length()
    windows = np.zeros((rows * size, config.mel_bins), np.float32)
    windows[: len(mel)] = mel
    lengths = np.clip(len(mel) - size * np.arange(rows), 0, size).astype(np.int32)
    found = np.asarray(encoded(model, params, windows.reshape(rows, size, -1), lengths))[:count]
    return StoredFeatures(found, len(mel) * HOP)
