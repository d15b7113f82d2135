"""Audio that is encoded while it arrives has the features of the whole."""

import dataclasses

import jax
import numpy as np
import pytest
from initial import initial_params

from fac_jax.audio.io import RATE, resampled
from fac_jax.audio.mel import host_log_mel
from fac_jax.generation.listening import Listener, encoded, with_features
from fac_jax.generation.prepared import prepare
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import InputError, Params

SAMPLES = 3 * RATE + 1234


@pytest.fixture(scope="module")
def prepared(model: ModelConfig) -> tuple[FunAudioChat, Params]:
    return prepare(model, initial_params(model))


def sound(kind: str) -> np.ndarray:
    """Noise whose loudness grows, falls or stays."""
    rng = np.random.default_rng(0)
    level = {"grows": np.geomspace(1e-5, 0.5, SAMPLES), "falls": np.geomspace(0.5, 1e-5, SAMPLES), "stays": 0.1}
    wave = rng.standard_normal(SAMPLES) * level[kind]
    wave[RATE : RATE + 4000] = 0
    return wave.astype(np.float32)


def listened(listener: Listener, wave: np.ndarray, seed: int) -> Listener:
    rng = np.random.default_rng(seed)
    for piece in np.split(wave, np.sort(rng.integers(0, len(wave), 30))):
        listener.push(piece)
    return listener


@pytest.mark.parametrize("kind", ["grows", "falls", "stays"])
def test_features_are_those_of_the_whole(prepared: tuple[FunAudioChat, Params], kind: str, figures) -> None:
    wave = sound(kind)
    with jax.default_matmul_precision("highest"):
        whole = with_features(*prepared, host_log_mel(wave, prepared[0].config.mel_bins))
        for seed in range(2):
            heard, features = listened(Listener(*prepared), wave, seed).close()
            assert features is not None and np.array_equal(heard, wave)
            assert features.windows.shape == whole.windows.shape and features.samples == len(wave)
            apart = np.abs(features.windows - whole.windows).max()
            figures(f"features heard on the way, {kind}: max abs diff", apart, 1e-4)


def test_only_the_last_window_and_what_a_louder_sound_changes_is_left(
    prepared: tuple[FunAudioChat, Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fac_jax.generation import listening

    calls: list[int] = []
    monkeypatch.setattr(listening, "encoded", lambda *given: calls.append(len(given[2])) or encoded(*given))
    left = {}
    for kind in ("grows", "falls"):
        listener = listened(Listener(*prepared), sound(kind), 0)
        begun = len(calls)
        listener.close()
        left[kind] = len(calls) - begun
        calls.clear()
    full = SAMPLES // 160 // (2 * prepared[0].config.n_window)
    assert left["falls"] <= 2 < full < left["grows"] + 2
    again = Listener(*prepared)
    assert again.close()[1] is None and again.seconds == 0


def test_another_rate_is_resampled_as_a_whole_wave_is(prepared: tuple[FunAudioChat, Params]) -> None:
    wave = sound("stays")
    heard, _ = listened(Listener(*prepared, rate=24000), wave, 0).close()
    np.testing.assert_allclose(heard, resampled(wave, 24000), atol=1e-5)


def test_a_model_that_needs_the_whole_wave_gets_it(model: ModelConfig) -> None:
    config = dataclasses.replace(model, front_end="levelled")
    wave, features = listened(Listener(*prepare(config, initial_params(config))), sound("stays"), 0).close()
    assert features is None and len(wave) == SAMPLES


def test_what_is_no_sound_is_refused(prepared: tuple[FunAudioChat, Params]) -> None:
    listener = Listener(*prepared)
    for samples in (np.zeros((2, 5)), np.zeros(5, np.int16), np.array([np.nan])):
        with pytest.raises(InputError, match="one channel; not"):
            listener.push(samples)
    listener.close()
    with pytest.raises(InputError, match="closed"):
        listener.push(np.zeros(5))
