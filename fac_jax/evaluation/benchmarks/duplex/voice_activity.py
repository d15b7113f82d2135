"""Where a wave has speech: by its level, or by any other detector that is given.

The published scorers use Silero's detector. The project bundles none, so that the detector is an argument: a function
of a wave and its rate that returns segments. A report has to name the one that was used.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from fac_jax.evaluation.benchmarks.duplex.segments import Segment, merge

VoiceActivity: TypeAlias = Callable[[Float[np.ndarray, " N"], int], list[Segment]]
"""A detector: (wave mono in -1..1, samples per second) -> segments in order, in seconds."""

FRAME: Final = 0.02  # seconds
LEAST: Final = -50.0  # dB of full scale
ABOVE_FLOOR: Final = 12.0  # dB
FLOOR: Final = 10.0  # percentile of the levels of the frames
CLOSED: Final = 0.2  # seconds: shorter pauses are closed
SHORTEST: Final = 0.1  # seconds: shorter segments are dropped
TINY: Final = 1e-10  # of full scale


class Speech(NamedTuple):
    """Where both sides of a call speak, and the length of the call in seconds."""

    user: list[Segment]
    model: list[Segment]
    seconds: float


def levels(wave: Float[np.ndarray, " N"], frame: int) -> Float[np.ndarray, " F"]:
    """Returns the level of every whole frame of `frame` samples, in dB of full scale."""
    frames = wave[: len(wave) // frame * frame].reshape(-1, frame).astype(np.float64)
    return 20 * np.log10(np.sqrt(np.mean(frames**2, axis=1)) + TINY)


def energy(wave: Float[np.ndarray, " N"], rate: int) -> list[Segment]:
    """Finds speech by its level, in frames of 20 ms.

    A frame is speech if its level is above -50 dB of full scale and more than 12 dB above the floor, the 10th
    percentile of all levels. Pauses under 0.2 s are closed, then segments under 0.1 s are dropped. The wave has to have
    pauses, a tenth of its time at least: in speech without any the floor is the speech itself.
    """
    frame = round(rate * FRAME)
    found = levels(wave, frame)
    if not found.size:
        return []
    spoken = np.flatnonzero(found > max(LEAST, float(np.percentile(found, FLOOR)) + ABOVE_FLOOR))
    frames = [Segment(i * frame / rate, (i + 1) * frame / rate) for i in spoken.tolist()]
    half = FRAME / 2  # lengths are whole frames: no rounding of floats may decide
    return [each for each in merge(frames, CLOSED - half) if each.seconds > SHORTEST - half]


def speech_of_call(
    user: Float[np.ndarray, " N"], model: Float[np.ndarray, " N"], rate: int, detector: VoiceActivity = energy
) -> Speech:
    """Finds where both sides of a call speak.

    Args:
      user: wave of the user, mono in -1..1.
      model: wave of the model, as long as the user's and of the same clock.
      rate: samples per second of both.
      detector: finds speech in a wave.

    Raises:
      ValueError: the waves have different lengths.
    """
    if len(user) != len(model):
        raise ValueError(f"a call has two waves of one clock: {len(user)} and {len(model)} samples")
    return Speech(detector(user, rate), detector(model, rate), len(user) / rate)
