"""Log-mels of whole calls on the host."""

import numpy as np
import pytest

from fac_jax.duplex.call import SLOT, SLOT_FRAMES
from fac_jax.duplex.ears import recorded_loudest, recorded_mel, recorded_powers, trailing_mel
from fac_jax.duplex.hearing import BUCKET, call_mels
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig

SLOTS = 4  # of a call that is filled up to `BUCKET`
FLOOR = -2.0


@pytest.fixture
def wave() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, SLOTS * SLOT).astype(np.float32)


def test_filling_a_call_up_changes_nothing_of_it(wave: np.ndarray, model: ModelConfig) -> None:
    block, slide = (
        replace(model, duplex=DuplexConfig(sinks=4, loudest_floor=FLOOR, stream=stream))
        for stream in ("block", "slide")
    )
    (whole,) = call_mels(wave, block)
    assert SLOTS % BUCKET and whole.shape == (SLOTS * SLOT_FRAMES, model.mel_bins)
    # The mirrored edge at the end of the wave is not heard: every slot has its own.
    np.testing.assert_allclose(whole, recorded_mel(wave[None], model.mel_bins, FLOOR)[0], atol=1e-5)
    clips = call_mels(wave, slide)
    assert [len(clip) for clip in clips] == [20, 40, 40, 40]  # a window of the toy model has two slots
    loudest = recorded_loudest(recorded_powers(wave[None], model.mel_bins), FLOOR)
    want = trailing_mel(wave[None], np.arange(SLOTS), loudest, 2, model.mel_bins)[0]
    for clip, window in zip(clips, want, strict=True):
        np.testing.assert_allclose(clip, window[: len(clip)], atol=1e-5)
