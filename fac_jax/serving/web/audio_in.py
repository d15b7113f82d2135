"""Decodes the audio of requests, whose bytes are not to be trusted."""

import base64
import binascii
import io
from typing import Final

import numpy as np
import soundfile
from jaxtyping import Float32

from fac_jax.audio.io import resampled
from fac_jax.serving.web.errors import ApiError, invalid

_BEGINNINGS: Final = {  # of files; a decoder sees no other ones
    "wav": (b"RIFF", b"RF64"),
    "flac": (b"fLaC",),
    "mp3": (b"ID3", *(bytes((0xFF, low)) for low in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB))),  # layer III
}
_RATES: Final = (4_000, 192_000)  # Hz
_CHANNELS: Final = 2
_BLOCK: Final = 1 << 16  # frames


def decode(data: str, form: str, most_s: float, param: str) -> Float32[np.ndarray, " N"]:
    """Decodes base64 of a file to a wave at 16 kHz.

    It is decoded block by block, so that no length in a header and no compression makes it take more memory than
    `most_s` seconds do.

    Args:
      data: base64.
      form: "wav", "flac" or "mp3".
      most_s: seconds that the audio may have.
      param: path of the field for messages.

    Raises:
      ApiError: 400; this is no such file, is damaged, empty or too long.
    """
    try:
        file = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("The audio is no base64.", f"{param}.data") from None
    if not file.startswith(_BEGINNINGS[form]):
        raise invalid(f"The audio is no {form} file.", f"{param}.data")
    try:
        samples, rate = _samples(file, most_s, param)
    except (soundfile.LibsndfileError, MemoryError):
        raise invalid(f"The audio cannot be decoded as {form}.", f"{param}.data") from None
    if not np.isfinite(samples).all():
        raise invalid("The audio holds samples that are not finite.", f"{param}.data")
    wave = resampled(samples, rate)
    if not len(wave):
        raise invalid("The audio is empty.", f"{param}.data")
    return wave


def _samples(file: bytes, most_s: float, param: str) -> tuple[Float32[np.ndarray, " N"], int]:
    """Returns the mean of the channels as it is stored, and its rate in Hz."""
    with soundfile.SoundFile(io.BytesIO(file)) as sound:
        rate = sound.samplerate
        if not _RATES[0] <= rate <= _RATES[1] or sound.channels > _CHANNELS:
            raise invalid(f"The audio has {sound.channels} channels at {rate} Hz; that is no speech.", f"{param}.data")
        most = int(most_s * rate)
        blocks, frames = [], 0
        while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
            frames += len(block)
            if frames > most:
                raise too_long(most_s, f"{param}.data")
            blocks.append(block.mean(axis=1))
    return np.concatenate([np.zeros(0, np.float32), *blocks]), rate


def too_long(most_s: float, param: str) -> ApiError:
    """Returns the error of audio that has more seconds than it may have."""
    return invalid(f"The audio is longer than {most_s:g} s.", param, "audio_too_long")
