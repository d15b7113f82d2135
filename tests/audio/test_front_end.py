"""The front end: speech is found in silence and in noise, and has one level afterwards."""

from pathlib import Path

import numpy as np
import pytest
from toy_world import make_model, make_tokenizer

from fac_jax.audio.front_end import front_end, levelled, trimmed
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.features import Hears, add_features
from fac_jax.batching.grid import encode
from fac_jax.models.config import replace

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
    np.testing.assert_array_equal(front_end(wave, "levelled"), wave)


def test_training_and_generation_hear_the_same(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = replace(make_model(tokenizer), front_end="levelled")
    told, clean = (
        Conversation("a", "be kind", (Turn("user", wave=wave), Turn("assistant", "yes")))
        for wave in (np.pad(0.1 * speech(), (9000, 9000)), levelled(speech()))
    )
    (filled,) = add_features([told], None, Hears(front_end="levelled"))
    both = encode(filled, tokenizer, model), encode(told, tokenizer, model)
    np.testing.assert_array_equal(both[0].mels[0], both[1].mels[0])
    plain = encode(clean, tokenizer, replace(model, front_end="plain"))
    assert len(plain) <= len(both[0]) <= len(plain) + 2  # the margins
    assert filled.turns[0].speech is None
