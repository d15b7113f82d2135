"""Writes a page that shows data before training: players, spectrograms with their tokens, text, loss masks.

    python -m data_pipelines.view PATH --out page.html [--rows 20] [--model RUN/STAGE/model]
        [--format release] [--audio_root FOLDER] [--view tts] [--split train] [--task empathy]
        [--augment '{"noise": {"snr_db": [3, 15]}}' --epoch 1]

PATH is any file or folder that the importers read: users' rows, a prepared folder, the toy world.
"""

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

from data_pipelines.augment.wave import WaveAugmentConfig, augment_waves
from data_pipelines.importers.registry import FORMATS
from data_pipelines.paths import check_output_file, data_path
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected, formatted
from data_pipelines.view.blocks import laid_out, render, totals
from data_pipelines.view.calls import call_blocks, first_calls, reader_for, render_calls
from data_pipelines.view.samples import checked_rows, reader_of, record_samples, stand_ins
from fac_jax import cli
from fac_jax.config import from_tree
from fac_jax.io import write_text
from fac_jax.types import InputError

OUT = flags.DEFINE_string("out", None, "The page to write.", required=True)
ROWS = flags.DEFINE_integer("rows", 20, "How many rows are shown.", lower_bound=1)
FORMAT = flags.DEFINE_string("format", None, f"One of {', '.join(FORMATS)}; recognised from the path if absent.")
ROOT = flags.DEFINE_string("audio_root", None, "Folder of relative audio paths; the folder of PATH if absent.")
VIEW = flags.DEFINE_string("view", "asr", "Recordings: asr hears them, tts speaks them; the toy world: the task.")
SPLIT = flags.DEFINE_string("split", None, "Split of a folder with several; train, or all of a tfds set, if absent.")
TASK = flags.DEFINE_string("task", "", "Only preference pairs of this task; without it, all rows.")
AUGMENT = flags.DEFINE_string("augment", "{}", "Changes of what is heard: a WaveAugmentConfig as JSON.")
EPOCH = flags.DEFINE_integer("epoch", 0, "Epoch whose changes are drawn.", lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the changes.", lower_bound=0)
MODEL = flags.DEFINE_string("model", None, "Model or workdir whose tokenizer, codec and grid are used.")


def _changes(text: str) -> WaveAugmentConfig:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--augment={text}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f'--augment={text}: give an object of operations, as {{"noise": {{}}}}')
    return from_tree(WaveAugmentConfig, values, "augment")


def main(path: str) -> None:
    """Writes the page of the rows of PATH and prints its totals."""
    check_output_file("--out", OUT.value)
    changes = _changes(AUGMENT.value)
    given = reader_of(Path(MODEL.value)) if MODEL.value else None
    options = (FORMAT.value, ROOT.value, VIEW.value, SPLIT.value)
    split = f", split {SPLIT.value}" if SPLIT.value else ""
    first = next((row for row in checked_rows(data_path(path), *options, given) if isinstance(row, Record)), None)
    if first is not None and first.timing is not None:
        calls, refused = first_calls(checked_rows(data_path(path), *options, given), ROWS.value)
        reader = given or reader_for(calls)
        title = f"{Path(path).resolve().name}{split}: {len(calls)} {'call' if len(calls) == 1 else 'calls'}"
        _write(render_calls(title, call_blocks(calls, reader), reader), refused)
        return
    plain, refused = record_samples(data_path(path), ROWS.value, TASK.value, *options, given)
    heard = [augment_waves(one.conversation, changes, SEED.value, EPOCH.value, one.row) for one in plain]
    chosen = [dataclasses.replace(one, conversation=changed) for one, changed in zip(plain, heard, strict=True)]
    reader = given or stand_ins(chosen)
    found = laid_out(chosen, reader)
    title = f"{Path(path).resolve().name}{split}: {len(found)} {'row' if len(found) == 1 else 'rows'}"
    _write(render(title, found, reader), refused, totals(found))


def _write(page: str, refused: Sequence[Rejected], totals: Mapping[str, str] = types.MappingProxyType({})) -> None:
    write_text(OUT.value, page)
    for bad in refused:
        print(formatted(bad))
    for name, value in totals.items():
        print(f"{name:10s} {value}")
    print(f"look: {OUT.value}")


if __name__ == "__main__":
    cli.run(main, "no page was written")
