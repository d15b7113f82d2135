"""The recorded frames of Whisper's encoder (`tests/golden/whisper`), and how ours are compared with them."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fac_jax.checkpoint.release.encoder import whisper_params
from fac_jax.models.audio_encoder import AudioEncoder
from fac_jax.models.config import ModelConfig

WHISPER = Path(__file__).parents[1] / "golden" / "whisper"


def pseudo_mel(bins: int, frames: int) -> np.ndarray:
    """Returns the log-mel `[M, bins]` that was recorded: waves over time and bins, and noise."""
    noise = np.random.RandomState(0).standard_normal((frames, bins))
    time, bin_ = np.arange(frames)[:, None], np.arange(bins)[None]
    return (0.5 * np.sin(time / 17 + bin_ / 5) - 0.3 + 0.1 * noise).astype(np.float32)


def normed_states(path: Path, config: ModelConfig, mel: np.ndarray) -> np.ndarray:
    """Returns the 50 Hz states of one window with Whisper's last norm, which ours applies after pooling."""

    def run(module: AudioEncoder, *mel: Any) -> jax.Array:
        return module.norm(module.states(*mel)[0])

    module = AudioEncoder(config.audio, config.text.width, 2 * config.group_size)
    params = whisper_params(path, config)["encoder"]
    fresh = jax.jit(module.init)(jax.random.key(0), mel[None], np.array([len(mel)], np.int32))["params"]
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(partial(module.apply, method=run))
        return np.asarray(apply({"params": {**fresh, **params}}, mel[None], np.array([len(mel)], np.int32)))[0]
