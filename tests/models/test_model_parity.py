"""The model against the recorded runs of the release, its names and its full sizes."""

import dataclasses
import gzip
import math

import jax
import numpy as np
import pytest
from golden_model import CASES, FOLDER, golden

from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.checkpoint.release.config import load_release_config
from fac_jax.checkpoint.release.names import TIED_SPEECH_HEAD, release_entries
from fac_jax.checkpoint.release.params import from_release, to_release
from fac_jax.config import from_tree
from fac_jax.evaluation.parity.model import compare, training_batch, under
from fac_jax.generation.prepared import prepare
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.models.presets import PRESETS, preset
from fac_jax.precision import EXACT, products
from fac_jax.types import InputError


# "moe_mixed" has what "moe" has, and dense layers beside it; "moe_aux" adds a loss of the router.
@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] * (c in ("moe", "moe_aux"))) for c in CASES])
def test_the_model_is_the_recorded_one(case, figures):
    """Encoder, hidden states, logits, losses, gradients, every generated token."""
    g = golden(case)
    found = list(compare(g.params, g.config, g.arrays))
    assert len(found) == 14 + (case == "moe_aux")
    for figure in found:
        figures(f"{case}: {figure.name}", figure.value, figure.limit)


@pytest.mark.slow
def test_another_model_is_told_from_the_recorded_one():
    g = golden("dense")
    other = jax.tree.map(np.copy, g.params)
    other["backbone"]["decoder"]["layers_0"]["mlp"]["up"]["kernel"][1] *= 1.01
    exceeded = {figure.name for figure in compare(other, g.config, g.arrays) if not figure.holds}
    assert {"hidden, max abs diff", "loss, relative", "text-only logits, max abs diff"} <= exceeded


@pytest.mark.parametrize("case", ["dense", "moe_mixed"])
def test_layers_side_by_side_equal_scanned_layers(case):
    g = golden(case)
    batch, config = training_batch(g.arrays, g.config)
    with products(EXACT):
        scanned = jax.jit(FunAudioChat(config).apply)({"params": g.params}, batch)
    model, params = prepare(config, g.params)
    with products(EXACT):
        unrolled = jax.jit(FunAudioChat(model.config).apply)({"params": params}, batch)
    np.testing.assert_allclose(unrolled.hidden, scanned.hidden, atol=1e-5)
    np.testing.assert_allclose(unrolled.speech_hidden, scanned.speech_hidden, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_names_go_both_ways(case):
    g = golden(case)
    back = to_release(g.params, g.config)
    tied = {TIED_SPEECH_HEAD[0]} | ({"language_model.lm_head.weight"} if g.config.tie_embeddings else set())
    assert set(g.tensors) - set(back) <= tied
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor, g.tensors[name])


def test_every_name_fault_is_listed():
    g = golden("dense")
    tensors = dict(g.tensors)
    tensors["stranger.weight"] = tensors.pop("audio_tower.embed_tokens.weight")
    with pytest.raises(InputError, match=r"2 problems.*embed_tokens.weight is missing; stranger.weight is unknown"):
        from_release(tensors, g.config)


@pytest.mark.parametrize("name", ["8b", "30b_a3b"])
def test_full_size_shapes(name, figures):
    config = load_release_config(FOLDER / f"{name}_config.json")
    shapes = jax.eval_shape(lambda rng: init_params(config, rng), jax.random.key(0))
    with gzip.open(FOLDER / f"{name}_fullsize_shapes.tsv.gz", "rt") as lines:
        rows = [line.split() for line in lines]
    table = {row[0]: tuple(int(n) for n in row[1].split(",")) for row in rows}
    seen = set()
    for entry in release_entries(config):
        leaf = shapes
        for key in entry.path:
            leaf = leaf[key]
        torch = leaf.shape[entry.names.ndim :]
        expected = torch if entry.layout == "same" else torch[::-1]
        for one in entry.names.ravel().tolist():
            assert table[one] == expected, one
            seen.add(one)
    assert set(table) - seen <= {TIED_SPEECH_HEAD[0]}
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == {"8b": 9_424_246_784, "30b_a3b": 31_657_276_416}[name]
    by_preset = jax.eval_shape(lambda rng: init_params(preset(name), rng), jax.random.key(0))
    assert jax.tree.map(lambda a: a.shape, by_preset) == jax.tree.map(lambda a: a.shape, shapes)


@pytest.mark.parametrize("name", list(PRESETS))
def test_configuration_survives_json(name):
    assert from_tree(ModelConfig, dataclasses.asdict(preset(name))) == preset(name)


def test_audio_positions_and_groups_must_agree():
    g = golden("dense")
    arrays = under(g.arrays, "in/")
    arrays["input_ids"] = arrays["input_ids"].copy()
    arrays["input_ids"][0, 9] = 7
    with pytest.raises(InputError, match="36 audio positions in input_ids but 37 groups"):
        release_batch(arrays, g.config)


def test_unknown_model_key_is_named():
    with pytest.raises(ValueError, match="unknown model config key text.dept"):
        preset("tiny", text={"dept": 3})
