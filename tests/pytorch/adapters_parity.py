"""Adapters of ours in PEFT, and adapters of PEFT in ours (`make test-torch`, an environment of its own).

Random weights, float32, on Qwen3 of transformers.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from adapters import adapted_params
from peft import PeftModel
from record_adapter import make
from transformers import AutoModelForCausalLM
from transformers_parity import DENSE, LIMIT, SPARSE, export, greatest, make_config, make_params

from fac_jax.checkpoint.adapters.adapter import put_adapter, trained_adapter
from fac_jax.checkpoint.adapters.load import read_adapter
from fac_jax.checkpoint.adapters.save import save_adapter
from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.evaluation.parity.adapters import compare_adapter
from fac_jax.models.config import DecoderConfig, ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.lora import LoraConfig, adapter_of
from fac_jax.types import Params

STEPS = 8


def opened(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")


def text_logits(config: ModelConfig, params: Params, ids: np.ndarray) -> np.ndarray:
    batch = release_batch({"input_ids": ids, "attention_mask": np.ones_like(ids)}, config)
    model = FunAudioChat(config)
    with jax.default_matmul_precision("highest"):
        hidden = model.apply({"params": params}, batch, heads="text").hidden
        return np.asarray(model.apply({"params": params}, hidden, method="text_logits"))


@pytest.mark.parametrize(
    ("text", "targets", "tables"),
    [(DENSE, ("llm", "head"), False), (DENSE, ("llm",), True), (SPARSE, ("llm", "experts"), False)],
    ids=["qwen3", "qwen3_tied_tables", "qwen3_moe_experts"],
)
def test_an_adapter_of_ours_speaks_alike_in_peft(
    text: DecoderConfig, targets: tuple[str, ...], tables: bool, tmp_path: Path
) -> None:
    config = make_config(text, tied=tables)
    params = make_params(config, 0)
    adapted = adapted_params(params, LoraConfig(targets, rank=4, alpha=16.0))
    table = np.asarray(params["backbone"]["embed"]["embedding"]) * 1.5
    saved = {"backbone": {"embed": {"embedding": table}}} if tables else None
    adapter = trained_adapter(adapter_of(adapted), saved=saved)
    save_adapter(tmp_path / "adapter", adapter, config, "text")
    theirs = PeftModel.from_pretrained(opened(export(config, params, "text", tmp_path)), tmp_path / "adapter").eval()

    ids = np.random.default_rng(0).integers(0, 280, (1, 12))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)).logits
        replied = theirs.generate(input_ids=torch.from_numpy(ids), max_new_tokens=STEPS, do_sample=False).numpy()
    whole = put_adapter(params, read_adapter(tmp_path / "adapter", config))
    assert greatest(text_logits(config, whole, ids), expected) <= LIMIT
    # Greedy ids: each is the likeliest after those before it.
    assert replied.shape[1] == ids.shape[1] + STEPS
    ours = text_logits(config, whole, replied)[0, ids.shape[1] - 1 : -1].argmax(-1)
    np.testing.assert_array_equal(ours, replied[0, ids.shape[1] :])
    base = text_logits(config, params, replied)[0, ids.shape[1] - 1 : -1].argmax(-1)
    assert (base != ours).any()


RECORDINGS: dict[str, tuple[DecoderConfig, bool, dict[str, Any]]] = {
    "names": (DENSE, False, {"r": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}),
    "ranks and scales": (
        DENSE,
        False,
        {
            "r": 4,
            "target_modules": r"model\.layers\.[02]\..*_proj",
            "rank_pattern": {r"layers\.2\.self_attn\.[qk]_proj": 6, "down_proj": 2},
            "alpha_pattern": {"up_proj": 3},
            "use_rslora": True,
        },
    ),
    "tied tables": (
        DENSE,
        True,
        {"r": 2, "target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "attention of experts": (SPARSE, False, {"r": 4, "target_modules": ["q_proj", "o_proj"]}),
}


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
def test_an_adapter_of_peft_is_reproduced(name: str, bfloat16: bool, tmp_path: Path) -> None:
    text, tied, options = RECORDINGS[name]
    config = make_config(text, tied)
    params = make_params(config, 1)
    base = opened(export(config, params, "text", tmp_path))
    make(base, tmp_path / "adapter", {"lora_alpha": 8, "task_type": "CAUSAL_LM", **options}, bfloat16)
    wrong = [figure for figure in compare_adapter(tmp_path / "adapter", params, config, tmp_path) if not figure.holds]
    assert not wrong
