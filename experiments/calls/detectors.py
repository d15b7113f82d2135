"""The detectors of speech that a baseline may have, by name."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float

from fac_jax.evaluation.benchmarks.duplex.segments import Segment, merge
from fac_jax.evaluation.benchmarks.duplex.voice_activity import VoiceActivity, energy
from fac_jax.serving.detect.base import RATE
from fac_jax.serving.detect.make import detector_factory

THRESHOLD: Final = 0.5  # of the probability; these are the defaults of Silero's own tool
CLOSED: Final = 0.1  # seconds: shorter pauses are closed
SHORTEST: Final = 0.25  # seconds: shorter segments are dropped


def silero(wave: Float[np.ndarray, " N"], rate: int) -> list[Segment]:
    """Finds speech in a wave at 16 kHz with Silero's network.

    Raises:
      InputError: it is not installed.
    """
    assert rate == RATE, rate
    listener = detector_factory("silero").listen()
    step = listener.frame / RATE
    spoken = np.flatnonzero(listener.push(np.asarray(wave, np.float32)) > THRESHOLD)
    frames = [Segment(i * step, (i + 1) * step) for i in spoken.tolist()]
    return [each for each in merge(frames, CLOSED) if each.seconds >= SHORTEST]


DETECTORS: Final[Mapping[str, VoiceActivity]] = {"energy": energy, "silero": silero}
