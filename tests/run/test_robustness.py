"""The conditions under which held-out questions are asked."""

import numpy as np
import pytest

from data_pipelines.augment.wave import augment_wave
from data_pipelines.worlds.schema import Row
from experiments.toy.robustness import CONDITIONS, SEED, evenly
from fac_jax.audio.front_end import levelled, trimmed


def test_every_condition_but_the_clean_one_changes_every_question(toy_rows: dict[str, list[Row]]) -> None:
    for row in evenly(toy_rows["test"], 4):
        assert row.user_audio is not None
        for name, waves in CONDITIONS.items():
            found = augment_wave(row.user_audio, waves, SEED, 0, row.id)
            assert np.isfinite(found).all() and np.abs(found).max() <= 1
            assert np.array_equal(found, row.user_audio) == (name == "clean")


@pytest.mark.parametrize("name", ["0.5 s of silence on both sides", "20 dB softer", "6 dB louder"])
def test_silence_and_level_do_not_reach_the_model(name: str, toy_rows: dict[str, list[Row]]) -> None:
    for row in evenly(toy_rows["test"], 4):
        assert row.user_audio is not None
        clean = levelled(trimmed(row.user_audio))
        found = levelled(trimmed(augment_wave(row.user_audio, CONDITIONS[name], SEED, 0, row.id)))
        assert abs(len(found) - len(clean)) <= 0.25 * 16_000  # the margins of 0.1 s, which a trimmed clip lacks
        levels = [np.sqrt(np.mean(np.square(wave[np.abs(wave) > 1e-3]))) for wave in (clean, found)]
        assert levels[0] == pytest.approx(levels[1], rel=0.05)


def test_questions_are_chosen_evenly(toy_rows: dict[str, list[Row]]) -> None:
    rows = toy_rows["test"]
    assert evenly(rows, 10_000) == rows and evenly(rows, 2) == [rows[0], rows[-1]]
