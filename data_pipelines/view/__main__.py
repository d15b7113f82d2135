"""A page to look at data before it is trained on: players, spectrograms with their tokens, text, loss masks.

    python -m data_pipelines.view PATH --out page.html [--rows 20] [--model RUN/STAGE/model]
        [--format release] [--audio_root FOLDER] [--view tts] [--split train] [--task empathy]
        [--augment '{"noise": {"snr_db": [3, 15]}}' --epoch 1]

PATH is any file or folder that the importers read: users' rows, a prepared folder, the toy world.
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from data_pipelines.augment.wave import WaveAugmentConfig, augment_waves
from data_pipelines.importers.registry import FORMATS
from data_pipelines.records.reject import told
from data_pipelines.view.page import laid_out, render, totals
from data_pipelines.view.records import record_samples
from data_pipelines.view.samples import Sample, reader_of, stand_ins
from fac_jax import cli
from fac_jax.config import from_tree
from fac_jax.io import write_text
from fac_jax.types import InputError

OUT = flags.DEFINE_string("out", None, "The page to write.", required=True)
ROWS = flags.DEFINE_integer("rows", 20, "How many rows are shown.", lower_bound=1)
FORMAT = flags.DEFINE_string("format", None, f"One of {', '.join(FORMATS)}; left out, it is told by the path.")
ROOT = flags.DEFINE_string("audio_root", None, "Where audio paths start; left out, the folder of PATH.")
VIEW = flags.DEFINE_string("view", "asr", "Recordings: asr hears them, tts speaks them; the toy world: the task.")
SPLIT = flags.DEFINE_string("split", None, "Split of a folder of several; train, or all of a tfds set, if left out.")
TASK = flags.DEFINE_string("task", "", "Only preference pairs of this task; without it, all rows.")
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
    return from_tree(WaveAugmentConfig, values, "augment")


def _changed(sample: Sample, changes: WaveAugmentConfig) -> Sample:
    heard = augment_waves(sample.conversation, changes, SEED.value, EPOCH.value, sample.row)
    return dataclasses.replace(sample, conversation=heard)


def main(path: str) -> None:
    """The command.

    Args:
      path: file or folder of rows.
    """
    changes = _changes(AUGMENT.value)
    given = reader_of(Path(MODEL.value)) if MODEL.value else None
    options = (FORMAT.value, ROOT.value, VIEW.value, SPLIT.value)
    plain, refused = record_samples(Path(path), ROWS.value, TASK.value, *options, given)
    chosen = [_changed(sample, changes) for sample in plain]
    reader = given or stand_ins(chosen)
    found = laid_out(chosen, reader)
    write_text(OUT.value, render(f"{path}: {SPLIT.value}" if SPLIT.value else path, found, reader))
    for bad in refused:
        print(told(bad))
    for name, value in totals(found).items():
        print(f"{name:10s} {value}")
    print(f"look: {OUT.value}")


if __name__ == "__main__":
    cli.run(main, "no page was written")
