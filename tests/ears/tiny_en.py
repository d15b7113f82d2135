"""Released weights, Whisper tiny.en, through the encoder at one window of 30 s; `make test-ears` runs it."""

import dataclasses
from typing import Any

import numpy as np
from whisper_golden import WHISPER, normed_states, pseudo_mel

from experiments.run.ears import TINY_EN, encoder_path
from fac_jax.checkpoint.release.encoder import whisper_shape
from fac_jax.models.presets import preset


def test_frames_are_those_of_ctranslate2(figures: Any) -> None:
    path = encoder_path(TINY_EN)
    config = dataclasses.replace(preset("tiny"), audio=dataclasses.replace(whisper_shape(path), n_window=1500))
    found = normed_states(path, config, pseudo_mel(80, 3000))
    with np.load(WHISPER / "tiny_en.npz") as golden:
        figures("tiny.en frames, max abs diff", float(np.abs(found[::25] - golden["frames"]).max()), 1e-4)
