"""Common Voice as it is unpacked, one language or all that are there: the same stage as for LibriSpeech.

python -m experiments.train --config experiments/configs/common_voice.py:data/cv-corpus-17.0 --workdir runs/cv \
    --config.model.init_from=DIR

The colon is followed by the release's folder, with a folder for every language, or by that of one language, with
`train.tsv` and `clips/`. A temperature of 3 evens large and small languages out. A language is evaluated on its
`dev.tsv`. Not run at full size here; tests run it on a few clips in the same layout.
"""

from pathlib import Path

from ml_collections import ConfigDict

from data_pipelines.importers.common_voice import TRAIN
from experiments.configs import base
from experiments.configs.finetune import MODEL, WAVES
from experiments.configs.librispeech import TRAINABLE
from experiments.run.config import DataConfig, SetConfig
from fac_jax.losses import Sft

HELD_OUT = "dev.tsv"


def language(folder: Path) -> SetConfig:
    """Returns the rows of a language."""
    held_out = str(folder / HELD_OUT) if (folder / HELD_OUT).is_file() else None
    return base.rows(str(folder / TRAIN), format="common-voice", waves=WAVES, eval_path=held_out)


def get_config(folder: str = "cv-corpus") -> ConfigDict:
    """One stage on the training table of every language."""
    languages = sorted(table.parent for table in Path(folder).glob(f"*/{TRAIN}")) or [Path(folder)]
    sets = {one.resolve().name.replace("-", "_").replace(".", "_"): language(one) for one in languages}
    alignment = base.stage(
        20_000,
        1e-4,
        dict.fromkeys(sets, 1.0),
        loss=Sft(speech_weight=0.0),
        trainable=TRAINABLE,
        data={"batch_rows": 4, "temperature": 3.0},
    )
    return base.config(MODEL, {"pre_alignment": alignment}, data=DataConfig(sets=sets))
