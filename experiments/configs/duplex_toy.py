"""The quickstart's model learns to listen while it talks: calls about sums and counts, next to what it knew.

python -m data_pipelines.duplex toy --out runs/duplex/data --audio flac --delay_groups=1
python -m experiments.full_duplex --config experiments/configs/duplex_toy.py:runs/duplex/data --workdir runs/duplex \
    --data_dir runs/quickstart/data --config.model.init_from=runs/quickstart --half_duplex=runs/quickstart

The colon is followed by the folder that the first command makes. Times and results are in docs/duplex.md.
"""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.quickstart import DATA, WAVES, WORLD, packed, stage, text
from experiments.configs.quickstart_whisper import FROZEN, HARDER, SLOWER
from experiments.run.ears import QUICKSTART, quickstart_config
from fac_jax.losses import Duplex

# A call is two to four times as long as another row: of the LLM positions 44 % are calls, 26 % speech in turns, 30 %
# text, by the lengths that were measured for a mixture with less text. Without as much text, and without a weight decay
# as high as the quickstart's, the model takes sums that it has never heard for others that it has.
MIXTURE = {
    **{"calls": 12, "s2s": 12, "s2t": 2, "voice_sums": 4},
    **{"silent_qa": 9, "silent_statements": 6, **text(6, 4, 4)},
}
# A window of Whisper's encoder costs as much as a slot of all else, and "slide" takes one for every slot.
HEARD = {"quickstart.py": (WORLD, WAVES, "slide"), "quickstart_whisper.py": (SLOWER, HARDER, "block")}
FLOOR = 0.12  # near the fifth percentile of the loudest bins of the training calls (`duplex.ears.quiet_maximum`)
STOP_BIAS = -0.25  # trades stops, which are above their aim, against other voices, which stop it too often
SINKS = 64  # the longest prompt has 30 positions; the rest is for what was said before a roll-over


def get_config(folder: str = "runs/duplex/data") -> ConfigDict:
    """Returns a config of one stage on the calls in a folder and on the quickstart's rows.

    `recipe=("duplex", "merge")` merges half of what the Shared LLM was before into it afterwards.
    """
    world, waves, stream = HEARD[quickstart_config(QUICKSTART)]
    calls = base.rows(str(Path(folder) / "train"), eval_path=str(Path(folder) / "dev"))
    data = dataclasses.replace(DATA, world=world, waves=waves, unit_codec=None, sets={"calls": calls})
    duplex = stage(
        2100,
        1e-3,
        MIXTURE,
        fall=10,
        weight_decay=1.0,
        loss=Duplex(),
        trainable=FROZEN,
        data={**packed(8, 192), "feature_copies": 1},
    )
    duplex = dataclasses.replace(duplex, optimizer=dataclasses.replace(duplex.optimizer, rates=("beside/=3",)))
    model = {
        "dtype": "float32",
        "unroll_layers": True,
        "delay_groups": 1,
        "duplex": {"sinks": SINKS, "loudest_floor": FLOOR, "stream": stream, "stop_bias": STOP_BIAS},
    }
    stages = {"duplex": duplex, "merge": base.merge_stage(None, {"backbone/": 0.5})}
    return base.config(model, stages, data=data, recipe=("duplex",))
