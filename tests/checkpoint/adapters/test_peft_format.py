"""Adapters of PEFT in and out: bit for bit, with ranks, scales and tables of their own."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import traverse_util
from golden_model import golden
from peft_folders import PREFIX, RECORDED, assert_same_tensors, changed, pair, read_tensors, read_values, write_peft

from fac_jax.checkpoint.adapters.adapter import Adapter, put_adapter, trained_adapter
from fac_jax.checkpoint.adapters.load import read_adapter
from fac_jax.checkpoint.adapters.names import Part
from fac_jax.checkpoint.adapters.save import save_adapter
from fac_jax.checkpoint.release.params import to_release
from fac_jax.types import InputError

DENSE, MOE, TIED = (golden(case).config for case in ("dense", "moe", "moe_aux"))
SPEECH = ("audio_tower.embed_tokens.weight", "audio_invert_tower.lm_head.weight")
TEXT = ("model.embed_tokens.weight", "lm_head.weight")


def flat(adapter: Adapter) -> dict[str, np.ndarray]:
    return traverse_util.flatten_dict(adapter.leaves, sep="/")


def bfloat16(tensors: dict[str, Any], values: dict[str, Any]) -> None:
    tensors |= {name: tensor.astype("bfloat16") for name, tensor in tensors.items()}


def pattern_value(patterns: dict[str, Any], module: str, default: Any) -> Any:
    """As PEFT looks a module up in rank_pattern and alpha_pattern."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


@pytest.mark.parametrize("part", ["text", "whole"])
def test_recorded_adapters_go_both_ways_bit_for_bit(part: Part, tmp_path: Path) -> None:
    for name, source in (
        ("float32", RECORDED / part),
        ("bfloat16", changed(part, tmp_path / "source", bfloat16)),
    ):
        adapter = read_adapter(source, DENSE)
        assert adapter.dtype == name and all(leaf.dtype == np.float32 for leaf in flat(adapter).values())
        assert not save_adapter(tmp_path / name, adapter, DENSE, part)
        assert_same_tensors(source, tmp_path / name)
        recorded, written = read_values(source), read_values(tmp_path / name)
        keys = ("peft_type", "r", "lora_alpha", "use_rslora", "lora_dropout", "rank_pattern", "alpha_pattern", "bias")
        assert {key: written[key] for key in keys} == {key: recorded[key] for key in keys}


def test_leaves_are_the_transposes_at_their_layers() -> None:
    tensors, leaves = read_tensors(RECORDED / "whole"), flat(read_adapter(RECORDED / "whole", DENSE))
    found = {
        "language_model.model.layers.1.mlp.down_proj": ("backbone/decoder/layers_0/mlp/down", 1),
        "continuous_audio_tower.layers.1.self_attn.out_proj": ("encoder/layers/attention/o", 1),
        "audio_invert_tower.crq_transformer.layers.0.self_attn.k_proj": (
            "refined_head/decoder/layers_0/attention/k",
            0,
        ),
        "audio_tower.continual_output_matching": ("speech_embedder/continuous", ()),
    }
    for module, (path, layer) in found.items():
        for letter in "AB":
            ours = leaves[f"{path}/lora_{letter.lower()}"][layer]
            np.testing.assert_array_equal(ours, tensors[f"{PREFIX}{module}.lora_{letter}.weight"].T)
        assert leaves[f"{path}/lora_scale"][layer] == 2.0


def test_the_part_of_the_shared_llm_has_the_names_of_qwen3(tmp_path: Path) -> None:
    without = save_adapter(tmp_path / "text", read_adapter(RECORDED / "whole", DENSE), DENSE, "text")
    assert "refined_head/pre" in without and not any(one.startswith("backbone") for one in without)
    whole, text = read_tensors(RECORDED / "whole"), read_tensors(tmp_path / "text")
    assert len(text) == 42
    for name, tensor in text.items():
        np.testing.assert_array_equal(tensor, whole[PREFIX + "language_model." + name.removeprefix(PREFIX)])
    assert read_values(tmp_path / "text")["task_type"] == "CAUSAL_LM"


