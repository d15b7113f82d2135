"""The quickstart's last stage, in which it learns to speak, by an adapter of rank 16 on the stages before.

python -m experiments.quickstart --config experiments/configs/quickstart_lora.py --workdir runs/quickstart_lora \
    --config.model.init_from=runs/quickstart/listen

Seed 0 with ears from nothing, 1,200 steps, from the same stages before: the text of spoken replies is right in 0.977
(trained in full 0.986), and what is heard of them in 0.950 (0.986). Questions that are answered in text are right in
1.000 (1.000) if typed and 0.973 (0.986) if spoken. Without the tables the text next to speech is not learnt: after 400
steps its loss is 1.26, and 0.39 with them.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import base, quickstart, quickstart_whisper
from experiments.configs.quickstart import DATA, WAVES, WORLD
from experiments.configs.quickstart_whisper import HARDER, SLOWER
from experiments.run.ears import QUICKSTART, quickstart_config
from fac_jax.models.lora import LoraConfig

QUICKSTARTS = {
    "quickstart.py": (quickstart.stages, WORLD, WAVES),
    "quickstart_whisper.py": (quickstart_whisper.stages, SLOWER, HARDER),
}
PEAK = 1e-2  # of the adapter, five times that of the whole model
# What no stage before has trained trains in full, at the rate of the whole model: the tables, because the text next to
# speech has ids of its own, and what makes speech of what the LLM has said, as in the paper's pre-alignment.
FULL = ("backbone/embed/", "speech_embedder/", "refined_head/")


def get_config() -> ConfigDict:
    """Returns a config of that one stage, from the model in `model.init_from`."""
    stages, world, waves = QUICKSTARTS[quickstart_config(QUICKSTART)]
    full = stages()["speak"]
    optimizer = dataclasses.replace(
        full.optimizer,
        peak=PEAK,
        floor=PEAK / 20,
        rates=tuple(f"{part}={full.optimizer.peak / PEAK}" for part in FULL),
    )
    speak = dataclasses.replace(full, optimizer=optimizer, lora=LoraConfig(("llm",)), trainable=FULL)
    data = dataclasses.replace(DATA, world=world, waves=waves, unit_codec=None)  # the model brings its codec
    return base.config({"dtype": "float32", "unroll_layers": True}, {"speak": speak}, data=data)
