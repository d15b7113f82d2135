"""A page to look at data before it is trained on: players, spectrograms with their tokens, text, loss masks.

python -m data_pipelines.view PATH --out page.html [--rows 20] [--split train] [--task s2s] [--model RUN/STAGE/model]
                              [--augment '{"noise": {"snr_db": [3, 15]}}' --epoch 1]
"""

import json
from pathlib import Path

from absl import flags

from data_pipelines.view_page import laid_out, render, totals
from data_pipelines.view_source import Sample, reader_of, samples, stand_ins
from data_pipelines.wave_augment import WaveAugmentConfig, augment_waves
from fac_jax import launch
from fac_jax.files import write_text
from fac_jax.types import InputError
from fac_jax.values import from_values

OUT = flags.DEFINE_string("out", None, "The page to write.", required=True)
ROWS = flags.DEFINE_integer("rows", 20, "How many rows are shown.", lower_bound=1)
SPLIT = flags.DEFINE_string("split", "train", "Split of the data set.")
TASK = flags.DEFINE_string("task", "", "Only rows that have this task; without it, all, as what shows most of them.")
AUGMENT = flags.DEFINE_string("augment", "{}", "Changes of what is heard: a WaveAugmentConfig as JSON.")
EPOCH = flags.DEFINE_integer("epoch", 0, "Epoch whose changes are drawn.", lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the changes.", lower_bound=0)
MODEL = flags.DEFINE_string("model", None, "A finished model whose tokenizer, codec and grid are used.")


def _changes(text: str) -> WaveAugmentConfig:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--augment={text}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f'--augment={text}: give an object of operations, as {{"noise": {{}}}}')
    return from_values(WaveAugmentConfig, values, "augment")


def main(path: str) -> None:
    """The command.

    Args:
      path: folder of a data set.
    """
    changes = _changes(AUGMENT.value)
    plain = samples(Path(path), SPLIT.value, TASK.value, ROWS.value)
    chosen = [Sample(augment_waves(s.conversation, changes, SEED.value, EPOCH.value), s.note) for s in plain]
    reader = reader_of(Path(MODEL.value)) if MODEL.value else stand_ins(chosen)
    found = laid_out(chosen, reader)
    write_text(OUT.value, render(f"{path}: {SPLIT.value}", found, reader))
    for name, value in totals(found).items():
        print(f"{name:10s} {value}")
    print(f"look: {OUT.value}")


if __name__ == "__main__":
    launch.run(main, "no page was written")
