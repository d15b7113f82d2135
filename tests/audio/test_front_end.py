"""The front end: speech is found in silence and in noise, and has one level afterwards."""

from pathlib import Path

import numpy as np
import pytest
from toy_world import make_model, make_tokenizer

from data_pipelines.loading.encode import Encode
from data_pipelines.records.record import Audio, Message, Record, to_conversation
from fac_jax.audio.front_end import levelled, trimmed
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example, encode
from fac_jax.models.config import replace
from fac_jax.types import Kind

RATE = 16_000


def speech(seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    """Bursts of noise, four a second, like syllables."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (level * noise * (0.2 + 0.8 * np.abs(np.sin(4 * np.pi * time)))).astype(np.float32)


def noisy(wave: np.ndarray, level: float) -> np.ndarray:
    return (wave + level * np.random.default_rng(1).standard_normal(len(wave))).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01], ids=["silence", "-40 dB", "-20 dB"])
def test_what_is_before_and_behind_is_cut_but_for_a_margin(noise: float) -> None:
    wave = noisy(np.pad(speech(), (8000, 12_000)), noise)
    found = trimmed(wave)
    assert RATE <= len(found) <= RATE + 2 * 0.16 * RATE
    start = next(
        i for i in range(0, len(wave) - len(found) + 1, 320) if np.array_equal(wave[i : i + len(found)], found)
    )
    assert 8000 - 0.16 * RATE <= start <= 8000


def test_speech_without_silence_is_whole() -> None:
    np.testing.assert_array_equal(trimmed(speech()), speech())


def test_the_level_does_not_depend_on_gain_or_silence() -> None:
    want = levelled(speech())
    for gain in (0.01, 0.1, 3.0):
        np.testing.assert_allclose(levelled(gain * speech()), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(levelled(np.pad(speech(), (6400, 0)))[6400:], want, rtol=1e-5, atol=1e-6)
    loud = np.sort(np.square(want[: RATE // 320 * 320].reshape(-1, 320)).mean(axis=1))[-10:]
    assert 10 * np.log10(loud.mean()) == pytest.approx(-20, abs=1.5)


@pytest.mark.parametrize("wave", [np.zeros(8000, np.float32), np.full(100, 0.1, np.float32)], ids=["silent", "short"])
def test_what_has_no_speech_stays(wave: np.ndarray) -> None:
    np.testing.assert_array_equal(trimmed(wave), wave)
    assert np.isfinite(levelled(wave)).all()


def told(wave: np.ndarray, tokens: np.ndarray | None = None) -> Record:
    user = Message("user", audio=Audio(wave=wave, tokens=tokens))
    return Record("a", "be kind", (user, Message("assistant", "yes")), None, "rows", 1)


@pytest.mark.parametrize("bins", [80, 128])
def test_training_and_generation_hear_the_same(bins: int, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = replace(make_model(tokenizer), front_end="levelled", audio={"mel_bins": bins})
    wave = np.pad(0.1 * speech(), (9000, 9000))
    trained = Encode(tokenizer, model)(told(wave), 0)
    (filled,) = add_features([to_conversation(told(wave))], None, model)
    asked = encode(filled, tokenizer, model)
    plain = Encode(tokenizer, replace(model, front_end="plain"))(told(levelled(speech())), 0)
    assert isinstance(trained, Example) and isinstance(plain, Example)
    assert trained.mels[0].shape == asked.mels[0].shape and trained.mels[0].shape[1] == bins
    np.testing.assert_allclose(trained.mels[0], asked.mels[0], atol=1e-5)
    np.testing.assert_array_equal(trained.frame_index, asked.frame_index)
    assert len(plain) <= len(trained) <= len(plain) + 2  # the margins


def test_a_model_that_hears_tokens_hears_those_of_the_whole_wave(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = replace(make_model(tokenizer), front_end="levelled", user_audio="tokens")
    wave, tokens = np.pad(speech(), (8000, 8000)), np.arange(50, dtype=np.int32) % 8
    found = Encode(tokenizer, model)(told(wave, tokens), 0)
    assert isinstance(found, Example) and not found.mels
    np.testing.assert_array_equal(found.speech_ids[found.kind == Kind.SPEECH].reshape(-1), tokens)
