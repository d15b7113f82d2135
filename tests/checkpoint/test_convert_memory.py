"""Converting holds a few tensors, never the model: peak memory on a slice of the 8B at its full width."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from random_release import peak_bytes, write_release

from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.presets import preset

LAYERS = 2


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
    figures("hf-to-jax of an 8B slice, peak bytes", peak_bytes("convert", "hf-to-jax", source, ours), limit)
    figures("jax-to-hf of an 8B slice, peak bytes", peak_bytes("convert", "jax-to-hf", ours, back), limit)
