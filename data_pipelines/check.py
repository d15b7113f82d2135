"""Checks a file of rows before training: one line a bad row, its reasons into a file, an account at the end.

    python -m data_pipelines.check PATH --quarantine q.jsonl [--format release] [--context 2048] [--tokenizer FOLDER]

Exit code 0 if the file could be read at all, however many rows are bad; 2 for one that cannot be, an unknown format, or
one that cannot be told.
"""

from pathlib import Path

from absl import flags

from data_pipelines.importers.registry import FORMATS, count, read
from data_pipelines.records.quarantine import Account, quarantined
from data_pipelines.records.reject import Rejected, told
from data_pipelines.records.validate import S3_UNITS, EstimatedText, Limits, validate
from fac_jax import cli
from fac_jax.progress import passing
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

_QUARANTINE = flags.DEFINE_string("quarantine", None, "JSONL file for the bad rows", required=True)
_FORMAT = flags.DEFINE_string("format", None, f"one of {', '.join(FORMATS)}; left out, it is told by the file")
_CONTEXT = flags.DEFINE_integer("context", 2048, "most LLM positions of a conversation", lower_bound=1)
_UNITS = flags.DEFINE_integer("units", S3_UNITS, "ids of the codec", lower_bound=1)
_GROUP_SIZE = flags.DEFINE_integer("group_size", 5, "speech tokens of a LLM position", lower_bound=1)
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "tokenizer.json or its folder; left out, lengths are estimated")
_ROOT = flags.DEFINE_string("audio_root", None, "where audio paths start; left out, the folder of PATH")
_VIEW = flags.DEFINE_string("view", "asr", "recordings: asr hears them, tts speaks them; toy_world: the task")


def main(path: str) -> None:
    """Checks the rows of PATH."""
    limits = Limits(
        context=_CONTEXT.value,
        units=_UNITS.value,
        group_size=_GROUP_SIZE.value,
        tokenizer=Tokenizer.load(_TOKENIZER.value) if _TOKENIZER.value else EstimatedText(),
    )
    if Path(_QUARANTINE.value).resolve() == Path(path).resolve():
        raise InputError(f"--quarantine={path} is the file that is to be checked: name another")
    account = Account()
    rows = validate(read(path, _FORMAT.value, _ROOT.value, _VIEW.value), limits)
    for row in passing("rows", count(Path(path)))(quarantined(rows, _QUARANTINE.value, account)):
        if isinstance(row, Rejected):
            print(told(row))
    print(account)


if __name__ == "__main__":
    cli.run(main, interrupted="nothing was written; the same command begins anew")
