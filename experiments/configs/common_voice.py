"""Common Voice as it is unpacked, one language or all that are there: the same stage as for LibriSpeech.

python -m experiments.train --config experiments/configs/common_voice.py:data/cv-corpus-17.0 --workdir runs/cv \
    --config.model.init_from=DIR

Behind the colon stands the release's folder, with a folder for every language, or that of one language, with
`train.tsv` and `clips/`. A temperature of 3 evens large and small languages out. Not run at full size here; tests
run it on a few clips in the same layout.
"""

from pathlib import Path

from ml_collections import ConfigDict, FieldReference

from data_pipelines.importers.common_voice import TRAIN
from experiments.configs.librispeech import TRAINABLE
from experiments.configs.records import config_of, rows_in, stage


def get_config(folder: str = "cv-corpus") -> ConfigDict:
    """One stage on the training table of every language."""
    seed = FieldReference(0)
    languages = sorted(table.parent for table in Path(folder).glob(f"*/{TRAIN}")) or [Path(folder)]
    sets = {
        language.resolve().name.replace("-", "_"): rows_in(str(language / TRAIN), format="common-voice")
        for language in languages
    }
    alignment = stage(
        seed, 20_000, 1e-4, dict.fromkeys(sets, 1.0), loss={"kind": "sft", "speech_weight": 0.0}, trainable=TRAINABLE
    )
    alignment["data"]["temperature"] = 3.0
    return config_of(seed, sets, {"pre_alignment": alignment})
