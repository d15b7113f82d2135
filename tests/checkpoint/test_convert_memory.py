"""Converting holds a few tensors, never the model: peak memory on a slice of the 8B at its full width."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fac_jax.checkpoint.release.config import to_release_config
from fac_jax.checkpoint.release.names import release_entries
from fac_jax.checkpoint.release.params import param_shapes, torch_shape
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.presets import preset

ROOT = Path(__file__).parents[2]
BYTES = 2  # bfloat16
LAYERS = 2
BLOCK = 2**24


def write_release(folder: Path, config: ModelConfig, seed: int) -> dict[str, int]:
    """Random bfloat16 tensors under the release's names in one file, written one by one; returns their sizes."""
    shapes = param_shapes(config)
    entries = [(str(name), torch_shape(e, shapes[e.path])) for e in release_entries(config) for name in e.names.ravel()]
    sizes = {name: int(np.prod(shape)) * BYTES for name, shape in entries}
    ends = np.cumsum(list(sizes.values())).tolist()
    header = {
        name: {"dtype": "BF16", "shape": list(shape), "data_offsets": [end - sizes[name], end]}
        for (name, shape), end in zip(entries, ends, strict=True)
    }
    text = json.dumps(header).encode()
    rng = np.random.default_rng(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        # Mantissas alone are random: every number is finite. Blocks, as a child's peak counts from its parent's size.
        left = sum(sizes.values()) // BYTES
        while left:
            block = rng.integers(0, 128, min(left, BLOCK), np.uint16) | 0x3C00
            block.tofile(file)
            left -= len(block)
    (folder / "config.json").write_text(json.dumps(to_release_config(config)))
    return sizes


def peak_bytes(*words: str) -> int:
    """Peak memory of one launcher; it must succeed."""
    process = subprocess.Popen([sys.executable, "-m", "experiments.convert", *words], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_maxrss * 1024


@pytest.fixture(scope="module")
def slice_of_8b() -> Iterator[ModelConfig]:
    full = preset("8b")
    parts = {part: {"depth": LAYERS} for part in ("text", "audio", "head")}
    yield replace(dataclasses.replace(full, head_prefill="release"), dtype="bfloat16", param_dtype="bfloat16", **parts)


@pytest.mark.slow
def test_peak_memory_is_a_few_tensors(slice_of_8b: ModelConfig, tmp_path: Path, figures) -> None:
    (tmp_path / "source").mkdir()
    sizes = write_release(tmp_path / "source", slice_of_8b, 0)
    limit = 2 * max(sizes.values()) + 2 * 10**9
    source, ours, back = (str(tmp_path / name) for name in ("source", "ours", "back"))
    figures("hf-to-jax of an 8B slice, peak bytes", peak_bytes("hf-to-jax", source, ours), limit)
    figures("jax-to-hf of an 8B slice, peak bytes", peak_bytes("jax-to-hf", ours, back), limit)
