"""Audio of requests: it is read as far as it goes, and not as far as it says."""

import io
import math
import struct
from typing import Any

import numpy as np
import pytest
import soundfile
from fake_engine import tone
from served import base64_of, file_of

from fac_jax.serving.web.audio_in import decode
from fac_jax.serving.web.errors import ApiError


def refusal(data: bytes, form: str, most_s: float = 120.0) -> ApiError:
    with pytest.raises(ApiError) as error:
        decode(base64_of(data), form, most_s, "a")
    assert error.value.status == 400
    return error.value


def test_a_wav_that_claims_4_gb_is_read_as_far_as_it_goes() -> None:
    wav = bytearray(file_of(0.5))
    wav[4:8] = wav[40:44] = struct.pack("<I", 0xFFFF_FFFF)
    assert wav[36:40] == b"data"
    assert len(decode(base64_of(bytes(wav)), "wav", 120.0, "a")) == 8000


def test_a_flac_that_unpacks_to_hours_is_read_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC") as sound:
        for _ in range(60):
            sound.write(np.zeros(8000 * 60, np.float32))
    bomb = file.getvalue()
    assert len(bomb) < 600_000  # an hour
    read = []
    original = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, *args: Any, **kwargs: Any) -> Any:
        block = original(self, *args, **kwargs)
        read.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert refusal(bomb, "flac", 2.0).code == "audio_too_long"
    assert sum(read) < 2.0 * 8000 + 70_000


def test_a_mp3_that_is_too_long_is_refused() -> None:
    assert refusal(file_of(3.0, "MP3"), "mp3", 2.0).code == "audio_too_long"


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"", "wav"),
        (file_of(), "flac"),
        (file_of(0.0), "wav"),
        (file_of()[:40], "wav"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), "wav"),
        (b"fLaC" + bytes(100), "flac"),
        (b"ID3" + bytes(1000), "mp3"),
        (file_of(0.1, channels=3), "wav"),
        (file_of(0.1, rate=384_000), "wav"),
        (file_of(0.1, rate=1000), "wav"),
    ],
)
def test_audio_that_is_none_is_refused(data: bytes, form: str) -> None:
    refusal(data, form)


def test_samples_that_are_not_finite_are_refused() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([0.0, math.nan, 0.0], np.float32), 16_000, subtype="FLOAT", format="WAV")
    refusal(file.getvalue(), "wav")


def test_base64_that_is_none_is_refused() -> None:
    with pytest.raises(ApiError, match="base64"):
        decode("no base64!", "wav", 1.0, "a")


def test_channels_are_mixed_and_the_rate_is_changed() -> None:
    wave = decode(base64_of(file_of(1.0, "FLAC", 48_000, 2)), "flac", 120.0, "a")
    assert len(wave) == 16_000
    np.testing.assert_allclose(wave[800:-800], tone(1.0, 16_000, loudness=0.3)[800:-800], atol=2e-3)