def test_ranks_and_scales_may_differ_between_the_layers_of_a_stack(tmp_path: Path) -> None:
    q = "model.layers.{}.self_attn.q_proj"
    tensors = pair(q.format(0), 4, 64, 96) | pair(q.format(1), 3, 64, 96) | pair(q.format(2), 7, 64, 96)
    tensors |= pair("model.layers.1.mlp.up_proj", 4, 64, 96)
    patterns = {
        "rank_pattern": {r"layers\.1\.self_attn.q_proj": 3, "2.self_attn.q_proj": 7},
        "alpha_pattern": {"q_proj": 5},
    }
    targets = [q.format(0), q.format(1), q.format(2), "layers.1.mlp.up_proj"]
    source = write_peft(
        tmp_path / "in", tensors, r=4, lora_alpha=6, use_rslora=True, target_modules=targets, **patterns
    )
    adapter = read_adapter(source, DENSE)
    leaves, stack = flat(adapter), "backbone/decoder/layers_0/"
    np.testing.assert_array_equal(adapter.ranks[f"{stack}attention/q"], [4, 3, 7])
    np.testing.assert_array_equal(adapter.ranks[f"{stack}mlp/up"], [0, 4, 0])
    np.testing.assert_allclose(leaves[f"{stack}attention/q/lora_scale"], 5 / np.sqrt([4, 3, 7]), rtol=1e-7)
    np.testing.assert_allclose(leaves[f"{stack}mlp/up/lora_scale"], [0, 6 / 2, 0], rtol=1e-7)
    assert leaves[f"{stack}attention/q/lora_a"].shape == (3, 64, 7)
    assert not leaves[f"{stack}attention/q/lora_a"][1, :, 3:].any() and not leaves[f"{stack}mlp/up/lora_b"][0].any()

    assert not save_adapter(tmp_path / "out", adapter, DENSE, "text")
    assert_same_tensors(source, tmp_path / "out")
    written = read_values(tmp_path / "out")
    expected = {q.format(0): (4, 5), q.format(1): (3, 5), q.format(2): (7, 5), "model.layers.1.mlp.up_proj": (4, 6)}
    for module, (rank, alpha) in expected.items():
        assert pattern_value(written["rank_pattern"], module, written["r"]) == rank
        assert pattern_value(written["alpha_pattern"], module, written["lora_alpha"]) == alpha
        assert re.fullmatch(written["target_modules"], module)
    assert not re.fullmatch(written["target_modules"], "model.layers.0.mlp.up_proj")
    # What training makes of these leaves has the same ranks: padding is zero, and stays so.
    trained = trained_adapter(adapter.leaves, rslora=True)
    save_adapter(tmp_path / "trained", trained, DENSE, "text")
    assert_same_tensors(source, tmp_path / "trained")


def test_every_expert_has_its_own(tmp_path: Path) -> None:
    module = "model.layers.{}.mlp.experts.{}.down_proj"
    modules = [module.format(layer, expert) for layer in range(MOE.text.depth) for expert in range(8)]
    _, inward, outward = golden("moe").params["backbone"]["decoder"]["layers_0"]["moe"]["down"].shape[1:]
    tensors = {name: tensor for one in modules for name, tensor in pair(one, 2, inward, outward, "bfloat16").items()}
    source = write_peft(tmp_path / "in", tensors, r=2, lora_alpha=4, target_modules=["down_proj"])
    adapter = read_adapter(source, MOE)
    path = "backbone/decoder/layers_0/moe/down_lora_"
    assert flat(adapter)[path + "a"].shape == (MOE.text.depth, 8, inward, 2)
    np.testing.assert_array_equal(
        flat(adapter)[path + "b"][1, 7], tensors[f"{PREFIX}{module.format(1, 7)}.lora_B.weight"].T.astype(np.float32)
    )
    save_adapter(tmp_path / "out", adapter, MOE, "text")
    assert_same_tensors(source, tmp_path / "out")
    assert read_values(tmp_path / "out")["target_modules"] == r"model\.layers\.\d+\.mlp\.experts\.(\d+\.)?down_proj"


