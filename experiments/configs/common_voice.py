"""Common Voice as it is unpacked, one language or all that are there: the same stage as for LibriSpeech.

python -m experiments.train --config experiments/configs/common_voice.py:data/cv-corpus-17.0 --workdir runs/cv \
    --config.model.init_from=DIR

The colon is followed by the release's folder, with a folder for every language, or by that of one language, with
`train.tsv` and `clips/`. A temperature of 3 evens large and small languages out. A language is evaluated on its
`dev.tsv`. Not run at full size here; tests run it on a few clips in the same layout.
"""

from pathlib import Path

from ml_collections import ConfigDict

from data_pipelines.importers.corpora import TRAIN
from experiments.configs import base
from experiments.configs.finetune import WAVES
from experiments.configs.librispeech import pre_alignment
from experiments.run.schema import SetConfig

HELD_OUT = "dev.tsv"


def language(folder: Path) -> SetConfig:
    """Returns the rows of a language."""
    table = folder / HELD_OUT
    has_rows = table.is_file() and len(table.read_bytes().splitlines()) > 1
    held_out = str(table) if has_rows else None
    return base.rows(str(folder / TRAIN), format="common-voice", waves=WAVES, eval_path=held_out)


def get_config(folder: str = "cv-corpus") -> ConfigDict:
    """Returns a config of one stage on the training tables of all languages."""
    languages = sorted(table.parent for table in Path(folder).glob(f"*/{TRAIN}")) or [Path(folder)]
    sets = {one.resolve().name.replace("-", "_").replace(".", "_"): language(one) for one in languages}
    return pre_alignment(sets, temperature=3.0)
