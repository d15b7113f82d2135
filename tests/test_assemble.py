"""From a config to stages and their batches."""

from pathlib import Path

import numpy as np
from toy_world import LoudnessCodec, make_model, make_tokenizer

from data_pipelines.schema import Row
from experiments.assemble import Materials, stages
from experiments.configs import quickstart
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.stage import StageConfig
from fac_jax.types import IGNORE


def test_stages_know_how_many_rows_are_spoken() -> None:
    config = quickstart.get_config()
    spoken = {stage.name: stage.spoken_rows for stage in stages(config)}
    assert spoken == {"text": None, "ears": None, "listen": None, "speak": 17}


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
