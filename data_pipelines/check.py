"""Checks the rows of a file before training: one line for each bad row, a warning for each suspicious one, and totals.

    python -m data_pipelines.check PATH [--quarantine q.jsonl] [--format release] [--context 2048] [--tokenizer FOLDER]

The exit code is 0 if the file could be read, however many rows are bad. It is 2 if the file cannot be read, or if its
format is unknown or cannot be recognised.
"""

import collections
from pathlib import Path

from absl import flags

from data_pipelines.importers.registry import FORMATS, count, read
from data_pipelines.paths import check_output_file, data_path
from data_pipelines.records.reject import Account, Rejected, formatted, one_line, quarantined
from data_pipelines.records.validate import S3_UNITS, EstimatedText, Limits, lint, validate
from fac_jax import cli
from fac_jax.progress import passing
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

_QUARANTINE = flags.DEFINE_string("quarantine", None, "JSONL file that gets the bad rows; not written if absent")
_FORMAT = flags.DEFINE_string("format", None, f"one of {', '.join(FORMATS)}; recognised from the file if absent")
_CONTEXT = flags.DEFINE_integer("context", 2048, "most LLM positions of a conversation", lower_bound=1)
_UNITS = flags.DEFINE_integer("units", S3_UNITS, "ids of the codec", lower_bound=1)
_GROUP_SIZE = flags.DEFINE_integer("group_size", 5, "speech tokens of a LLM position", lower_bound=1)
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "tokenizer.json or its folder; lengths are estimated if absent")
_ROOT = flags.DEFINE_string("audio_root", None, "folder of relative audio paths; the folder of PATH if absent")
_VIEW = flags.DEFINE_string("view", "asr", "recordings: asr hears them, tts speaks them; toy_world: the task")


def main(path: str) -> None:
    """Checks the rows of PATH."""
    limits = Limits(
        context=_CONTEXT.value,
        units=_UNITS.value,
        group_size=_GROUP_SIZE.value,
        tokenizer=Tokenizer.load(_TOKENIZER.value) if _TOKENIZER.value else EstimatedText(),
    )
    quarantine = _QUARANTINE.value
    if quarantine is not None:
        check_output_file("--quarantine", quarantine)
        if Path(quarantine).resolve() == Path(path).resolve():
            raise InputError(f"--quarantine={path} is the file to be checked: name another")
    account, warnings = Account(), collections.Counter[str]()
    rows = validate(read(path, _FORMAT.value, _ROOT.value, _VIEW.value), limits)
    for row in passing("rows", count(data_path(path)))(quarantined(rows, quarantine, account)):
        if isinstance(row, Rejected):
            print(formatted(row))
            continue
        for name, detail in lint(row):
            warnings[name] += 1
            print(f"warning: {one_line(row.id)}: {name}: {detail}")
    print(account)
    if warnings:
        print(f"warnings {warnings.total()} ({', '.join(f'{name} {n}' for name, n in sorted(warnings.items()))})")


if __name__ == "__main__":
    cli.run(main, interrupted="nothing was written; the same command starts again")
