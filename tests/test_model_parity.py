"""The model against the recorded runs of the release: encoder, hidden states, logits, names, full sizes."""

import dataclasses
import gzip
import math
from functools import partial

import jax
import numpy as np
import pytest
from golden_model import CASES, FOLDER, golden

from fac_jax.checkpoint.names import TIED_SPEECH_HEAD, release_entries
from fac_jax.checkpoint.release import from_release, to_release
from fac_jax.checkpoint.release_batch import release_batch
from fac_jax.checkpoint.release_config import load_release_config
from fac_jax.models.config import from_dict, to_dict
from fac_jax.models.decoder import unstack_layers
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.models.presets import PRESETS, preset
from fac_jax.types import InputError

LIMIT = 2e-4


def _everything(model, batch):
    output = model(batch)
    return output, model.text_logits(output.hidden), model.speech_logits(output.speech_hidden)


def _text_logits(model, batch):
    return model.text_logits(model(batch, heads="text").hidden)


@pytest.mark.parametrize("case", CASES)
def test_forward_matches_the_release(case, figures):
    g = golden(case)
    batch, config = g.training_batch()
    model, variables = FunAudioChat(config), {"params": g.params}
    with jax.default_matmul_precision("highest"):
        output, text, speech = jax.jit(partial(model.apply, method=_everything))(variables, batch)
    kept = np.asarray(batch.segment_ids) > 0
    pairs = {
        "hidden": (output.hidden, g.arrays["train/last_hidden"]),
        "text logits": (text, g.arrays["train/text_logits"]),
        "speech logits": (speech, g.arrays["train/speech_logits"].reshape(speech.shape)),
    }
    for name, (ours, theirs) in pairs.items():
        figures(f"{case}: {name}, max abs diff", np.abs(np.asarray(ours) - theirs)[kept].max(), LIMIT)


@pytest.mark.parametrize("case", CASES)
def test_encoder_matches_the_release(case, figures):
    g = golden(case)
    batch, config = g.training_batch()
    with jax.default_matmul_precision("highest"):
        encode = jax.jit(partial(FunAudioChat(config).apply, method="encode_audio"))
        frames = encode({"params": g.params}, batch.mel_windows, batch.mel_lengths)
    frames = np.asarray(frames).reshape(-1, config.text.width)
    index = np.asarray(batch.frame_index)[np.asarray(batch.has_waveform)].reshape(-1)
    ours = frames[index[index >= 0]]
    theirs = np.concatenate(
        [f[:n] for f, n in zip(g.arrays["encoder/features"], g.arrays["encoder/lengths"], strict=True)]
    )
    figures(f"{case}: encoder, max abs diff", np.abs(ours - theirs).max(), LIMIT)


@pytest.mark.parametrize("case", CASES)
def test_text_only_logits_match_the_release(case, figures):
    g = golden(case)
    ids = g.arrays["text/input_ids"]
    batch = release_batch({"input_ids": ids, "attention_mask": np.ones_like(ids)}, g.config)
    model, variables = FunAudioChat(g.config), {"params": g.params}
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(partial(model.apply, method=_text_logits))(variables, batch)
    figures(f"{case}: text-only logits, max abs diff", np.abs(ours - g.arrays["text/logits"]).max(), LIMIT)


@pytest.mark.parametrize("case", ["dense", "moe_mixed"])
def test_layers_side_by_side_equal_scanned_layers(case):
    g = golden(case)
    batch, config = g.training_batch()
    scanned = jax.jit(FunAudioChat(config).apply)({"params": g.params}, batch)
    params = dict(g.params)
    params["backbone"] = {**params["backbone"], "decoder": unstack_layers(params["backbone"]["decoder"], config.text)}
    params["refined_head"] = {
        **params["refined_head"],
        "decoder": unstack_layers(params["refined_head"]["decoder"], config.head),
    }
    unrolled = jax.jit(FunAudioChat(dataclasses.replace(config, scan_layers=False)).apply)({"params": params}, batch)
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
    with pytest.raises(InputError, match=r"2 faults.*embed_tokens.weight is missing; stranger.weight is unknown"):
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
    assert from_dict(to_dict(preset(name))) == preset(name)


def test_audio_positions_and_groups_must_agree():
    g = golden("dense")
    arrays = g.under("in/")
    arrays["input_ids"] = arrays["input_ids"].copy()
    arrays["input_ids"][0, 9] = 7
    with pytest.raises(InputError, match="36 audio positions in input_ids but 37 groups"):
        release_batch(arrays, g.config)


def test_unknown_model_key_is_named():
    with pytest.raises(ValueError, match="unknown model config key text.dept"):
        preset("tiny", text={"dept": 3})
