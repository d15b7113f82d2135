"""The quickstart's model learns what benchmarks ask: function calls, instructions, refusals, choices, transcripts.

python -m data_pipelines.benchmark_world --out runs/benchmarks
python -m experiments.train --config experiments/configs/benchmarks_toy.py:runs/benchmarks --workdir runs/benchmarked \
    --data_dir runs/quickstart/data --config.model.init_from=runs/quickstart

The colon is followed by the folder that the first command makes. Times and results are in docs/evaluation.md.
"""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.quickstart import DATA, WAVES, WORLD, packed, single, stage, text
from experiments.configs.quickstart_whisper import FROZEN, HARDER, SLOWER
from experiments.run.ears import QUICKSTART, quickstart_config
from fac_jax.losses import Sft

# Two tools take 680 ids of the quickstart's tokenizer, which knows few words, and three 880; the reply takes 100.
CONTEXT = 1152
SHORT = {
    **{"brief_tools": 40, "practice": 10, "transcripts": 16, "other_transcripts": 2},
    **{"instructions": 5, "refusals": 6, "choices": 4, "audio_questions": 10},
}
KNOWN = {"asr": 8, "s2t": 8, "s2s": 5, **text(6, 3, 1)}
LONG = {"tools": 12, "written_tools": 2}
REHEARSED = {
    **{"brief_tools": 6, "practice": 2, "transcripts": 3, "other_transcripts": 1},
    **{"instructions": 2, "refusals": 2, "choices": 2, "audio_questions": 4},
    **{"asr": 2, "s2t": 4, "s2s": 3, **text(3, 1, 0)},
}
HEARD = {"quickstart.py": (WORLD, WAVES), "quickstart_whisper.py": (SLOWER, HARDER)}


def get_config(folder: str = "runs/benchmarks") -> ConfigDict:
    """Returns a config of three stages on the rows in a folder and on some of the quickstart's.

    The first has short rows, in which a tool takes a few ids; the second the tools as the benchmark lists them; the
    third lets the voice follow the Shared LLM, which it reads.
    """
    names = {**SHORT, **LONG}
    sets = {name: base.rows(str(Path(folder) / "train" / f"{name}.jsonl"), format="release") for name in names}
    written = {"loss": Sft(speech_weight=0.0), "trainable": FROZEN}
    stored = {"feature_copies": 3}
    stages = {
        "short": stage(380, 2e-3, {**SHORT, **KNOWN}, weight_decay=0.5, **written, data={**packed(16, 240), **stored}),
        "long": stage(
            105, 1e-3, {**LONG, **REHEARSED}, weight_decay=0.5, **written, data={**packed(9, 1008), **stored}
        ),
        "voice": stage(
            60,
            1e-3,
            {"s2s": 1},
            trainable=("refined_head/",),
            data={**single(32, 60), **stored, "windows_per_row": 2},
        ),
    }
    world, waves = HEARD[quickstart_config(QUICKSTART)]
    data = dataclasses.replace(DATA, world=world, waves=waves, unit_codec=None, sets=sets)
    return base.config({"dtype": "float32", "context": CONTEXT}, stages, data=data)
