import time

import librosa
import numpy as np
import pytest

from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.espeak import SAMPLE_RATE, SILENCE, Voice, speak, trim
from data_pipelines.worlds.synthesis import speak_all
from fac_jax.types import InputError

JOBS = [
    (text, Voice(name, 200))
    for text in ("what is one plus two", "ten")
    for name in ("en-us", "en-gb-scotland+linda", "en-us+m7")
]


def test_a_voice_speaks_at_16_khz_without_silence_around() -> None:
    wave = speak("three plus four is seven", Voice("en-us"))
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert 1.0 < len(wave) / SAMPLE_RATE < 2.0
    assert 0.1 < np.abs(wave).max() <= 1.0
    assert len(trim(wave)) == len(wave)
    padded = np.concatenate([np.zeros(8000, np.float32), wave, np.zeros(4000, np.float32)])
    assert abs(len(trim(padded)) - len(wave)) <= 4 * 160
    for end in (wave[:480], wave[-480:]):
        assert np.sqrt(np.square(end).mean()) > SILENCE * np.abs(wave).max() / 100


def test_rate_and_pitch_are_heard() -> None:
    slow, fast = (speak("what is three plus four", Voice("en-us", rate)) for rate in (150, 250))
    assert len(slow) > 1.3 * len(fast)
    low, high = (speak("what is three plus four", Voice("en-us", 190, pitch)) for pitch in (10, 90))
    pitches = [np.median(librosa.yin(wave, fmin=50, fmax=400, sr=SAMPLE_RATE)) for wave in (low, high)]
    assert pitches[1] > 1.3 * pitches[0]


def test_a_pause_between_words_is_heard() -> None:
    together, apart = (speak("three plus four", Voice("en-us", pause=pause)) for pause in (0, 20))
    assert 0.3 < (len(apart) - len(together)) / SAMPLE_RATE < 0.5  # two pauses of 0.2 s at the usual rate


def test_neither_processes_nor_order_change_what_is_spoken() -> None:
    once = speak_all(JOBS, processes=2, chunk=2)
    again = speak_all(JOBS[::-1], processes=1, chunk=2)[::-1]
    assert all(wave.dtype == np.int16 and len(wave) > 3000 for wave in once)
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_voice_of_the_world_exists_and_repeats_itself() -> None:
    world = WorldConfig()
    jobs = [("nine", Voice(name)) for name in world.train_voices + world.dev_voices + world.test_voices]
    once = speak_all(jobs, chunk=99)
    time.sleep(1)  # espeak-ng's own seed is the second that it starts in
    again = speak_all(jobs, chunk=99)
    assert len({wave.tobytes() for wave in once}) == len(jobs)
    assert [wave.tobytes() for wave in once] == [wave.tobytes() for wave in again]


@pytest.mark.parametrize(
    ("job", "words"),
    [(("one", Voice("en-mars")), "no voice 'en-mars'"), (("", Voice("en-us")), "spoke nothing for the text ''")],
)
def test_what_cannot_be_spoken_is_named(job: tuple[str, Voice], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        speak_all([*JOBS[:1], job])
    assert "\n" not in str(caught.value)
