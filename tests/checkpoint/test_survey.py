"""`inspect`: what maps where in every kind of checkpoint, and what does not."""

import json
from pathlib import Path

import numpy as np
from golden_model import FOLDER, golden
from recorded_copies import NAME, copy_of, part
from safetensors.numpy import save_file

from fac_jax.checkpoint.release.names import QWEN3, QWEN3_VL, WHISPER
from fac_jax.checkpoint.release.survey import UNMAPPED, Row, survey_tensors


def rows_of(folder: Path) -> dict[str, Row]:
    return {row.name: row for row in survey_tensors(folder)}


def test_parts_to_start_from_map(tmp_path: Path) -> None:
    values = json.loads((FOLDER / "dense" / "config.json").read_text())
    text = values["text_config"]
    vision, decoder = "model.visual.patch.weight", "model.decoder.layers.0.fc1.bias"
    folders = [
        part(tmp_path / "qwen3", QWEN3, text),
        part(tmp_path / "vl", QWEN3_VL, {"model_type": "qwen3_vl", "text_config": text}, (vision,)),
        part(tmp_path / "whisper", WHISPER, values["audio_config"] | {"model_type": "whisper"}, (decoder,)),
    ]
    qwen3, vl, whisper = (rows_of(folder) for folder in folders)
    assert all(row.maps for rows in (qwen3, vl, whisper) for row in rows.values())
    assert vl[vision].target == whisper[decoder].target == "not used"
    target = "backbone.decoder.layers_0.attention.q.kernel[1] (transpose)"
    assert qwen3["model.layers.1.self_attn.q_proj.weight"].target == target
    assert vl["model.language_model.layers.1.self_attn.q_proj.weight"].target == target
    assert whisper["model.encoder.conv1.weight"].target == "encoder.conv1.kernel (conv)"


def test_what_does_not_map_is_shown_and_not_refused(tmp_path: Path) -> None:
    folder = copy_of("dense", tmp_path / "hf")
    tensors = dict(golden("dense").tensors)
    gone = "audio_tower.embed_tokens.weight"
    tensors["stranger"] = tensors.pop(gone)
    tensors[NAME] = np.zeros((63, 64), np.float32)
    save_file(tensors, folder / "model.safetensors")
    wrong = {name: row.target for name, row in rows_of(folder).items() if not row.maps}
    assert wrong == {
        "stranger": f"{UNMAPPED}is unknown",
        gone: f"{UNMAPPED}is missing",
        NAME: f"{UNMAPPED}is [63, 64], by the configuration [64, 64]",
    }
