"""From a config to stages and their batches."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from data_pipelines.augment.spec import AugmentConfig
from experiments.run.assemble import Materials
from toy_world import LoudnessCodec, make_model, make_tokenizer

from data_pipelines.worlds.schema import Row
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.stage import StageConfig
from fac_jax.types import IGNORE, InputError


def test_spoken_rows_lie_first_whatever_the_order_of_the_mixture(
    toy_rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    tokenizer = make_tokenizer(tmp_path)
    materials = Materials(toy_rows, LoudnessCodec(), tokenizer, make_model(tokenizer), augment=None, pair_rows={})
    counts = {"text_qa": 2, "t2s": 1, "s2t": 1, "s2s": 2}
    stage = StageConfig("mixed", 1, OptimizerConfig(peak=1e-3), data={"counts": counts})
    batch = next(materials.data(stage, {}, Path())).batch
    spoken = (np.asarray(batch.speech_labels) != IGNORE).any(axis=(1, 2))
    assert spoken.tolist() == [True] * 3 + [False] * 3


def test_a_mixture_of_tasks_is_packed(toy_rows: dict[str, list[Row]], tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    materials = Materials(toy_rows, LoudnessCodec(), tokenizer, make_model(tokenizer), AugmentConfig(), pair_rows={})
    data = {"rows": 2, "seq_len": 160, "windows": 40, "mixture": {"text_qa": 1.0, "s2s": 3.0}}
    stage = StageConfig("mixed", 1, OptimizerConfig(peak=1e-3), data=data, micro_batches=2)
    loaded = next(materials.data(stage, {}, Path()))
    assert loaded.batch.text_ids.shape == (2, 2, 160) and loaded.batch.segment_ids.max() > 1
    assert {name.rpartition(":")[2] for name in loaded.row_ids} == {"text_qa", "s2s"}
    wrong = dataclasses.replace(stage, data={**data, "row": 1})
    with pytest.raises(InputError, match=r"unknown config key stages\.mixed\.data\.row; known: rows, seq_len"):
        materials.data(wrong, {}, Path())
