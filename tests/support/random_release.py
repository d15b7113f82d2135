"""Released folders with random weights, and the greatest memory of a launcher that reads them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fac_jax.checkpoint.release.config import to_release_config
from fac_jax.checkpoint.release.names import release_entries
from fac_jax.checkpoint.release.params import param_shapes, torch_shape
from fac_jax.models.config import ModelConfig

ROOT = Path(__file__).parents[2]
BYTES = 2  # bfloat16
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


def peak_bytes(launcher: str, *words: str) -> int:
    """Peak memory of one launcher; it must succeed."""
    process = subprocess.Popen([sys.executable, "-m", f"experiments.{launcher}", *words], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_maxrss * 1024
