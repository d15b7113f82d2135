"""LibriSpeech as it is unpacked: pre-alignment, as published: encoder and adapter learn to be read by a frozen LLM.

python -m experiments.train --config experiments/configs/librispeech.py:data/LibriSpeech --workdir runs/librispeech \
    --config.model.init_from=DIR

The colon is followed by the folder that holds `train-clean-100`, ..; every training subset there is used, in proportion
to its size, and evaluated on `dev-clean` if that is there. DIR is a model to start from, as `experiments.convert
assemble` makes it of Qwen3 and Whisper. Not run at full size here; tests run it on a few utterances in the same layout.
"""

from pathlib import Path

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.finetune import MODEL, WAVES
from experiments.run.schema import DataConfig, SetConfig
from fac_jax.losses import Sft

SUBSETS = ("train-clean-100", "train-clean-360", "train-other-500")
HELD_OUT = "dev-clean"


def pre_alignment(sets: dict[str, SetConfig], temperature: float) -> ConfigDict:
    """Returns one stage on all sets, in which encoder and adapter learn to write down what is heard."""
    stage = base.stage(
        20_000,
        1e-4,
        dict.fromkeys(sets, 1.0),
        loss=Sft(speech_weight=0.0),
        trainable=("encoder/", "speech_embedder/"),
        data={"batch_rows": 4, "temperature": temperature},
    )
    return base.config(MODEL, {"pre_alignment": stage}, data=DataConfig(sets=sets))


def get_config(folder: str = "LibriSpeech") -> ConfigDict:
    """Returns a config of one stage on all subsets, with the transcripts as text replies."""
    root = Path(folder)
    present = [name for name in SUBSETS if (root / name).is_dir()] or SUBSETS[:1]
    held_out = str(root / HELD_OUT) if (root / HELD_OUT).is_dir() else None
    sets = {
        name.replace("-", "_"): base.rows(str(root / name), format="librispeech", waves=WAVES, eval_path=held_out)
        for name in present
    }
    return pre_alignment(sets, temperature=1.0)
