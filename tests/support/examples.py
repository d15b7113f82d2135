"""Examples on the LLM grid with so many heard audios."""

import numpy as np
from golden_model import golden

from fac_jax.batching.conversation import Turn
from fac_jax.batching.grid import Example, lay_out
from fac_jax.models.config import ModelConfig
from fac_jax.text.chat import AudioPiece, TextPiece

MODEL: ModelConfig = golden("dense").config  # windows of 100 mel frames


def example(name: str, *mel_frames: int) -> Example:
    """Text, then so many audios."""
    rng = np.random.default_rng(len(name))
    turns = [
        Turn("user", wave=np.zeros(m * 160, np.float32), mel=rng.standard_normal((m, 128)).astype(np.float32))
        for m in mel_frames
    ]
    pieces = [TextPiece((1, 2, 3), True), *(AudioPiece(i, False, (), False) for i in range(len(turns)))]
    return lay_out(name, pieces, turns, MODEL)
