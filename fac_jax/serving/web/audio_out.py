"""Writes spoken answers as files and as PCM, in base64."""

import base64
import io
from typing import Final

import numpy as np
import soundfile
from jaxtyping import Float32

from fac_jax.audio.io import resampled
from fac_jax.serving.realtime.settings import Pcm
from fac_jax.serving.realtime.sound import encoded

PCM_RATE: Final = 24_000  # Hz of PCM, which has no header to tell it, and of formats that know few rates
_FILES: Final = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
}


def can_write(form: str) -> bool:
    """Returns whether a format can be written here: that of MP3 and Opus depends on libsndfile."""
    return form == "pcm16" or soundfile.check_format(*_FILES[form])


def encode(wave: Float32[np.ndarray, " N"], rate: int, form: str) -> str:
    """Returns base64 of a wave as a file of a format, or as PCM at 24 kHz for "pcm16"."""
    if form == "pcm16":
        return encoded(wave, rate, Pcm())
    if form in ("mp3", "opus"):
        wave, rate = resampled(wave, rate, PCM_RATE), PCM_RATE
    container, subtype = _FILES[form]
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1.0, 1.0), rate, subtype=subtype, format=container)
    return base64.b64encode(file.getvalue()).decode()
