"""The quickstart: a small Fun-Audio-Chat trained from nothing on spoken sums, in five stages.

python -m experiments.quickstart --workdir runs/quickstart                   (the whole way, with a report)
python -m experiments.train --config experiments/configs/quickstart.py --workdir runs/quickstart

Times and results are in the README.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.augment.operations import Clip, Narrow, Noise, Room, Silence, Speed, Telephone, Tilt
from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.worlds.arithmetic import WorldConfig
from experiments.configs import base
from experiments.run.config import DataConfig
from fac_jax.codec.unit_codec import UnitCodecConfig
from fac_jax.losses import Ctc, Sft
from fac_jax.training.stage import StageConfig

TEXT = ("text_qa", "text_statements", "text_facts")
WORLD = WorldConfig(read_aloud=600, read_sums=1200)
MODEL = {"preset": "tiny", "dtype": "float32", "unroll_layers": True, "front_end": "levelled"}
# What a microphone adds to a clean rendering. No wave gets longer than an encoder window, 2 seconds.
WAVES = WaveAugmentConfig(
    speed=Speed(0.7, (0.85, 1.2)),
    silence=Silence(0.9, (0.0, 0.8), within=2.0),
    room=Room(0.3),
    noise=Noise(0.6, (5.0, 40.0), ("white", "pink")),
    tilt=Tilt(0.5),
    clip=Clip(0.1),
    narrow=Narrow(0.1),
    telephone=Telephone(0.1),
)
DATA = DataConfig(world=WORLD, waves=WAVES, unit_codec=UnitCodecConfig(units=128), vocab_size=512, processes=2)


def stage(
    steps: int, peak: float, mixture: Mapping[str, float], fall: float = 20, weight_decay: float = 0.01, **changes: Any
) -> StageConfig:
    """Returns a stage with a cosine from `peak` to `peak / fall`.

    Adam's eps is Whisper's. With 1e-8, updates of parameters whose gradients are nearly 0 follow the rounding, which is
    another on every mesh.
    """
    optimizer = {"warmup": 0.05, "floor": peak / fall, "weight_decay": weight_decay, "eps": 1e-6}
    return base.stage(steps, peak, mixture, optimizer=optimizer, **changes)


def text(questions: int, statements: int, facts: int) -> dict[str, float]:
    """Returns weights of the text that the LLM keeps knowing."""
    return dict(zip(TEXT, (questions, statements, facts), strict=True))


def packed(rows: int, seq_len: int, segments: int | None = None) -> Mapping[str, int | bool | None]:
    """Returns the shapes of batches with any number of conversations a row; the toy world fits in memory."""
    return {"batch_rows": rows, "seq_len": seq_len, "segments": segments, "cache": True}


def single(rows: int, seq_len: int) -> Mapping[str, int | bool | None]:
    """Returns the shapes of batches with one conversation in a row and one encoder window, 2 seconds, for its audio.

    The cost of the refined head's attention grows with the square of a row's length, so short rows are faster on a CPU.
    The rows that do not fit are left out of the stage; `quarantine.jsonl` in the workdir names them.
    """
    return {**packed(rows, seq_len, segments=1), "windows_per_row": 1}


def stages() -> dict[str, StageConfig]:
    """Text pre-training; encoder warm-up by CTC, clean, then not; spoken questions, written replies; spoken replies."""
    # A model that has spoken few sums, each of them often, knows them by heart and says one of them in place of a sum
    # that it has never spoken. Random sums read aloud, right or wrong, text next to silence, and a high weight decay
    # make it say what it has written.
    spoken = {"s2s": 8, "t2s_statements": 1, "voice": 2, "voice_sums": 8}
    silent = {"silent_qa": 6, "silent_statements": 8}
    written = Sft(speech_weight=0.0)
    heard: dict[str, Any] = {"loss": Ctc(), "trainable": ("encoder/",)}
    return {
        "text": stage(270, 3e-3, text(34, 14, 12), loss=written, data=packed(24, 112)),
        # An encoder that starts with changed waves does not get as far: numbers are learnt last, and hardly at all.
        "ears": stage(400, 4e-3, {"asr": 1}, **heard, data={**single(32, 50), "augment": False}),
        "ears_noisy": stage(800, 3e-3, {"asr": 1}, **heard, data=single(32, 50)),
        "listen": stage(230, 2e-3, {"s2t": 22, **text(5, 4, 1)}, loss=written, data=packed(8, 160)),
        "speak": stage(
            1200, 2e-3, {**spoken, **silent, "s2t": 3, **text(1, 1, 1)}, weight_decay=1.0, data=single(32, 56)
        ),
    }


def get_config() -> ConfigDict:
    """Returns the config of all stages."""
    return base.config(MODEL, stages(), data=DATA)
