"""What is done to a user's wave before the model hears it: silence at its ends is cut, and its level made one.

A model learns the level and the timing of what it hears. `ModelConfig.front_end` says whether it hears waves as they
are ("plain", as released models do) or trimmed and levelled ("levelled"). Training, evaluation and generation all pass
`fac_jax.batching.features.as_heard`, so that they cannot differ.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from fac_jax.audio.mel import RATE

FRAME: Final = RATE // 50  # samples of 20 ms, over which loudness is judged
LEVEL: Final = -20.0  # dB of full scale that the loud frames have afterwards
MARGIN: Final = 5  # frames kept on both sides of the speech
SILENT: Final = 1e-10  # power; nothing in a wave is louder than -100 dB: it is left as it is
QUIETER: Final = 30.0  # dB below the loudest frames at which speech ends
ABOVE_FLOOR: Final = 0.4  # share of the way from the noise to the loudest frames, in dB, at which speech ends


def trimmed(wave: Float[np.ndarray, " N"]) -> Float[np.ndarray, " M"]:
    """Cuts what is before and behind the speech, with a margin of 0.1 s.

    Speech is what is louder than 30 dB below the loudest frames, and, in noise, well above the quietest ones.
    """
    power = _powers(wave)
    if power.size == 0 or power.max() < SILENT:
        return wave
    smooth = np.convolve(np.pad(power, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    level = 10 * np.log10(np.maximum(smooth, SILENT))
    ordered = np.sort(level)
    loud = ordered[-max(1, len(level) // 20) :].mean()
    floor = ordered[: max(1, len(level) // 10)].mean()
    speech = np.flatnonzero(level >= max(loud - QUIETER, floor + ABOVE_FLOOR * (loud - floor)))
    start, end = max(0, speech[0] - MARGIN), speech[-1] + 1 + MARGIN
    return wave[start * FRAME : end * FRAME if end < len(power) else len(wave)]


def levelled(wave: Float[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
    """Scales a wave so that its level is -20 dB; it may leave [-1, 1]."""
    loud = _loud(wave)
    if loud is None:
        return np.asarray(wave, np.float32)
    return (wave * np.float32(np.sqrt(10 ** (LEVEL / 10) / loud))).astype(np.float32)


def level(wave: Float[np.ndarray, " N"]) -> float | None:
    """Returns the level of a wave: the mean power of its loud frames in dB of full scale; None for silence.

    Loud is the top third of the frames that are at most 20 dB below the loudest one.
    """
    loud = _loud(wave)
    return None if loud is None else float(10 * np.log10(loud))


def _loud(wave: np.ndarray) -> np.floating | None:
    power = np.sort(_powers(wave))
    if power.size == 0 or power[-1] < SILENT:
        return None
    near = power[power >= power[-1] / 100]
    return near[-max(1, len(near) // 3) :].mean()


def _powers(wave: np.ndarray) -> np.ndarray:
    """Returns the mean power of every whole frame `[N // FRAME]`."""
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    return np.square(frames, dtype=np.float64).mean(axis=1)
