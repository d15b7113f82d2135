"""What each operation does to a wave, in numbers."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipelines.augment.effects import (
    CODECS,
    COLOURS,
    add_noise,
    amplify,
    babble,
    change_speed,
    recorded_noise,
    recorded_room,
    recordings,
    reverberate,
    simulated_room,
    telephone,
)
from fac_jax.audio.io import save_wav
from fac_jax.types import InputError

RATE = 16_000


def sine(hertz: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def speechlike(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Noise of all frequencies in bursts, four a second."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.1 * rng.standard_normal(len(time)) * np.sin(4 * np.pi * time) ** 2).astype(np.float32)


def decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave.astype(np.float64))))


def peak_hertz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(spectrum.argmax() * RATE / len(wave))


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("snr", [-5.0, 3.0, 20.0])
def test_coloured_noise_has_the_given_snr(snr: float, colour: str, figures) -> None:
    wave = 0.2 * speechlike()
    noisy = add_noise(wave, snr, colour, np.random.default_rng(1))
    assert noisy.dtype == np.float32
    figures(f"{colour} noise at {snr:g} dB: error, dB", abs(decibels(power(wave) / power(noisy - wave)) - snr), 0.1)
    loud = wave / np.abs(wave).max()  # with the noise it leaves [-1, 1], so both become softer
    mixed = add_noise(loud, snr, colour, np.random.default_rng(1))
    assert np.abs(mixed).max() <= 1
    np.testing.assert_allclose(mixed / np.abs(mixed).max(), noisy / np.abs(noisy).max(), atol=1e-5)


def test_recorded_noise_skips_digital_silence(tmp_path: Path) -> None:
    pause = np.zeros(RATE, np.float32)
    save_wav(tmp_path / "hum.wav", np.concatenate([pause, sine(100, 0.25), pause]))
    starts = set()
    for seed in range(8):
        for samples in (1000, 3 * RATE):  # a stretch of it, and more than it has
            stretch = recorded_noise(samples, tmp_path / "hum.wav", np.random.default_rng(seed))
            assert stretch.shape == (samples,) and power(stretch) == pytest.approx(1, rel=1e-5)
        starts.add(float(stretch[0]))
    assert len(starts) > 4


def test_folders_of_sounds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of sounds .*/nowhere"):
        recordings(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no sound file"):
        recordings(str(tmp_path))
    (tmp_path / "deep").mkdir()
    (tmp_path / "notes.txt").write_text("nothing to hear")
    for name in ("z.wav", "deep/b.FLAC", "a.ogg"):
        soundfile.write(tmp_path / name, sine(300), RATE, format="WAV" if name[0] == "z" else name[-4:].strip("."))
    assert [file.name for file in recordings(tmp_path)] == ["a.ogg", "b.FLAC", "z.wav"]
    save_wav(tmp_path / "silent.wav", np.zeros(400))
    with pytest.raises(InputError, match=r"silent.wav; remove it"):
        recorded_noise(10, tmp_path / "silent.wav", np.random.default_rng(0))


@pytest.mark.parametrize("factor", [0.8, 0.937, 1.25])
def test_speed_changes_length_and_pitch(factor: float, figures) -> None:
    wave = sine(800, 1.5)
    out = change_speed(wave, factor)
    assert out.dtype == np.float32
    figures(f"speed {factor:g}: samples off", abs(len(out) - len(wave) / factor), 1)
    assert peak_hertz(out) == pytest.approx(800 * factor, abs=1.5)
    assert power(out) == pytest.approx(power(wave), rel=0.01)


@pytest.mark.parametrize("codec", CODECS)
def test_telephone_band(codec: str, figures) -> None:
    wave = speechlike()
    heard = telephone(wave, (300, 3400), codec)
    assert heard.shape == wave.shape and heard.dtype == np.float32
    spectrum = np.square(np.abs(np.fft.rfft(heard.astype(np.float64))))
    hertz = np.fft.rfftfreq(len(heard), 1 / RATE)
    above, below = spectrum[hertz > 4000].sum(), spectrum[hertz < 4000].sum()
    before = np.square(np.abs(np.fft.rfft(wave)))
    assert before[hertz > 4000].sum() > 0.8 * before[hertz < 4000].sum()
    figures(f"telephone {codec}: above 4 kHz over below, dB", decibels(above / below), -80)
    tones = {hertz: telephone(sine(hertz), (300, 3400), codec) for hertz in (60, 1000)}
    assert power(tones[1000]) == pytest.approx(power(sine(1000)), rel=0.1)
    assert decibels(power(tones[60]) / power(sine(60))) < -30


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("samples", [640, 641, 15_999])
def test_telephone_adds_no_delay(codec: str, samples: int) -> None:
    wave = speechlike()[4000 : 4000 + samples]
    heard = telephone(wave, (300, 3400), codec)
    assert len(heard) == samples
    narrow = telephone(wave, (300, 3400), "PCM_16")
    lag = np.correlate(heard, narrow, "full").argmax() - (samples - 1)
    assert lag == 0


def test_room_keeps_onsets_length_and_level() -> None:
    wave = np.zeros(RATE, np.float32)
    wave[2000:6000] = speechlike()[2000:6000]
    for seed, direct_db in enumerate((0.0, 6.0, 12.0)):
        response = simulated_room(0.4, direct_db, np.random.default_rng(seed))
        assert response[0] == 1 and not response[1:48].any()
        assert decibels(1 / np.square(response[1:]).sum()) == pytest.approx(direct_db, abs=1e-6)
        heard = reverberate(wave, response)
        assert heard.shape == wave.shape
        assert np.abs(heard[:2000]).max() < 1e-6 < 1e-2 < np.abs(heard[2000:2040]).max()
        assert np.abs(heard[6100:8000]).max() > 1e-3  # it rings on
        assert power(heard) == pytest.approx(power(wave), rel=1e-3)


def test_rt60_of_a_simulated_room() -> None:
    response = simulated_room(0.5, 0.0, np.random.default_rng(0))
    early, late = (power(response[start : start + 800]) for start in (800, 4800))
    assert decibels(early / late) == pytest.approx(60 * 0.25 / 0.5, abs=1.5)


def test_recorded_room_starts_with_its_direct_sound(tmp_path: Path) -> None:
    response = np.zeros(2000, np.float32)
    response[[300, 700]] = -0.8, 0.4
    soundfile.write(tmp_path / "hall.wav", response, RATE, subtype="FLOAT")
    cut = recorded_room(tmp_path / "hall.wav")
    assert cut[0] == 1 and cut[400] == pytest.approx(-0.5) and np.count_nonzero(cut) == 2
    wave = sine(440)
    direct = reverberate(wave, np.ones(1))
    np.testing.assert_allclose(direct, wave, atol=1e-6)


def test_babble_is_other_talkers_of_unit_power() -> None:
    wave = speechlike()
    talkers = babble(wave, np.random.default_rng(0))
    assert len(talkers) == len(wave) and power(talkers) == pytest.approx(1, rel=1e-3)
    assert abs(np.corrcoef(talkers, wave)[0, 1]) < 0.5
    np.testing.assert_array_equal(talkers, babble(wave, np.random.default_rng(0)))


def test_results_stay_within_range() -> None:
    loud = np.sign(sine(90, level=1.0)) * np.float32(0.98)
    rng = np.random.default_rng(0)
    for out in (
        amplify(loud, 30),
        change_speed(loud, 1.1),
        add_noise(loud, 0, "brown", rng),
        reverberate(loud, simulated_room(0.6, -10, rng)),
        telephone(loud, (300, 3400), "ULAW"),
    ):
        assert out.dtype == np.float32 and 0.3 < np.abs(out).max() <= 1
    assert power(amplify(loud, -6.0)) == pytest.approx(power(loud) * 10**-0.6, rel=1e-4)
    np.testing.assert_allclose(amplify(loud, 30), loud / np.abs(loud).max(), atol=1e-6)


def test_silence_stays_silence() -> None:
    silence, rng = np.zeros(3200, np.float32), np.random.default_rng(0)
    for out in (
        reverberate(silence, simulated_room(0.3, 0, rng)),
        add_noise(silence, 10, "pink", rng),
        babble(silence, rng),
        change_speed(silence, 0.9),
        amplify(silence, 6),
    ):
        assert np.isfinite(out).all() and not out.any()
