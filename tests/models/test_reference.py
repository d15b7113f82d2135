"""Models of other group sizes, depths and kinds than the recorded ones, against a reference in numpy."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_model import FOLDER, golden
from reference_model import Arrays, Reference
from reference_run import answer, batch, prompt, training
from safetensors.numpy import save_file

from fac_jax.checkpoint.release.config import load_release_config, release_config
from fac_jax.checkpoint.release.names import release_entries
from fac_jax.checkpoint.release.params import from_release, param_shapes, torch_shape
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.evaluation.parity.model import compare, under

TEXT, HEAD = {"num_hidden_layers": 1}, {"num_hidden_layers": 1}
SPOKEN = {"s2s": (True, 1.0, 1.0), "s2s_rep": (True, 1.2, 1.2)}
# group size: recorded case it is made from, changes of text_config, audio_config and head, answers recorded.
# User audios of 4 k + 3 mel frames have a frame more than speech tokens; pairs of layers are one scanned stack.
VARIED: dict[int, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    1: ("dense", TEXT, {"encoder_layers": 1}, HEAD, ("s2s", "s2s_rep")),
    2: ("moe_mixed", {"num_hidden_layers": 3, "mlp_only_layers": [1], "num_key_value_heads": 1}, {}, HEAD, ()),
    3: ("moe_aux", {"decoder_sparse_step": 2, "norm_topk_prob": False}, {"n_window": 30}, HEAD, ()),
    7: ("dense", TEXT | {"tie_word_embeddings": True}, {"encoder_layers": 1}, {"num_hidden_layers": 3}, ("s2s",)),
}


def checkpoint(folder: Path, size: int, rng: np.random.Generator) -> Reference:
    """A random checkpoint in the release's layout; norms are near one, so that numbers stay of their order."""
    case, text, audio, head, _ = VARIED[size]
    values = copy.deepcopy(json.loads((FOLDER / case / "config.json").read_text()))
    values["text_config"] |= text
    values["audio_config"] |= audio | {"group_size": size}
    values["audio_config"]["crq_transformer_config"] |= head
    config = release_config(values)
    shapes, tensors = param_shapes(config), {}
    for entry in release_entries(config):
        for name in entry.names.ravel().tolist():
            shape = torch_shape(entry, shapes[entry.path])
            is_norm = "norm" in name or "ln_post" in name
            scale = 0.25 if "embed" in name or "lm_head" in name else 1.5 / np.sqrt(shape[-1]) if shape[1:] else 0.1
            made = rng.standard_normal(shape) * scale + (is_norm and name.endswith("weight"))
            tensors[name] = made.astype(np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(values))
    return Reference(values, tensors)


def record(model: Reference, rng: np.random.Generator, answers: tuple[str, ...]) -> Arrays:
    """A whole recorded run of it."""
    arrays = batch(rng, dict(model.c), users=(127, 231), replies=(33, 29))
    ids = rng.integers(5, 200, (2, 9))
    arrays = {f"in/{name}": array for name, array in arrays.items()} | training(model, arrays)
    arrays |= {"text/input_ids": ids, "text/logits": np.array([model.decoder()(model.words[row]) for row in ids])}
    arrays["text/logits"] = arrays["text/logits"] @ model.unembed.T
    question = prompt(rng, dict(model.c), 175)
    for run in answers:
        arrays |= {f"{run}/in/{name}": array for name, array in question.items()}
        arrays |= {f"{run}/{name}": ids for name, ids in answer(model, question, 16, *SPOKEN[run]).items()}
    return arrays


@pytest.mark.parametrize("size", [2, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 3, 7))])
def test_a_varied_model_is_the_reference(size: int, tmp_path: Path, figures) -> None:
    rng = np.random.default_rng(size)
    reference = checkpoint(tmp_path, size, rng)
    arrays = record(reference, rng, VARIED[size][-1])
    config = load_release_config(tmp_path)
    found = list(compare(from_release(TensorFolder(tmp_path), config), config, arrays))
    assert len(found) >= 8 + len(VARIED[size][-1])
    for figure in found:
        figures(f"group size {size}: {figure.name}", figure.value, figure.limit)


def test_the_reference_is_the_recorded_release() -> None:
    g = golden("moe_aux")
    model = Reference(json.loads((FOLDER / "moe_aux" / "config.json").read_text()), g.tensors)
    kept = g.arrays["in/attention_mask"] > 0
    made = training(model, under(g.arrays, "in/"))
    np.testing.assert_allclose(made["train/last_hidden"][kept], g.arrays["train/last_hidden"][kept], atol=1e-5)
    np.testing.assert_allclose(made["train/loss"], g.arrays["train/loss"], rtol=1e-6)
    said = answer(model, under(g.arrays, "s2s_rep/in/"), 24, True, 1.2, 1.2)
    np.testing.assert_array_equal(said["text_ids"], g.arrays["s2s_rep/text_ids"])
    np.testing.assert_array_equal(said["speech_ids"], g.arrays["s2s_rep/speech_ids"])
