"""Whisper's encoder, read in the layouts of three libraries: its frames are those that each library computes."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from initial import initial_params
from whisper_golden import WHISPER, normed_states, pseudo_mel

from fac_jax.checkpoint.release.encoder import in_place_of, whisper_params, whisper_shape
from fac_jax.models.config import ModelConfig
from fac_jax.models.presets import preset
from fac_jax.types import InputError

LAYOUTS = {"openai": "openai.pt", "transformers": "transformers", "ctranslate2": "ctranslate2"}


def with_whisper(path: Path, n_window: int = 50) -> ModelConfig:
    return dataclasses.replace(preset("tiny"), audio=dataclasses.replace(whisper_shape(path), n_window=n_window))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_are_those_of_the_library_that_wrote_the_file(layout: str, figures: Any) -> None:
    path = WHISPER / LAYOUTS[layout]
    found = normed_states(path, with_whisper(path), pseudo_mel(8, 100))
    with np.load(WHISPER / "frames.npz") as golden:
        figures(f"whisper {layout} frames, max abs diff", float(np.abs(found - golden[layout]).max()), 1e-4)


def test_an_encoder_takes_the_place_of_a_fresh_one() -> None:
    path = WHISPER / "ctranslate2"
    config = with_whisper(path, 20)
    fresh = initial_params(config)
    given = whisper_params(path, config)
    found = in_place_of(fresh, given)
    assert found["encoder"]["positions"].shape == (20, 16)
    np.testing.assert_array_equal(found["encoder"]["conv1"]["kernel"], given["encoder"]["conv1"]["kernel"])
    assert found["encoder"]["proj"]["kernel"] is fresh["encoder"]["proj"]["kernel"]  # no Whisper has one
    assert jax.tree.structure(found) == jax.tree.structure(fresh)


def test_windows_longer_than_its_positions_are_refused() -> None:
    path = WHISPER / "openai.pt"
    with pytest.raises(InputError, match=r"50 positions; model\.audio\.n_window is 52"):
        whisper_params(path, with_whisper(path, 52))
