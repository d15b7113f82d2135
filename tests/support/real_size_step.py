"""A step of an adapter on a base of random weights in fewer bits, which is never wide: `real_size_step.py PRESET FORM`.

Prints a JSON object: seconds to make the base and of the first step (compilation included), bytes of the parameters,
loss, gradient norm, and how far A and B moved.
"""

import json
import math
import sys
import time
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from fac_jax.models import lora
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import empty_batch
from fac_jax.models.lora import LoraConfig
from fac_jax.models.presets import preset
from fac_jax.training.base import BaseConfig, quantise
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.program import abstract_params, stage_program
from fac_jax.training.stage import StageConfig
from fac_jax.types import IGNORE, NO_FRAME, NO_TEXT, Batch, Kind, Params

POSITIONS, WINDOWS, HEARD = 64, 2, 20  # LLM positions of the row, encoder windows of 2 s, positions of them


class Random:
    """A parameter of normal numbers, of which one layer exists at a time."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self._shape, self._seed = shape, seed

    def __getitem__(self, layer: int) -> np.ndarray:
        return self._drawn(self._shape[1:], layer)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._drawn(self._shape, 0)

    def _drawn(self, shape: tuple[int, ...], layer: int) -> np.ndarray:
        numbers = np.random.default_rng([self._seed, layer]).standard_normal(shape, np.float32)
        return numbers * np.float32(shape[-2] ** -0.5) if len(shape) > 1 else np.ones(shape, np.float32)


def random_params(shapes: Params) -> Params:
    """Parameters that are drawn when they are asked for."""
    flat = traverse_util.flatten_dict(shapes)
    return traverse_util.unflatten_dict({path: Random(leaf.shape, i) for i, (path, leaf) in enumerate(flat.items())})


def spoken_batch(config: ModelConfig) -> Batch:
    """One row: a question of 4 s, and a reply of text and speech to the end of the row."""
    rng, batch = np.random.default_rng(0), empty_batch(config, 1, POSITIONS, WINDOWS)
    place = np.arange(POSITIONS)
    heard, fine = place < HEARD, np.arange(POSITIONS * config.group_size).reshape(1, POSITIONS, -1)
    units = rng.integers(0, config.units, (1, POSITIONS, config.group_size)).astype(np.int32)
    text = np.where(heard, NO_TEXT, rng.integers(6, min(1000, config.vocab_size), (1, POSITIONS))).astype(np.int32)
    speech = np.where(heard[None, :, None], np.asarray(batch.speech_ids), units)
    return batch.replace(
        text_ids=text,
        kind=np.where(heard, Kind.SPEECH, Kind.JOINT)[None].astype(np.int32),
        speech_ids=speech,
        has_waveform=heard[None],
        frame_index=np.where(heard[None, :, None], fine, NO_FRAME).astype(np.int32),
        segment_ids=np.ones((1, POSITIONS), np.int32),
        positions=place[None].astype(np.int32),
        labels=np.where(heard, IGNORE, text).astype(np.int32),
        speech_labels=np.where(heard[None, :, None], IGNORE, speech).astype(np.int32),
        mel_windows=rng.standard_normal(batch.mel_windows.shape).astype(np.float32),
        mel_lengths=np.full(WINDOWS, config.audio.mel_frames, np.int32),
    )


def main(name: str, form: Any) -> None:
    """Makes the base and one step."""
    config = replace(preset(name), param_dtype="bfloat16", remat="full")
    adapter, base = LoraConfig(), BaseConfig(form, tables=True)
    what = StageConfig("lora", 1, optimizer=OptimizerConfig(peak=1e-3, warmup=0.0), lora=adapter, base=base)
    program = stage_program(config, what, None)
    began = time.perf_counter()
    params = quantise(random_params(abstract_params(config, None)), lora.detach(program.state.params))
    params = lora.with_adapter(params, lora.fresh(params, adapter, jax.random.key(0)))
    made = time.perf_counter()
    sizes = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    count = sum(math.prod(leaf.shape) for leaf in traverse_util.flatten_dict(params).values())
    before = jax.device_get(lora.adapter_of(params))
    state, metrics = program.step(program.start(params), spoken_batch(config))
    loss, norm = float(metrics["loss"]), float(metrics["grad_norm"])
    done = time.perf_counter()
    after = jax.device_get(lora.adapter_of(state.params))
    moved = max(float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (after, before)), strict=True))
    found = {"making": made - began, "step": done - made, "bytes": sizes, "parameters": count}
    print(json.dumps(found | {"loss": loss, "grad_norm": norm, "moved": moved}))


if __name__ == "__main__":
    main(*sys.argv[1:])
