"""A run whose untrained model speaks after a few steps, for tests of the Python interface."""

from pathlib import Path
from typing import Any

import numpy as np
from initial import initial_params

from fac_jax.audio.remarks import Heard
from fac_jax.checkpoint.export import export_model
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.models.config import ModelConfig
from fac_jax.models.presets import preset
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer

UNITS = 16
STEPS = 4  # of a reply
WAVE = np.sin(np.arange(16000, dtype=np.float32) / 20) * 0.3  # a second at 16 kHz


def small_config(tokenizer: Tokenizer, units: int, **changes: Any) -> ModelConfig:
    """Returns the least model that speaks in so many units, with changes of its fields."""
    small = {"width": 16, "depth": 1, "mlp_width": 32, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8}
    audio = {"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32}
    ids = {"vocab_size": tokenizer.vocab_size, "codebook_size": units + 4, "special": tokenizer.special_ids(units)}
    return preset("tiny", text=small, head=small, audio=audio, **ids, **changes)


def make_run(folder: Path) -> Path:
    """Writes a run with one finished stage, whose model the release's layout can hold; returns its workdir."""
    tokenizer = train_tokenizer(["what is two plus three"], 300, folder / "tokenizer.json")
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1
    UnitCodec.fit([noise], UnitCodecConfig(units=UNITS, iterations=2)).save(folder / "codec")
    config = small_config(tokenizer, UNITS, fusion="average", grouping="mean", context=64)
    params = initial_params(config, 3)
    Heard(2.0).save(folder / "heard.json")
    assets = {name: folder / name for name in ("tokenizer.json", "codec", "heard.json")}
    export_model(folder / "run" / "speak" / "model", params, config, {"order": 0}, assets)
    return folder / "run"
