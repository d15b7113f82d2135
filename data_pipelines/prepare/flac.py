"""Waves as FLAC of 16 bits, in memory."""

import io
from typing import Final

import numpy as np
import soundfile

from fac_jax.audio.io import RATE, interrupt_after

FULL_SCALE: Final = 32768


def quantised(wave: np.ndarray) -> np.ndarray:
    """Converts float `[N]` to int16 `[N]`. Samples read from 16 bits keep their values; louder ones are clipped."""
    return np.clip(np.rint(wave * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def as_stored(wave: np.ndarray) -> np.ndarray:
    """Rounds float `[N]` to the float32 `[N]` that `decode` returns after `encode`."""
    return quantised(wave).astype(np.float32) / FULL_SCALE


def encode(wave: np.ndarray) -> bytes:
    """Encodes float `[N]` in [-1, 1] at 16 kHz as the bytes of a FLAC file."""
    file = io.BytesIO()
    with interrupt_after():
        soundfile.write(file, quantised(wave), RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    """Decodes the bytes of `encode` to float32 `[N]` at 16 kHz."""
    with interrupt_after():
        return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def silence(data: bytes) -> np.ndarray:
    """Zeros float32 `[N]` as long as a FLAC file. Only the header is read, and the zeros take no memory."""
    with interrupt_after():
        frames = soundfile.info(io.BytesIO(data)).frames
    return np.broadcast_to(np.float32(0), frames)
