"""The rules of turns, on written probabilities: S speech, . silence, ? neither, E faint speech; 32 ms each."""

import numpy as np
import pytest

from fac_jax.serving.detect.base import Started, Stopped, TurnEvent, TurnSettings
from fac_jax.serving.detect.turns import Turns, semantic_settings

PROBABILITIES = {"S": 0.9, ".": 0.1, "?": 0.45, "E": 0.6}
USUAL = TurnSettings()


class Said:
    """A detector that finds the probability of a frame written in its first sample."""

    frame = 512

    def __init__(self) -> None:
        self._kept = np.zeros(0, np.float32)

    def take(self, samples: np.ndarray) -> None:
        self._kept = np.concatenate([self._kept, samples])

    def push(self, samples: np.ndarray) -> np.ndarray:
        self.take(samples)
        heard = self._kept
        full = len(heard) // 512 * 512
        self._kept = heard[full:]
        return heard[:full:512]


def audio(frames: str) -> np.ndarray:
    return np.repeat([PROBABILITIES[one] for one in frames], 512).astype(np.float32)


def turns(frames: str, settings: TurnSettings = USUAL, model_heard: bool = False) -> list[TurnEvent]:
    return Turns(Said(), settings).push(audio(frames), model_heard)


def test_a_turn_reaches_from_the_padding_to_the_end_of_its_silence() -> None:
    assert turns("." * 20 + "S" * 10 + "." * 16) == [Started(20 * 32 - 300), Stopped(46 * 32)]
    assert turns("." * 20 + "S" * 10 + "." * 15) == [Started(20 * 32 - 300)]


def test_the_padding_reaches_neither_before_the_stream_nor_into_the_turn_before() -> None:
    short = TurnSettings(silence_duration_ms=64)
    assert turns("..SSSSS..SSSSS..", short) == [Started(0), Stopped(9 * 32), Started(9 * 32), Stopped(16 * 32)]


@pytest.mark.parametrize("noise", ["SSSS", "SSSS..SSSS", "SS..SS..SS", "S.S.S.S.S", "???????"])
def test_short_or_scattered_sounds_are_nothing(noise: str) -> None:
    """Of 160 ms, or of 3 in 4 frames: never a `Started` without the right to a turn."""
    assert turns(noise + "." * 40) == []


def test_speech_may_miss_one_frame_of_four() -> None:
    assert turns("." * 10 + "SS.SS")[0] == Started(20)
    assert turns("." * 10 + "S.SSS")[0] == Started(20)


def test_a_turn_is_told_once_160_ms_of_it_are_heard() -> None:
    detector = Turns(Said(), TurnSettings(prefix_padding_ms=0))
    assert detector.push(audio("....SSSS")) == []
    assert detector.push(audio("S")) == [Started(128)]


def test_only_frames_well_below_the_threshold_are_silence() -> None:
    """Frames just below it neither begin speech nor count as silence, whose frames follow one another."""
    assert turns("SSSSS" + "?" * 40) == [Started(0)]
    assert turns("SSSSS" + "." * 15 + "?" + "." * 15) == [Started(0)]


def test_a_threshold_near_zero_still_ends() -> None:
    detector = Turns(Said(), TurnSettings(threshold=0.1))
    assert detector.follow([0.2] * 5 + [0.0] * 16) == [Started(0), Stopped(21 * 32)]


def test_the_guard_asks_for_louder_and_longer_speech() -> None:
    assert turns("E" * 5) == [Started(0)]
    assert turns("E" * 40, model_heard=True) == []
    assert turns("S" * 11, model_heard=True) == []
    assert turns("S" * 12, model_heard=True) == [Started(0)]
    assert turns("S" * 12, TurnSettings(threshold=0.85), model_heard=True) == []
    loud = Turns(Said(), TurnSettings(threshold=0.9))
    assert loud.follow([0.97] * 12, model_heard=True) == [Started(0)], "a user can interrupt at any threshold below"


def test_speech_under_the_guard_becomes_a_turn_when_the_model_falls_silent() -> None:
    detector = Turns(Said(), USUAL)
    assert detector.push(audio("S" * 8), model_heard=True) == []
    assert detector.push(audio("S")) == [Started(0)]


def test_reset_forgets_the_turn_and_keeps_the_clock() -> None:
    detector = Turns(Said(), USUAL)
    assert detector.push(audio("S" * 10)) == [Started(0)]
    detector.reset()
    assert detector.push(audio("." * 30)) == []
    assert detector.push(audio("S" * 5)) == [Started(40 * 32 - 300)]


def test_after_reset_no_turn_takes_audio_from_before_it() -> None:
    detector = Turns(Said(), USUAL)
    detector.push(np.concatenate([audio("S" * 10), audio("S")[:160]]))
    detector.reset()
    assert detector.push(audio("S" * 6)) == [Started(330)], "320 ms of frames, and 10 ms that filled none"


@pytest.mark.parametrize("piece", [1, 160, 511, 512, 513, 4800, 10**6])
def test_the_length_of_the_pieces_changes_nothing(piece: int) -> None:
    wave = audio("..SSSSSS" + "." * 20 + "SSSSSSSS" + "." * 20)
    detector = Turns(Said(), USUAL)
    found = [event for at in range(0, len(wave), piece) for event in detector.push(wave[at : at + piece])]
    assert found == turns("..SSSSSS" + "." * 20 + "SSSSSSSS" + "." * 20)
    assert len(found) == 4
    later = Turns(Said(), USUAL)
    later.take(wave[:5000])
    later.take(wave[5000:])
    assert later.push(wave[:0]) == found


def test_the_last_probability_can_be_read() -> None:
    detector = Turns(Said(), USUAL)
    assert detector.probability == 0
    detector.push(audio("SSE"))
    assert detector.probability == pytest.approx(0.6)


def test_an_eager_turn_ends_sooner() -> None:
    frames = "SSSSSS" + "." * 40
    ends = [turns(frames, semantic_settings(one))[1].ms - 6 * 32 for one in ("high", "medium", "auto", "low")]
    assert ends == [320, 608, 608, 928]
