"""Speech of synthetic waves whose times are known."""

import numpy as np
import pytest

from fac_jax.evaluation.benchmarks.duplex.segments import Segment
from fac_jax.evaluation.benchmarks.duplex.voice_activity import energy, speech_of_call

RATE = 16000


def wave(seconds: float, *spans: tuple[float, float], noise: float = 0.0) -> np.ndarray:
    """A tone of 220 Hz, -14 dB, in the spans, and white noise all over."""
    time = np.arange(round(seconds * RATE)) / RATE
    spoken = np.zeros(len(time), bool)
    for start, end in spans:
        spoken |= (time >= start) & (time < end)
    hiss = noise * np.random.default_rng(0).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * 220 * time) * spoken + hiss).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_segments_are_where_the_tone_is(noise: float) -> None:
    found = energy(wave(4, (0.5, 1.5), (2.0, 3.1), noise=noise), RATE)
    assert np.array(found) == pytest.approx(np.array([[0.5, 1.5], [2.0, 3.1]]), abs=0.021)


def test_short_pauses_are_closed_and_short_segments_dropped() -> None:
    pauses = energy(wave(4, (1.0, 1.5), (1.68, 2.0), (2.2, 2.5)), RATE)  # pauses of 0.18 and 0.2 s
    assert np.array(pauses) == pytest.approx(np.array([[1.0, 2.0], [2.2, 2.5]]))
    clicks = energy(wave(4, (1.0, 1.08), (2.0, 2.1)), RATE)
    assert np.array(clicks) == pytest.approx(np.array([[2.0, 2.1]]))


def test_silence_and_noise_and_an_empty_wave_have_no_speech() -> None:
    assert energy(wave(2), RATE) == energy(wave(2, noise=0.1), RATE) == energy(np.zeros(0, np.float32), RATE) == []
    assert energy(wave(2, (0.5, 1.5)) * 1e-3, RATE) == [], "-74 dB is below the least level"


def test_another_detector_can_be_given() -> None:
    def whole(wave: np.ndarray, rate: int) -> list[Segment]:
        return [Segment(0.0, len(wave) / rate)]

    user, model = wave(2, (0.5, 1.0)), wave(2, (1.2, 1.8))
    assert speech_of_call(user, model, RATE, whole) == ([Segment(0, 2)], [Segment(0, 2)], 2.0)
    found = speech_of_call(user, model, RATE)
    assert found.user[0] == pytest.approx((0.5, 1.0)) and found.model[0] == pytest.approx((1.2, 1.8))


def test_two_waves_of_a_call_have_one_length() -> None:
    with pytest.raises(ValueError, match="32000 and 16000 samples"):
        speech_of_call(wave(2), wave(1), RATE)
