"""The release's fixed noise: PyTorch's numbers from seed 0, without PyTorch (docs/codec_model.md, section 5)."""

import functools
from typing import Final

import numpy as np
from jaxtyping import Float32

FLOW_FRAMES: Final = 15000  # mel frames of the flow's noise, 300 s
MEL_BINS: Final = 80
HARMONICS: Final = 9
# Draws of the release between the two tables: embedding and speaker projection of the flow, pitch predictor of the
# vocoder, and initial phases, which have no effect.
BETWEEN: Final = 524_880 + 15_440 + 164_352 + 4 * 786_944 + 513 + HARMONICS
SOURCE_SAMPLES: Final = 24000 * 30  # samples of the source's noise that we keep; longer speech repeats them


@functools.cache
def release_noise() -> tuple[Float32[np.ndarray, "M mel_bins"], Float32[np.ndarray, "N harmonics"]]:
    """Returns the fixed noise of both networks, float32.

    Returns:
      normal noise `[15000, 80]`, the start of the flow; and uniform noise in [0, 1) `[720000, 9]` for the source.
    """
    generator = np.random.MT19937()
    generator._legacy_seeding(0)
    count = FLOW_FRAMES * MEL_BINS
    flow = _normal(_uniform(generator, count)).reshape(MEL_BINS, FLOW_FRAMES)
    generator.random_raw(BETWEEN, output=False)
    source = _uniform(generator, SOURCE_SAMPLES * HARMONICS).reshape(SOURCE_SAMPLES, HARMONICS)
    return np.ascontiguousarray(flow.T), source


def _uniform(generator: np.random.MT19937, count: int) -> np.ndarray:
    """Draws `count` uniform numbers as PyTorch does: the low 24 bits of a 32-bit draw."""
    return (generator.random_raw(count) & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)


def _normal(uniform: np.ndarray) -> np.ndarray:
    """Turns uniform numbers into normal ones by blocks of 16, as PyTorch does on a CPU (Box and Muller)."""
    pairs = uniform.reshape(-1, 2, 8)
    radius = np.sqrt(np.float32(-2) * np.log1p(-pairs[:, 0]))
    angle = np.float32(2 * np.pi) * pairs[:, 1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
