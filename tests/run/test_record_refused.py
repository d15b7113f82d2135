"""What cannot be in a config for rows of one's own is told before anything is made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_run import begin, dialogues, make_config, write_initial
from toy_world import UNITS

from fac_jax.checkpoint.export import CODEC
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.codec.unit_pool import BINS, STACK
from fac_jax.types import InputError

DPO: dict[str, Any] = {"loss": {"kind": "preference"}, "data": {"segments": 2}}


def test_a_codec_with_fewer_ids_than_the_model_is_refused(tmp_path: Path) -> None:
    initial = write_initial(tmp_path, codec=True)
    UnitCodec(np.ones((8, STACK * BINS), np.float32), UnitCodecConfig(units=8)).save(initial / CODEC)
    with pytest.raises(InputError, match=f"the codec has 8 units, the model {UNITS}; take another codec"):
        begin(make_config(initial, {"mine": {"path": str(dialogues(tmp_path, 2))}}), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"mixture": {"yours": 1.0}}}, r"finetune\.data\.mixture names 'yours'; known: mine"),
        ({"data": {"mixture": {"mine": -1.0}}}, r"finetune\.data: mixture\.mine is -1\.0; a weight is a finite number"),
        ({"trainable": ("heaad/",)}, r'stages\.finetune: trainable pattern "heaad/" matches no parameter'),
        ({"trainable": ("[",)}, r"stages\.finetune\.trainable: '\[' is no regular expression"),
        ({"loss": {"kind": "ctc"}}, r"finetune\.data\.segments is None: CTC needs 1"),
        ({"loss": {"kind": "preference"}}, r"finetune\.data\.segments is missing: preferences need"),
        (DPO, r'data\.sets\.mine\.waves changes what is heard .* set loss\.reference = "frozen"'),
        ({"set": {"path": "gone.jsonl"}}, r"data\.sets\.mine: gone\.jsonl: no such file or folder"),
        ({"set": {"path": ""}}, r"config key data\.sets\.mine\.path is not set: --config\.data\.sets\.mine\.path="),
        ({"set": {"view": "tts"}}, r"data\.sets\.mine: view 'tts' is for recordings with transcripts .*, not release"),
        ({"set": {"split": "dev"}}, r"data\.sets\.mine: split 'dev': the format release has no splits"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(
    initial: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    rows = dialogues(tmp_path, 1)
    changed = change.get("set", {})
    mine = {"path": str(rows), "waves": {"gain": {}}, **changed}
    config = make_config(initial, {"mine": mine}, **{key: value for key, value in change.items() if key != "set"})
    with pytest.raises(InputError, match=message):
        begin(config, tmp_path)
    assert not (tmp_path / "run").exists()
