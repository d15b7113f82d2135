"""The released sizes: every name of the published tables maps, every parameter is filled."""

import gzip

import flax.linen as nn
import jax
import numpy as np
import pytest
from golden_codec import FOLDER

from fac_jax import axes
from fac_jax.checkpoint.release.params import unfit
from fac_jax.checkpoint.voice.release import (
    INVERSE_FREQUENCIES,
    WEIGHT_NORMS,
    fold,
    from_torch,
    part_entries,
    part_shapes,
)
from fac_jax.codec.cosyvoice.codec import PARTS
from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.types import InputError

TABLES = {
    "tokenizer": ("s3tokenizer_v3", 198, 242_009_608),
    "flow": ("flow", 330, 332_257_088),
    "vocoder": ("hift", 328, 20_779_887),
}


def table(part):
    with gzip.open(FOLDER / f"{TABLES[part][0]}_fullsize_shapes.tsv.gz", "rt") as file:
        rows = [line.split("\t") for line in file.read().splitlines()]
    return {name: tuple(int(size) for size in shape.strip("[]").split(",") if size.strip()) for name, shape in rows}


@pytest.mark.parametrize("part", TABLES)
def test_every_name_of_the_release_maps(part, figures):
    shapes, ours = table(part), part_shapes(part, PARTS[part].config())
    folded = fold({name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()})
    kernels = {name: array.shape for name, array in folded.items()}
    entries = list(part_entries(part, PARTS[part].config()))
    used, problems = unfit(entries, ours, kernels)
    assert not problems
    assert set(kernels) - used == ({INVERSE_FREQUENCIES} if part == "flow" else set())
    assert {entry.path for entry in entries} == set(ours)
    # A kernel with weight norm has one number more for each output channel in the release.
    endings = tuple(norm for norm, _ in WEIGHT_NORMS)
    norms = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith(endings))
    _, names, total = TABLES[part]
    assert len(shapes) == names
    count = sum(int(np.prod(shape)) for shape in ours.values()) + norms
    figures(f"{part}, parameters missing of {total:,}", abs(total - count), 0)


def is_box(leaf):
    return isinstance(leaf, nn.LogicallyPartitioned)


@pytest.mark.parametrize("part", TABLES)
def test_every_parameter_names_its_axes(part):
    boxed = jax.eval_shape(lambda: PARTS[part].boxed(PARTS[part].config(), jax.random.key(0)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_box):
        assert is_box(leaf), jax.tree_util.keystr(path)
        assert len(leaf.names) == leaf.value.ndim and set(leaf.names) <= axes.ALL | {None}


def test_weight_norm_is_folded_in_all_its_spellings():
    rng = np.random.default_rng(0)
    v, g = rng.standard_normal((4, 3, 5)).astype(np.float32), rng.standard_normal((4, 1, 1)).astype(np.float32)
    expected = np.stack([g[i, 0, 0] * v[i] / np.sqrt(np.sum(np.square(v[i].astype(np.float64)))) for i in range(4)])
    new = fold({"a.parametrizations.weight.original0": g, "a.parametrizations.weight.original1": v, "a.bias": g})
    old = fold({"a.weight_g": g, "a.weight_v": v, "a.bias": g})
    for folded in (new, old):
        assert set(folded) == {"a.weight", "a.bias"}
        np.testing.assert_allclose(folded["a.weight"], expected, rtol=1e-7)
    with pytest.raises(InputError, match="a.weight_g is missing, the weight norm of a.weight_v"):
        fold({"a.weight_v": v})
    with pytest.raises(InputError, match="a.weight_g is a weight norm without its direction"):
        fold({"a.weight_g": g})
    with pytest.raises(InputError, match=r"a.weight_g is \[4\], must be \[4, 1, 1\]"):
        fold({"a.weight_g": g[:, 0, 0], "a.weight_v": v})


def test_all_faults_are_told_at_once():
    config = VocoderConfig(channels=8, f0_channels=4)
    with pytest.raises(InputError) as raised:
        from_torch("vocoder", {"stranger": np.zeros(2), "generator.conv_pre.bias": np.zeros(9)}, config)
    told = str(raised.value)
    assert "stranger is unknown" in told and "conv_pre.bias is [9], by the configuration [8]" in told
    assert "conv_post.weight is missing" in told and "\n" not in told