def saved(names: tuple[str, ...], values: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {PREFIX + name: value for name, value in zip(names, values, strict=True)}


def test_tables_come_and_go_as_torch_has_them(tmp_path: Path) -> None:
    case = golden("moe_aux")
    table = np.random.default_rng(0).standard_normal((TIED.codebook_size, 64)).astype(np.float32)
    norm = np.full(64, 3.0, np.float32)
    first = "language_model.model.layers.1.input_layernorm"
    tensors = saved((*SPEECH, f"{first}.weight"), [table, table, norm])
    tensors |= pair("audio_invert_tower.pre_matching", 2, 64, 64 * TIED.group_size)
    asked = ["audio_tower.embed_tokens", "audio_invert_tower.lm_head", "layers.1.input_layernorm"]
    source = write_peft(
        tmp_path / "in", tensors, r=2, lora_alpha=4, target_modules=["pre_matching"], modules_to_save=asked
    )
    adapter = read_adapter(source, TIED)
    params = put_adapter(case.params, adapter)
    np.testing.assert_array_equal(params["speech_embedder"]["embed"]["embedding"], table)
    changed_tensors = to_release(params, TIED)
    different = {name for name, was in case.tensors.items() if not np.array_equal(was, changed_tensors.get(name, was))}
    assert different == {SPEECH[0], f"{first}.weight"}
    save_adapter(tmp_path / "out", adapter, TIED)
    assert_same_tensors(source, tmp_path / "out")
    assert read_values(tmp_path / "out")["modules_to_save"] == sorted(
        name.removesuffix(".weight") for name in (*SPEECH, f"{first}.weight")
    )


@pytest.mark.parametrize("names", [SPEECH, TEXT], ids=["speech", "text"])
def test_one_table_of_two_that_are_tied_is_refused(names: tuple[str, str], tmp_path: Path) -> None:
    rows = TIED.codebook_size if names == SPEECH else TIED.vocab_size
    table = np.ones((rows, 64), np.float32)
    kept = [name.removesuffix(".weight") for name in names]
    config = {"r": 2, "lora_alpha": 4, "target_modules": ["nothing"], "modules_to_save": kept}
    alone = write_peft(tmp_path / "alone", saved(names[:1], [table]), **config)
    with pytest.raises(InputError, match=f"{names[0]} is saved in full without {names[1]}.*{kept[1]} is one of"):
        read_adapter(alone, TIED)
    apart = write_peft(tmp_path / "apart", saved(names, [table, table + 1]), **config)
    with pytest.raises(InputError, match=f"{names[1]} differs from {names[0]}, to which it is tied"):
        read_adapter(apart, TIED)
    read_adapter(write_peft(tmp_path / "equal", saved(names, [table, table]), **config), TIED)


def test_tables_that_were_trained_are_written_twice(tmp_path: Path) -> None:
    leaves = read_adapter(RECORDED / "whole", DENSE).leaves
    table = np.ones((DENSE.codebook_size, 64), np.float32)
    made = trained_adapter(leaves, saved={"speech_embedder": {"embed": {"embedding": table}}}, base="0123456789abcdef")
    save_adapter(tmp_path / "out", made, DENSE)
    tensors = read_tensors(tmp_path / "out")
    assert all(np.array_equal(tensors[PREFIX + name], table) for name in SPEECH)
    again = read_adapter(tmp_path / "out", DENSE)
    assert again.base == made.base and again.saved.keys() == {"speech_embedder/embed/embedding"}
