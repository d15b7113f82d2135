"""The recorded tiny voice of the release (tests/golden/codec), loaded once a process."""

import functools
from pathlib import Path

import numpy as np

from fac_jax.codec.cosyvoice.token2wav import Speaker, SpeechConfig, Token2Wav
from fac_jax.evaluation.parity.networks import recorded_flow, recorded_vocoder
from fac_jax.evaluation.parity.recording import read_recording

FOLDER = Path(__file__).parents[1] / "golden" / "codec"
FRAMES = 640  # of the flow's noise


@functools.cache
def models() -> tuple:
    """Sizes and parameters of flow and vocoder, and their noise."""
    rng = np.random.default_rng(0)
    flow, vocoder = recorded_flow(read_recording(FOLDER / "flow")), recorded_vocoder(read_recording(FOLDER / "hift"))
    noise = (
        rng.standard_normal((FRAMES, flow[0].mel_bins)).astype(np.float32),
        rng.random((FRAMES * vocoder[0].frame_samples, vocoder[0].harmonics), np.float32),
    )
    return flow, vocoder, noise


def voice(**values) -> Token2Wav:
    """A voice of the recorded models."""
    return Token2Wav(*models(), SpeechConfig(**values))


@functools.cache
def speaker() -> Speaker:
    """The embedding of a speaker."""
    return np.random.default_rng(1).standard_normal(192).astype(np.float32)


def ids(count: int) -> np.ndarray:
    """Random ids of the recorded flow."""
    return np.random.default_rng(2).integers(0, models()[0][0].vocab_size, count).astype(np.int32)
