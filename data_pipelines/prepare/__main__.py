"""Prepares rows for training: checks them, encodes speech and FLAC, and writes array_record shards.

    python -m data_pipelines.prepare SOURCE.. --out DIR [--format F] [--codec FOLDER] [--tokenizer FOLDER]
        [--user_audio tokens] [--processes N] [--split train=98,dev=2] [--max_wer 0.1 --recogniser module:function]

The same command resumes where it stopped. The exit code is 0 if all rows were read, however many are bad. It is 2 if a
source cannot be read, or if the folder was prepared with other settings.
"""

from pathlib import Path
from typing import cast, get_args

from absl import flags

from data_pipelines.importers.registry import FORMATS, check_options, format_of
from data_pipelines.paths import check_output, data_path, local_path
from data_pipelines.prepare import cluster, local
from data_pipelines.prepare.card import summary
from data_pipelines.prepare.settings import ROWS_PER_SHARD, SCORINGS, Settings, Source, WordFilter, splits
from data_pipelines.records.validate import ROLES, S3_UNITS
from fac_jax import cli
from fac_jax.types import InputError, UserAudio

_OUT = flags.DEFINE_string("out", None, "folder of the shards", required=True)
_FORMAT = flags.DEFINE_string("format", None, f"one of {', '.join(FORMATS)}; recognised from each source if absent")
_ROOT = flags.DEFINE_string("audio_root", None, "folder of relative audio paths; the folder of each source if absent")
_VIEW = flags.DEFINE_string("view", "asr", "recordings: asr hears them, tts speaks them; toy_world: the task")
_CODEC = flags.DEFINE_string("codec", None, "folder of the codec, for speech without tokens")
_USER_AUDIO = flags.DEFINE_enum(
    "user_audio",
    "waveform",
    get_args(UserAudio),
    "what the model hears; tokens encodes user audio too",
)
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "tokenizer.json or its folder; lengths are estimated if absent")
_SPLIT = flags.DEFINE_list("split", "train", "names of splits, with =WEIGHT if there are several")
_SHARD = flags.DEFINE_integer("rows_per_shard", ROWS_PER_SHARD, "rows read for a shard", lower_bound=1)
_CONTEXT = flags.DEFINE_integer("context", 2048, "most LLM positions of a conversation", lower_bound=1)
_UNITS = flags.DEFINE_integer("units", S3_UNITS, "ids of the codec, where no --codec is given", lower_bound=1)
_GROUP_SIZE = flags.DEFINE_integer("group_size", 5, "speech tokens of a LLM position", lower_bound=1)
_MAX_WER = flags.DEFINE_float("max_wer", None, "word error rate above which a row is dropped", lower_bound=0.0)
_RECOGNISER = flags.DEFINE_string("recogniser", None, "module:function, waves -> texts; with --max_wer")
_SYNTHESISED = flags.DEFINE_list("synthesised", ",".join(ROLES), "whose speech is judged by --max_wer")
_SCORING = flags.DEFINE_enum("scoring", "english", list(SCORINGS), "how texts are cut into words for --max_wer")
_PROCESSES = flags.DEFINE_integer("processes", 1, "processes that run at a time", lower_bound=1)
_BEAM = flags.DEFINE_string("beam", None, 'prepare with Apache Beam: its options, "--runner=DirectRunner"')


def main(*source: str) -> None:
    """Prepares the rows of every SOURCE."""
    settings = Settings(
        splits=splits(_SPLIT.value),
        rows_per_shard=_SHARD.value,
        context=_CONTEXT.value,
        units=_UNITS.value,
        group_size=_GROUP_SIZE.value,
        codec=_CODEC.value,
        user_audio=cast(UserAudio, _USER_AUDIO.value),
        tokenizer=_TOKENIZER.value,
        words=_words(),
    )
    check_output("--out", local_path(_OUT.value, "shards are written by array_record, which needs a local folder"))
    sources = [Source(path, format_of(data_path(path), _FORMAT.value), _ROOT.value, _VIEW.value) for path in source]
    for one in sources:
        check_options(one.format, one.view, one.split)
    if _BEAM.value is None:
        card = local.prepare(sources, Path(_OUT.value), settings, _PROCESSES.value)
    else:
        card = cluster.prepare(sources, Path(_OUT.value), settings, _BEAM.value.split())
    print(summary(card))


def _words() -> WordFilter | None:
    recogniser, most = _RECOGNISER.value, _MAX_WER.value
    if (most is None) != (recogniser is None):
        raise InputError("--max_wer and --recogniser go together: give both or none")
    unknown = [who for who in _SYNTHESISED.value if who not in ROLES]
    if unknown:
        raise InputError(f"--synthesised={unknown[0]}: known: {', '.join(ROLES)}")
    if recogniser is None or most is None:
        return None
    return WordFilter(recogniser, most, tuple(_SYNTHESISED.value), _SCORING.value)


if __name__ == "__main__":
    cli.run(main, interrupted="finished shards are kept; the same command resumes")
