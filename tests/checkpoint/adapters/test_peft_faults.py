"""Broken adapters: one line that names every fault."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_model import golden
from peft_folders import CONFIG, PREFIX, RECORDED, TENSORS, changed

from fac_jax.checkpoint.adapters.load import find_adapter, read_adapter
from fac_jax.models.config import replace
from fac_jax.types import InputError

DENSE = golden("dense").config
Q = "model.layers.1.self_attn.q_proj"
A, B = (f"{PREFIX}{Q}.lora_{letter}.weight" for letter in "AB")
Edit = Callable[[dict[str, Any], dict[str, Any]], Any]


def value(**values: Any) -> Edit:
    return lambda tensors, config: config.update(values)


def renamed(old: str, new: str) -> Edit:
    return lambda tensors, config: tensors.update({new: tensors.pop(old)})


FAULTS: dict[str, tuple[Edit, str]] = {
    "A without B": (lambda tensors, config: tensors.pop(B), f"1 faults in the adapter: {Q} has no lora_B"),
    "no pair": (
        lambda tensors, config: [tensors.pop(name) for name in (A, B)],
        f"{Q} is one of target_modules and has no",
    ),
    "rank": (value(rank_pattern={Q: 5}), rf"{Q}.lora_A is \[8, 64\], by model and {CONFIG} \[5, 64\]; {Q}.lora_B is"),
    "width": (lambda t, config: t.update({B: t[B][:-1]}), rf"{Q}.lora_B is \[95, 8\], .* \[96, 8\]"),
    "unknown module": (renamed(A, A.replace("q_proj", "z_proj")), "model.layers.1.self_attn.z_proj is no linear layer"),
    "layer beyond": (
        renamed(A, A.replace("layers.1", "layers.9")),
        "model.layers.9.self_attn.q_proj is no linear layer",
    ),
    "no prefix": (renamed(A, A.removeprefix(PREFIX)), f"{Q}.lora_A.weight does not begin with {PREFIX}"),
    "no target": (value(target_modules=r".*_proj(?<!q_proj)"), f"{Q} has an adapter and is none of target_modules"),
    "excluded": (value(exclude_modules=["q_proj"]), f"{Q} has an adapter and is none of target_modules"),
    "unused text": (
        lambda t, config: t.update({f"{PREFIX}model.stranger.weight": t[A]}),
        "model.stranger.weight is unknown",
    ),
    "not listed": (
        lambda t, config: t.update({f"{PREFIX}model.norm.weight": np.ones(64, np.float32)}),
        "model.norm.weight is saved in full and is none of modules_to_save",
    ),
    "embedding": (
        lambda t, config: t.update({f"{PREFIX}model.embed_tokens.lora_embedding_A": np.ones((8, 320), np.float32)}),
        "model.embed_tokens.lora_embedding_A is neither A nor B of a linear layer",
    ),
    "NaN": (lambda t, config: t.update({A: t[A] * np.nan}), f"{A} holds a NaN or an infinity"),
    "NaN in the scale": (value(lora_alpha=float("nan")), "lora_alpha is NaN, must be a finite number"),
    "rank 0": (value(rank_pattern={Q: 0}), "rank_pattern: .*q_proj is 0, must be a whole number above 0"),
    "no rank": (lambda t, config: config.pop("r"), "key 'r' is missing"),
    "pattern": (value(alpha_pattern={"(": 3}), r"alpha_pattern has '\(', which is no regular expression"),
    "DoRA": (value(use_dora=True), "use_dora is True: only plain LoRA is known here"),
    "bias": (value(bias="lora_only"), "bias is 'lora_only': it must be 'none'"),
    "IA3": (value(peft_type="IA3"), "peft_type is 'IA3': it must be 'LORA'"),
    "PiSSA": (
        value(init_lora_weights="pissa"),
        "init_lora_weights is 'pissa': such an adapter belongs to a changed base",
    ),
    "replication": (value(layer_replication=[[0, 2]]), r"layer_replication is \[\[0, 2\]\]"),
    "fan in": (value(fan_in_fan_out=True), "fan_in_fan_out is True"),
    "experts as one": (value(target_parameters=["mlp.experts.gate_up_proj"]), "target_parameters is"),
    "aLoRA": (value(alora_invocation_tokens=[1, 2]), r"alora_invocation_tokens is \[1, 2\]"),
    "unheard of": (value(use_wonder_lora=True), "use_wonder_lora is True"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    edit, words = FAULTS[name]
    with pytest.raises(InputError, match=words) as raised:
        read_adapter(changed("text", tmp_path / "adapter", edit), DENSE)
    assert "\n" not in str(raised.value)


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    def edit(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        for name in ("A without B", "unused text", "DoRA", "NaN in the scale"):
            FAULTS[name][0](tensors, config)

    with pytest.raises(InputError, match="4 faults") as raised:
        read_adapter(changed("text", tmp_path / "adapter", edit), DENSE)
    told = str(raised.value)
    assert all(word in told for word in ("has no lora_B", "model.stranger.weight", "use_dora", "lora_alpha is NaN"))


def test_many_faults_of_a_kind_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="42 faults .*; 34 more of the kind 'of another shape'"):
        read_adapter(changed("text", tmp_path / "adapter", value(r=4)), DENSE)


def test_an_adapter_of_another_width_is_refused_in_a_word() -> None:
    wider = replace(DENSE, text={"width": 128, "mlp_width": 200, "head_dim": 32})
    words = (
        r"an adapter of another base: none of its 21 modules is one of this model; the first is .* A \[8, 96\] and B"
    )
    with pytest.raises(InputError, match=words) as raised:
        read_adapter(RECORDED / "text", wider)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_an_adapter_of_another_depth_is_refused() -> None:
    for depth, words in (
        (2, "model.layers.2.self_attn.q_proj is no linear layer"),
        (4, "model.layers.3.* has no tensors"),
    ):
        with pytest.raises(InputError, match=words):
            read_adapter(RECORDED / "text", replace(DENSE, text={"depth": depth}))


def test_layers_to_transform_choose_among_targets(tmp_path: Path) -> None:
    def edit(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        for name in [name for name in tensors if ".layers.1." in name]:
            del tensors[name]
        config["layers_to_transform"] = [0, 2]

    adapter = read_adapter(changed("text", tmp_path / "adapter", edit), DENSE)
    np.testing.assert_array_equal(adapter.ranks["backbone/decoder/layers_0/mlp/up"], [8, 0, 8])
    with pytest.raises(InputError, match=f"{Q} has an adapter and is none of target_modules"):
        read_adapter(changed("text", tmp_path / "more", value(layers_to_transform=0)), DENSE)


def test_damaged_and_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: holds no adapter: there is neither adapter_config.json nor"):
        find_adapter(tmp_path / "nowhere")
    folder = tmp_path / "stage" / "adapter"
    shutil.copytree(RECORDED / "text", folder)
    assert find_adapter(tmp_path / "stage") == find_adapter(folder)
    content = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(content[:-8])
    with pytest.raises(InputError, match=f"{TENSORS} is truncated"):
        read_adapter(folder, DENSE)
    (folder / TENSORS).unlink()
    with pytest.raises(InputError, match=f"holds neither {TENSORS}"):
        read_adapter(folder, DENSE)
    (folder / CONFIG).write_text("[")
    (folder / TENSORS).write_bytes(content)
    with pytest.raises(InputError, match=f"{CONFIG}: not JSON"):
        read_adapter(folder, DENSE)
