"""The log-mel that flow and vocoder speak in, of a recording: for prompts and training (codec.md section 3.1)."""

import functools
from typing import Final

import jax
import jax.numpy as jnp
import librosa
import numpy as np

from fac_jax.types import Array

RATE: Final = 24000  # Hz
WINDOW: Final = 1920
HOP: Final = 480
BINS: Final = 80


@functools.cache
def _filterbank() -> np.ndarray:
    return librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=BINS, fmin=0, fmax=RATE // 2).T.astype(np.float32)


@jax.jit
def prompt_mel(wave: Array) -> jax.Array:
    """Natural logarithm of the mel magnitude: float32 `[.., N]` at 24 kHz -> `[.., N // 480, 80]`; N > 720."""
    margin = (WINDOW - HOP) // 2
    edges = [(0, 0)] * (wave.ndim - 1)
    padded = jnp.pad(jnp.asarray(wave, jnp.float32), [*edges, (margin, margin)], mode="reflect")
    frames = wave.shape[-1] // HOP
    hops = padded[..., : (frames + WINDOW // HOP - 1) * HOP].reshape(*wave.shape[:-1], -1, HOP)
    windows = jnp.concatenate([hops[..., i : i + frames, :] for i in range(WINDOW // HOP)], axis=-1)
    spectrum = jnp.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1].astype(np.float32))
    magnitude = jnp.sqrt(jnp.square(spectrum.real) + jnp.square(spectrum.imag) + 1e-9)
    mel = jnp.matmul(magnitude, _filterbank(), precision=jax.lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(mel, 1e-5))
