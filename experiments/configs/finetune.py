"""Rows of one's own: a model of ours, or one that came in by `experiments.convert`, fine-tuned on them.

python -m experiments.train --config experiments/configs/finetune.py --workdir runs/tuned \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl

docs/finetuning.md says what it takes and what can be changed. With a preset (--config.model.preset=tiny) in place of a
model it starts from nothing, which takes far more than these steps.
"""

from ml_collections import ConfigDict

from data_pipelines.augment.operations import Gain, Noise, Room
from data_pipelines.augment.wave import WaveAugmentConfig
from experiments.configs import base
from experiments.run.schema import DataConfig

# Mild changes of what users say; None leaves one out (docs/data_augmentation.md).
WAVES = WaveAugmentConfig(
    room=Room(probability=0.2), noise=Noise(probability=0.3, snr_db=(10.0, 30.0)), gain=Gain(probability=0.5)
)
MODEL = {"remat": "full"}


def get_config() -> ConfigDict:
    """Returns a config of one stage on one set."""
    # In proportion to size; a larger temperature evens small and large sets out.
    stages = {
        "finetune": base.stage(1000, 1e-5, {"mine": 1.0}, data={"batch_rows": 4, "segments": 32, "temperature": 1.0})
    }
    return base.config(MODEL, stages, data=DataConfig(sets={"mine": base.rows(waves=WAVES)}))
