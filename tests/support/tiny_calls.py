"""Untrained models on disk, one that takes calls and one that takes turns, and calls of tones in every scenario."""

import dataclasses
from pathlib import Path

import numpy as np
from initial import initial_params
from spoken_dialogues import dialogue, exchange

from data_pipelines.duplex.folder import write_calls
from data_pipelines.duplex.make import CallsConfig
from data_pipelines.worlds.duplex_scenarios import SCENARIOS
from fac_jax.checkpoint.export import export_model
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.models.config import replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.models.presets import preset
from fac_jax.text.prompts import GREET, SYSTEM_DUPLEX, SYSTEM_JOINT
from fac_jax.text.tokenizer import train_tokenizer

UNITS = 16
EAGER = DuplexConfig(sinks=64, loudest_floor=-4.0, window=96, head_window=16, start_bias=2.8, stop_bias=3.0)
QUIET_SECONDS = 6.0


def write_models(folder: Path, calls: DuplexConfig = EAGER) -> None:
    """Writes the models `duplex`, with this config of calls, and `half`."""
    texts = ["what is two plus one", f"{SYSTEM_DUPLEX} {GREET}", SYSTEM_JOINT]
    tokenizer = train_tokenizer(texts, 300, folder / "tokenizer.json")
    noise = np.random.default_rng(0).normal(size=16000 * 3).astype(np.float32) * 0.1
    codec = UnitCodec.fit([noise], UnitCodecConfig(units=UNITS, iterations=2))
    codec.save(folder / "codec")
    small = {"width": 16, "depth": 1, "mlp_width": 32, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8}
    half = preset(
        "tiny",
        text=small,
        head=small,
        audio={"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32, "n_window": 20},
        vocab_size=tokenizer.vocab_size,
        codebook_size=UNITS + 4,
        special=tokenizer.special_ids(UNITS),
    )
    assets = {"tokenizer.json": folder / "tokenizer.json", "codec": folder / "codec"}
    for name, config in (("duplex", replace(half, duplex=calls)), ("half", half)):
        export_model(folder / name, initial_params(config), config, {"stage": "none", "order": 0, "steps": 0}, assets)


def write_scenarios(folder: Path, calls: int) -> None:
    """Writes a folder of calls for every scenario."""
    long, short = exchange("count to ten", 0.8, 4.0), exchange()
    for name, one in SCENARIOS.items():
        asked = (long, short) if name == "interruption" else (long if one.slots[0] > 40 else short,)
        quiet = dataclasses.replace(one.events.quiet, seconds=QUIET_SECONDS)
        events = dataclasses.replace(one.events, quiet=quiet)
        config = CallsConfig(0, one.slots, events=events, channel=one.channel)
        dialogues = [dialogue(f"{name}-{number}", asked) for number in range(calls)]
        assert not write_calls(folder / name, dialogues, calls, config, "wav", 1)
