"""Who judges replies, writes down their speech and measures it: for experiments.score and experiments.evaluate.

python -m experiments.score predictions.jsonl --benchmark=voicebench/sd-qa --out=scores \
    --scoring.judge.kind=endpoint --scoring.judge.model=gpt-4o-mini

Nothing is set: rows that need a model which is not there are not scored, and the report says so. docs/evaluation.md
lists the keys. `--scoring.recogniser.entry=faster_whisper --scoring.recogniser.options.model=DIR` writes down speech.
"""

from typing import cast

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from experiments.scoring.config import ScoringConfig
from fac_jax.config import to_config_dict


def get_config() -> ConfigDict:
    """Returns a config without any model, in which each can be set."""
    config = to_config_dict(ScoringConfig())
    with config.unlocked():
        for name in ("recogniser", "mos", "embedder"):
            cast(ConfigDict, config[name]).options = ConfigDict({"model": placeholder(str)})
    return config
