"""Adapters and their bases: merged, refused on another base, and put on by the launchers."""

import json
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from golden_model import FOLDER, golden
from launchers import called
from peft_folders import CONFIG, RECORDED, assert_same_tensors, changed, pair, read_values, write_peft
from recorded_copies import Refused, copy_of
from safetensors.numpy import load_file, save_file

import fac_jax
from fac_jax.api import Model
from fac_jax.checkpoint.adapters.base import BLOCK, base_digest, number_of
from fac_jax.checkpoint.adapters.load import adapted, read_adapter
from fac_jax.checkpoint.adapters.merge import merge_adapter
from fac_jax.checkpoint.export import load_params
from fac_jax.checkpoint.opened import open_model
from fac_jax.generation.engine import advance, prefill
from fac_jax.text.tokenizer import train_tokenizer
from fac_jax.types import InputError, Params

DENSE = golden("dense")
WHOLE = RECORDED / "whole"
Q = "model.layers.0.self_attn.q_proj"
TABLE = "speech_embedder/embed/embedding"


def flat(params: Params) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}


@pytest.fixture(scope="module")
def bases(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The dense recorded model as released and as ours; in bfloat16; and one with another number."""
    folder = tmp_path_factory.mktemp("bases")
    other = copy_of("dense", folder / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["language_model.model.layers.2.mlp.down_proj.weight"][5, 7] += 1e-3
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    rounded = copy_of("dense", folder / "bfloat16", "bfloat16")
    return {"hf": kept / "hf", "ours": kept / "ours", "bfloat16": rounded, "other": other}


@pytest.fixture(scope="module")
def stage(bases: dict[str, Path]) -> Path:
    """The recorded adapter of a whole model, as a stage of ours would have left it."""
    folder = bases["other"].with_name("stage")
    called("experiments.convert", "peft-to-jax", str(WHOLE), str(bases["ours"]), str(folder))
    return folder


def test_a_merged_model_is_the_sum(bases: dict[str, Path], tmp_path: Path) -> None:
    expected, leaves = flat(DENSE.params), flat(read_adapter(WHOLE, DENSE.config).leaves)
    for module in {path.rpartition("/")[0] for path in leaves}:
        a, b, scale = (leaves[f"{module}/lora_{leaf}"] for leaf in ("a", "b", "scale"))
        expected[f"{module}/kernel"] = expected[f"{module}/kernel"] + scale[..., None, None] * (a @ b)
    merge_adapter(WHOLE, bases["ours"], tmp_path / "merged")
    found = flat(load_params(tmp_path / "merged")[0])
    assert found.keys() == expected.keys()
    for path, leaf in found.items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-6, atol=1e-6, err_msg=path)


def test_a_sum_is_rounded_once(bases: dict[str, Path], tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((DENSE.config.codebook_size, 64)).astype(np.float32)
    names = ("audio_tower.embed_tokens", "audio_invert_tower.lm_head")
    tensors = pair("audio_invert_tower.pre_matching", 2, 64, 320)
    tensors |= {f"base_model.model.{name}.weight": table for name in names}
    config = {"target_modules": ["pre_matching"], "modules_to_save": list(names)}
    adapter = write_peft(tmp_path / "adapter", tensors, r=2, lora_alpha=1, **config)
    merge_adapter(adapter, bases["bfloat16"], tmp_path / "merged")
    assert (tmp_path / "merged" / "release.json").exists()
    found = flat(load_params(tmp_path / "merged")[0])
    assert all(leaf.dtype == "bfloat16" for leaf in found.values())
    base = flat(DENSE.params)["refined_head/pre/kernel"].astype("bfloat16").astype(np.float32)
    a, b = (tensors[f"base_model.model.audio_invert_tower.pre_matching.lora_{letter}.weight"].T for letter in "AB")
    exact = base + 0.5 * (a @ b)
    off = np.abs(found["refined_head/pre/kernel"].astype(np.float32) - exact)
    assert (off <= np.abs(exact) * 2.0**-8 + 1e-6).all()  # half a place of bfloat16
    np.testing.assert_array_equal(found[TABLE], table.astype("bfloat16"))


def test_a_digest_is_that_of_the_values(bases: dict[str, Path]) -> None:
    digests = {name: base_digest(*open_model(bases[name])) for name in ("hf", "ours", "bfloat16", "other")}
    assert digests["hf"] == digests["ours"] == base_digest(DENSE.params, DENSE.config)
    assert len(set(digests.values())) == 3
    rounded = jax.tree.map(lambda leaf: leaf.astype("bfloat16").astype(np.float32), DENSE.params)
    assert digests["bfloat16"] == base_digest(rounded, DENSE.config)


def test_a_digest_does_not_depend_on_where_values_are() -> None:
    values = np.random.default_rng(0).standard_normal((3, BLOCK // 2 + 7)).astype("bfloat16")
    numbers = {number_of(values), number_of(jnp.asarray(values)), number_of(values.astype(np.float32))}
    assert len(numbers) == 1 and number_of(values[::-1]) not in numbers


def test_another_base_is_refused_unless_it_is_wanted(bases: dict[str, Path], stage: Path) -> None:
    params, config = open_model(bases["other"])
    with pytest.raises(
        InputError, match="stage: the adapter belongs to a base with the digest .*, this one has .*any_base"
    ):
        adapted(params, config, stage)
    found = flat(adapted(params, config, stage, any_base=True))
    assert "refined_head/pre/lora_a" in found
    adapted(*open_model(bases["hf"]), stage)
    adapted(params, config, WHOLE)  # nobody noted the base of this one


def test_there_and_back_is_bit_for_bit(stage: Path, bases: dict[str, Path], tmp_path: Path, refused: Refused) -> None:
    def bfloat16(tensors: dict, values: dict) -> None:
        tensors |= {name: tensor.astype("bfloat16") for name, tensor in tensors.items()}

    called("experiments.convert", "jax-to-peft", str(stage), str(tmp_path / "back"))
    assert_same_tensors(WHOLE, tmp_path / "back")
    assert "exists already" in refused("jax-to-peft", stage, tmp_path / "back")
    text = changed("text", tmp_path / "in", bfloat16)
    called("experiments.convert", "peft-to-jax", str(text), str(bases["hf"]), str(tmp_path / "made"))
    assert read_values(tmp_path / "made" / "adapter")["task_type"] is None
    called("experiments.convert", "jax-to-peft", str(tmp_path / "made"), str(tmp_path / "out"), "--part=text")
    assert_same_tensors(text, tmp_path / "out")
    assert "an adapter has the parts whole, text" in refused("jax-to-peft", stage, tmp_path / "more", "--part=audio")
    assert "name it with --base=DIR" in refused("jax-to-peft", WHOLE, tmp_path / "more")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "in", "made", "out"]


def test_launchers_refuse_in_one_line(bases: dict[str, Path], stage: Path, tmp_path: Path, refused: Refused) -> None:
    broken = shutil.copytree(WHOLE, tmp_path / "broken")
    values = read_values(broken)
    (broken / CONFIG).write_text(json.dumps(values | {"use_dora": True, "r": 5}))
    for words in (
        ("peft-to-jax", broken, FOLDER / "dense", tmp_path / "dst"),
        ("merge-adapter", broken, FOLDER / "dense", tmp_path / "dst"),
        ("verify-adapter", broken, "--base", FOLDER / "dense"),
    ):
        told = refused(*words)
        assert "use_dora" in told and "106 faults" not in told and "by model and adapter_config.json" in told
    wide = write_peft(tmp_path / "wide", pair(Q, 2, 128, 96), r=2, lora_alpha=4, target_modules=["q_proj"])
    assert "an adapter of another base" in refused("verify-adapter", wide, "--base", FOLDER / "dense")
    assert "give that base, or --any_base" in refused("merge-adapter", stage, bases["other"], tmp_path / "dst")
    recorded = f"--recorded={FOLDER / 'dense' / 'io.npz'}"
    assert "--any_base" in refused("verify", bases["other"], recorded, "--adapter", stage)
    assert "verify-adapter needs --base=DIR" in refused("verify-adapter", WHOLE)
    assert not (tmp_path / "dst").exists()


def with_tokenizer(base: Path, folder: Path) -> Path:
    """A copy of a base that `fac_jax.load` reads."""
    train_tokenizer(["what is 1 plus 2?"], 290, shutil.copytree(base, folder) / "tokenizer.json")
    return folder


def test_a_base_is_read_once_for_all_its_adapters(
    bases: dict[str, Path], stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, other = (fac_jax.load(with_tokenizer(bases[name], tmp_path / name)) for name in ("ours", "other"))
    opened = []
    monkeypatch.setattr("fac_jax.api.open_model", lambda folder: opened.append(folder) or open_model(folder))
    for _ in range(2):
        assert "refined_head/pre/lora_a" in flat(model.adapter(stage))
    assert len(opened) == 1
    for _ in range(2):
        with pytest.raises(InputError, match="the adapter belongs to a base with the digest .*--any_base"):
            other.adapter(stage)
    assert "refined_head/pre/lora_a" in flat(other.adapter(stage, any_base=True))
    assert len(opened) == 2


def test_a_model_takes_one_adapter_after_another_without_compiling(bases: dict[str, Path], tmp_path: Path) -> None:
    def negative(tensors: dict, values: dict) -> None:
        tensors |= {name: -4 * tensor for name, tensor in tensors.items() if name.endswith("lora_B.weight")}

    def asked(model: Model) -> str:
        with warnings.catch_warnings(action="ignore"):  # the reply is cut
            return model.respond("what is 1 plus 2?", max_steps=6).text

    base = with_tokenizer(bases["ours"], tmp_path / "base")
    one, other = RECORDED / "text", changed("text", tmp_path / "other", negative)
    first = fac_jax.load(base, adapter=one)
    answer = asked(first)
    compiled = [program._cache_size() for program in (prefill, advance)]
    second = first.with_adapter(other)
    assert asked(second) == asked(fac_jax.load(base, adapter=other)) != answer == asked(first)
    assert [program._cache_size() for program in (prefill, advance)] == compiled
    queries = [model.params["backbone"]["decoder"]["layers_0"]["attention"]["q_k_v"] for model in (first, second)]
    assert queries[0] is queries[1]
    wide = write_peft(tmp_path / "wide", pair(Q, 2, 128, 96), r=2, lora_alpha=4, target_modules=["q_proj"])
    with pytest.raises(InputError, match="another base"):
        first.with_adapter(wide)

    def replacing(tensors: dict, values: dict) -> None:
        tensors["base_model.model.model.norm.weight"] = np.ones(DENSE.config.text.width, np.float32)
        values["modules_to_save"] = ["norm"]

    with pytest.raises(InputError, match="replaced only when a model is loaded"):
        first.with_adapter(changed("text", tmp_path / "replacing", replacing))
