"""Adapters in PEFT's format, made by hand: tensors under the names of torch, and an adapter_config.json."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from fac_jax.checkpoint.release.tensors import TensorFolder

RECORDED = Path(__file__).parents[1] / "golden" / "lora"
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
Tensors = dict[str, np.ndarray]


def pair(module: str, rank: int, inward: int, outward: int, dtype: str = "float32") -> Tensors:
    """A and B of one module, all numbers random."""
    rng = np.random.default_rng(sum(module.encode()))
    a, b = rng.standard_normal((rank, inward)), rng.standard_normal((outward, rank))
    name = f"{PREFIX}{module}.lora_"
    return {f"{name}A.weight": a.astype(jnp.dtype(dtype)), f"{name}B.weight": b.astype(jnp.dtype(dtype))}


def write_peft(folder: Path, tensors: Mapping[str, np.ndarray], **config: Any) -> Path:
    """A folder as `save_pretrained` writes it."""
    folder.mkdir()
    save_file(dict(tensors), folder / TENSORS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "bias": "none", "use_dora": False, **config}))
    return folder


def read_tensors(folder: Path) -> Tensors:
    """All tensors of a folder."""
    found = TensorFolder(folder, TENSORS)
    return {name: found[name] for name in found}


def read_values(folder: Path) -> dict[str, Any]:
    """Its adapter_config.json."""
    return json.loads((folder / CONFIG).read_text())


def changed(case: str, folder: Path, edit: Any) -> Path:
    """A recorded adapter after `edit` has changed its tensors and its configuration, both dicts, in place."""
    shutil.copytree(RECORDED / case, folder)
    tensors, values = read_tensors(folder), read_values(folder)
    edit(tensors, values)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(values))
    return folder


def assert_same_tensors(one: Path, other: Path) -> None:
    """Holds the tensors of two folders against each other, bit for bit."""
    before, after = read_tensors(one), read_tensors(other)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype, name
        np.testing.assert_array_equal(tensor.view(np.uint8), after[name].view(np.uint8), err_msg=name)
