"""Front end of audio: files, Whisper log-mel, encoder windows."""

import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fac_jax.audio import io, mel
from fac_jax.types import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "frontend" / "whisper_mel_128.npz"
NAMES = ("speech", "noise")


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("name", NAMES)
def test_longest_equals_the_recorded_mel(recorded, figures, name):
    wave, want = recorded[f"{name}/wave"], recorded[f"{name}/mel_longest"].T
    got = np.asarray(mel.log_mel(wave))
    difference = np.abs(got - want).max()
    figures(f"log-mel {name}, longest, max abs diff", difference, 1e-4)
    assert got.shape == want.shape
    # The recorded mask is a frame longer than the features: cut to the shorter.
    assert min(recorded[f"{name}/mask_longest"].sum(), len(want)) == mel.mel_frames(len(wave))


@pytest.mark.parametrize("name", NAMES)
def test_max_length_equals_the_recorded_mel(recorded, figures, name):
    wave, want = recorded[f"{name}/wave"], recorded[f"{name}/mel_max_length"].T
    count = int(recorded[f"{name}/frames"])
    got = np.asarray(mel.log_mel(np.pad(wave, (0, 30 * mel.RATE - len(wave)))))
    difference = np.abs(got[: len(want)] - want).max()
    figures(f"log-mel {name}, max_length, max abs diff", difference, 1e-4)
    assert count == -(-len(wave) // mel.HOP)


def test_padded_clips_equal_each_clip_alone(recorded):
    speech, noise = recorded["speech/wave"], recorded["noise/wave"]
    # The quiet speech is followed by loud noise: what lies beyond a clip's length must not be heard.
    clips = [speech[:20001], noise[:16000], noise[:1], 0.01 * speech[5000:5450]]
    padded = np.stack([np.concatenate([clip, noise])[:20001] for clip in clips])
    lengths = np.array([len(clip) for clip in clips], np.int32)
    got = np.asarray(mel.log_mel(padded, lengths))
    for row, clip in zip(got, clips, strict=True):
        count = mel.mel_frames(len(clip))
        np.testing.assert_allclose(row[:count], mel.log_mel(clip), atol=1e-5)
        assert not row[count:].any()


def test_load_mixes_and_resamples(tmp_path):
    time = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    soundfile.write(tmp_path / "stereo.flac", np.stack([0.8 * tone, 0.2 * tone], axis=1), 44100)
    wave = io.load(tmp_path / "stereo.flac")
    assert wave.dtype == np.float32 and wave.shape == (16000,)
    want = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(wave[500:-500], want[500:-500], atol=2e-3)


def test_bytes_are_read_as_their_file_is(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.linspace(-0.5, 0.5, 22050, dtype=np.float32), 44100)
    data = (tmp_path / "a.flac").read_bytes()
    want, got = io.read(tmp_path / "a.flac"), io.decode(data, "a.flac")
    np.testing.assert_array_equal(got.wave, want.wave)
    assert (got.stored_rate, got.seconds, len(got.wave)) == (44100, 0.5, 8000)
    for bad, fault in ((b"", "empty"), (data[:30], "undecodable")):
        with pytest.raises(io.AudioError, match=r"row 7") as error:
            io.decode(bad, "row 7")
        assert error.value.fault == fault


def test_save_wav_round_trip(tmp_path):
    wave = np.linspace(-1.5, 1.5, 1600, dtype=np.float32)
    io.save_wav(tmp_path / "new" / "a.wav", wave)
    np.testing.assert_allclose(io.load(tmp_path / "new" / "a.wav"), np.clip(wave, -1, 1), atol=1e-4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.wav"]


def test_bad_files_are_named(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "corrupt.wav").write_bytes(b"RIFF" + bytes(range(256)) * 8)
    (tmp_path / "text.ogg").write_text("this is no audio\n" * 50)
    (tmp_path / "torn.wav").write_bytes(b"RIFF\x10\0\0\0WAVELIST\xff\xff\xff\x7f" + bytes(64))
    soundfile.write(tmp_path / "slow.wav", np.zeros(100, np.float32), 100)
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan], np.float32), 16000, subtype="FLOAT")
    causes = {
        "missing.wav": "not found",
        "empty.wav": "empty",
        "corrupt.wav": "cannot be decoded",
        "text.ogg": "cannot be decoded",
        "torn.wav": "cannot be decoded",
        "slow.wav": "says that it is sampled at 100 Hz",
        "zero.wav": "no sample",
        "nan.wav": "not finite",
    }
    for name, cause in causes.items():
        with pytest.raises(InputError, match=cause) as error:
            io.load(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_an_interrupt_while_a_sound_is_decoded_in_memory_is_raised_after_it(tmp_path, monkeypatch):
    io.save_wav(tmp_path / "a.wav", np.zeros(100))

    class Interrupted(io.io.BytesIO):
        def readinto(self, into):  # libsndfile calls it
            signal.raise_signal(signal.SIGINT)
            return super().readinto(into)

    monkeypatch.setattr(io.io, "BytesIO", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        io.decode((tmp_path / "a.wav").read_bytes(), "a.wav")
    monkeypatch.undo()
    assert len(io.decode((tmp_path / "a.wav").read_bytes(), "a.wav").wave) == 100  # an interrupt acts once
