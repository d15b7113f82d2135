"""Waves as FLAC of 16 bits, in memory."""

import io
from typing import Final

import numpy as np
import soundfile

from fac_jax.audio.io import RATE

FULL_SCALE: Final = 32768


def quantised(wave: np.ndarray) -> np.ndarray:
    """Float `[N]` -> int16 `[N]`; what was read from 16 bits comes out as it was, what is louder is cut."""
    return np.clip(np.rint(wave * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def as_stored(wave: np.ndarray) -> np.ndarray:
    """Float `[N]` -> float32 `[N]`, what `decode` gives after `encode`."""
    return quantised(wave).astype(np.float32) / FULL_SCALE


def encode(wave: np.ndarray) -> bytes:
    """Float `[N]` in [-1, 1] at 16 kHz -> a FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, quantised(wave), RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    """A FLAC file of `encode` -> float32 `[N]` at 16 kHz."""
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def silence(data: bytes) -> np.ndarray:
    """Zeros float32 `[N]` as long as a FLAC file, which take no memory: its header is read alone."""
    return np.broadcast_to(np.float32(0), soundfile.info(io.BytesIO(data)).frames)
