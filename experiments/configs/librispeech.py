"""LibriSpeech as it is unpacked: pre-alignment, as published: encoder and adapter learn to be read by a frozen LLM.

python -m experiments.train --config experiments/configs/librispeech.py:data/LibriSpeech --workdir runs/librispeech \
    --config.model.init_from=DIR

Behind the colon stands the folder that holds `train-clean-100`, ..; every training subset there is used, in proportion
to its size. DIR is a model to start from, as `experiments.convert assemble` makes it of Qwen3 and Whisper. Not run at
full size here; tests run it on a few utterances in the same layout.
"""

from pathlib import Path

from ml_collections import ConfigDict, FieldReference

from experiments.configs.records import config_of, rows_in, stage

SUBSETS = ("train-clean-100", "train-clean-360", "train-other-500")
TRAINABLE = ("encoder/", "speech_embedder/")


def get_config(folder: str = "LibriSpeech") -> ConfigDict:
    """One stage on all subsets; transcripts are written down, none is spoken."""
    seed = FieldReference(0)
    there = [name for name in SUBSETS if (Path(folder) / name).is_dir()] or SUBSETS[:1]
    sets = {name.replace("-", "_"): rows_in(str(Path(folder) / name), format="librispeech") for name in there}
    mixture = dict.fromkeys(sets, 1.0)
    alignment = stage(seed, 20_000, 1e-4, mixture, loss={"kind": "sft", "speech_weight": 0.0}, trainable=TRAINABLE)
    return config_of(seed, sets, {"pre_alignment": alignment})
