"""Whisper log-mel with 128 bins at 100 Hz (docs/model.md, sections 1 and 2)."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import librosa
import numpy as np

from fac_jax.types import Array

RATE: int = 16000  # Hz
WINDOW: int = 400  # samples of one Hann window, which is also the transform's size
HOP: int = 160  # samples between frames: 100 Hz
BINS: int = 128
CHUNK_FRAMES: int = 3000  # frames of Whisper's 30 s

Padding = Literal["longest", "max_length"]


@functools.cache
def filterbank() -> np.ndarray:
    """Slaney mel filters `[WINDOW // 2 + 1, BINS]` float32."""
    return librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=BINS).T.astype(np.float32)


def mel_frames(samples: int, padding: Padding = "longest") -> int:
    """Mel frames of a wave of so many samples: `N // 160`, or `ceil(N / 160)` under "max_length"."""
    return samples // HOP if padding == "longest" else -(-samples // HOP)


def _extend(wave: jax.Array, lengths: jax.Array, size: int, padding: Padding) -> jax.Array:
    """Lays `WINDOW / 2` samples before every clip and what its padding says behind it: `[.., size]`."""
    index = jnp.arange(size) - WINDOW // 2
    length = lengths[..., None]
    if padding == "longest":
        period = jnp.maximum(2 * (length - 1), 1)
        folded = index % period
        index = jnp.minimum(folded, period - folded)
    else:
        index = jnp.broadcast_to(jnp.abs(index), (*lengths.shape, size))
    inside = index < length
    taken = jnp.take_along_axis(wave, jnp.minimum(index, wave.shape[-1] - 1), axis=-1)
    return jnp.where(inside, taken, 0.0)


def hann() -> np.ndarray:
    """The periodic Hann window float32 `[WINDOW]`."""
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


def log10_power(hops: jax.Array) -> jax.Array:
    """log10 of the mel power of the frames that begin with each hop, not below -10.

    Args:
      hops: samples float32 `[.., M + 2, HOP]`; of the last one half is heard.

    Returns:
      float32 `[.., M, 128]`.
    """
    framed = jnp.concatenate([hops[..., :-2, :], hops[..., 1:-1, :], hops[..., 2:, : WINDOW - 2 * HOP]], axis=-1)
    spectrum = jnp.fft.rfft(framed * hann())
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mel = jnp.matmul(power, filterbank(), precision=jax.lax.Precision.HIGHEST)
    return jnp.log10(jnp.maximum(mel, 1e-10))


@functools.partial(jax.jit, static_argnames="padding")
def log_mel(wave: Array, lengths: Array | None = None, padding: Padding = "longest") -> jax.Array:
    """Whisper log-mel: log10 of the mel power, cut 8 decades below the clip's loudest bin, then `(x + 4) / 4`.

    Clips padded to one static length give the same frames as each clip alone: everything that looks at a whole clip
    (the reflected edge, the loudest bin) goes by its own length. The two paddings of the release:
      - "longest": nothing is appended, the clip's end is reflected; `N // 160` frames. The release's mask counts one
        frame more when N is no multiple of 160; that frame has no features, so it does not exist here.
      - "max_length": Whisper's 30 s of zeros follow the clip; `ceil(N / 160)` frames are the clip's own. The loudest
        bin counts the two frames behind the end that still see it. The zeros themselves are never computed.

    Args:
      wave: float32 `[.., N]` at 16 kHz.
      lengths: int32 `[..]`, valid samples of every clip; None means all N.
      padding: which of the two.

    Returns:
      float32 `[.., M, 128]`, M = `mel_frames(N, padding)`, zero beyond a clip's own frames.
    """
    wave = jnp.asarray(wave, jnp.float32)
    if lengths is None:
        lengths = jnp.full(wave.shape[:-1], wave.shape[-1], jnp.int32)
    frames = mel_frames(wave.shape[-1], padding)
    own = lengths // HOP if padding == "longest" else -(-lengths // HOP)
    heard = own if padding == "longest" else jnp.minimum(own + 2, jnp.maximum(own, CHUNK_FRAMES))
    computed = frames if padding == "longest" else frames + 2

    extended = _extend(wave, jnp.asarray(lengths), (computed + 2) * HOP, padding)
    log = log10_power(extended.reshape(*wave.shape[:-1], computed + 2, HOP))
    index = jnp.arange(computed)[:, None]
    loudest = jnp.max(log, axis=(-2, -1), keepdims=True, initial=-10.0, where=index < heard[..., None, None])
    scaled = (jnp.maximum(log, loudest - 8.0) + 4.0) / 4.0
    return jnp.where(index < own[..., None, None], scaled, 0.0)[..., :frames, :]


def to_windows(mel: np.ndarray, frames_per_window: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts one clip's mel `[M, 128]` into the encoder's windows (docs/model.md, section 2); the last may be shorter.

    Returns:
      windows float32 `[W, frames_per_window, 128]`, zero beyond a window's length, and lengths int32 `[W]`
      (W = `ceil(M / frames_per_window)`, 0 for an empty clip).
    """
    frames = len(mel)
    count = -(-frames // frames_per_window)
    windows = np.zeros((count * frames_per_window, mel.shape[-1]), np.float32)
    windows[:frames] = mel
    lengths = np.minimum(frames - np.arange(count) * frames_per_window, frames_per_window).astype(np.int32)
    return windows.reshape(count, frames_per_window, mel.shape[-1]), lengths
