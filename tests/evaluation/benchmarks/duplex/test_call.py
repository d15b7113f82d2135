"""A call from its two waves to its scores."""

import numpy as np
import pytest

from fac_jax.evaluation.benchmarks.duplex import overlap, success
from fac_jax.evaluation.benchmarks.duplex.voice_activity import speech_of_call

RATE = 24000


def voice(pitch: float, *spans: tuple[float, float]) -> np.ndarray:
    """Eight seconds of faint noise, with a tone in the spans."""
    time = np.arange(8 * RATE) / RATE
    spoken = sum((time >= start) & (time < end) for start, end in spans)
    hiss = 1e-3 * np.random.default_rng(round(pitch)).standard_normal(len(time))
    return (0.2 * np.sin(2 * np.pi * pitch * time) * spoken + hiss).astype(np.float32)


def test_a_question_its_answer_and_an_interruption() -> None:
    user = voice(300, (0.5, 2.0), (4.0, 5.0))
    model = voice(170, (2.4, 4.6), (5.5, 7.0))
    speech = speech_of_call(user, model, RATE)
    frames = 0.021  # the detector answers in frames of 20 ms
    assert speech.seconds == 8 and len(speech.user) == len(speech.model) == 2
    assert success.answered(speech.model, [], user_end=2.0) == (None, pytest.approx(0.4, abs=frames))
    assert overlap.stop_latencies(speech.user, speech.model) == pytest.approx([0.6], abs=2 * frames)
    assert overlap.response_latencies(speech.user, speech.model) == pytest.approx([0.4, 0.5], abs=2 * frames)
    turns = success.turn_taking([(speech.user, speech.model)])
    assert turns.precision[0] == turns.recall[0] == 1
    barged = success.barge_ins([(speech.user, speech.model)])
    assert barged.success[0] == 1 and barged.latency.median == pytest.approx(0.6, abs=2 * frames)


def test_a_model_that_never_speaks_answers_nothing() -> None:
    speech = speech_of_call(voice(300, (0.5, 2.0)), voice(170), RATE)
    assert success.answered(speech.model, [], user_end=2.0) == ("silent", None)
    assert success.turn_taking([(speech.user, speech.model)]).recall[0] == 0
