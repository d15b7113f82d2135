"""What the viewer shows: samples of the toy world, and the tokenizer, codec and grid that samples are seen with."""

import dataclasses
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.worlds import pair_builder
from data_pipelines.worlds.builder import AUDIOS, TEXTS, records, row_of
from data_pipelines.worlds.pair_builder import pair_of
from data_pipelines.worlds.pairs import pair_conversations
from data_pipelines.worlds.tasks import TASKS, conversations, fullest_task, has_task
from fac_jax.audio.io import RATE
from fac_jax.batching.conversation import Conversation, corpus
from fac_jax.batching.features import speech_tokens
from fac_jax.batching.model_grid import Grid, Windows
from fac_jax.codec.base import FILE as CODEC_FILE
from fac_jax.codec.base import TOKEN_RATE, Codec, load_codec
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.text.special_ids import SpecialIds
from fac_jax.text.tokenizer import FILE as TOKENIZER_FILE
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.types import PREFERENCE_TASKS, InputError

INFO: Final = "dataset_info.json"  # which tensorflow-datasets writes into the folder of a data set
VOCABULARY, UNITS = 512, 128  # of stand-ins, at most
TOKENS_A_UNIT: Final = 4  # at least, so that units are not the tokens themselves


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A row to look at.

    Attributes:
      conversation: without features.
      note: what the row says of itself, for the reader.
      row: id by which changes of what is heard are drawn; None for the conversation's.
    """

    conversation: Conversation
    note: str = ""
    row: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """What conversations are laid out with.

    Attributes:
      tokenizer: of texts.
      codec: of spoken replies; None where there is none.
      grid: of the model.
      words: what these are, for the reader.
    """

    tokenizer: Tokenizer
    codec: Codec | None
    grid: Grid
    words: str


def samples(path: Path, split: str, task: str, rows: int) -> list[Sample]:
    """The first rows of a split of the toy world, in the order of its files, in which they are mixed.

    Args:
      path: folder of a data set of `builder` or `pair_builder`, or one above that has a single data set in it.
      split: of the data set.
      task: those rows that have it, one of `TASKS` or of `PREFERENCE_TASKS`; "" for all rows, each as the task that
        shows most of it.
      rows: how many samples at most; a pair makes two.

    Raises:
      InputError: no data set there or several, one of another kind, without such a split or such rows.
    """
    folder = _data_set(path)
    builder = tfds.builder_from_directory(folder)
    features = set(cast(Mapping[str, Any], builder.info.features))
    kinds = [(read, known) for named, read, known in _KINDS if features == named]
    if not kinds:
        raise InputError(
            f"{folder}: neither questions with replies nor preference pairs: {', '.join(sorted(features))}"
        )
    read, known = kinds[0]
    if task and task not in known:
        raise InputError(f"unknown task {task!r} of {folder}; known: {', '.join(known)}")
    chosen = list(itertools.islice((s for record in records(builder, split) for s in read(record, task)), rows))
    if not chosen:
        raise InputError(f"{folder}: no row of the split {split!r}" + (f" has the task {task!r}" if task else ""))
    return chosen


def is_toy(path: Path) -> bool:
    """Whether a data set of `builder` or `pair_builder` is in a folder, or at most two folders below."""
    found = (folder.parent for depth in ("", "*/", "*/*/") for folder in path.glob(f"{depth}{INFO}"))
    return any(_features(folder) == named for folder in found for named, _, _ in _KINDS)


def _features(folder: Path) -> set[str]:
    try:
        described = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        return set(described["featuresDict"]["features"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _data_set(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such folder")
    found = sorted(file.parent for file in path.rglob(INFO))
    if not found:
        raise InputError(f"{path}: no data set in it ({INFO} is in none of its folders)")
    if len(found) > 1:
        raise InputError(f"{path}: {len(found)} data sets are in it; name one, as {found[0]}")
    return found[0]


def _of_row(record: Mapping[str, Any], task: str) -> Iterator[Sample]:
    row = row_of(record)
    name = task or fullest_task(row)
    if has_task(row, name):
        voice = f" ({row.voice})" if row.voice else ""
        yield Sample(conversations([row], name)[0], f"{row.kind}{voice}: {row.question} / {row.reply}")


def _of_pair(record: Mapping[str, Any], task: str) -> Iterator[Sample]:
    row = pair_of(record)
    if task in ("", row.task):
        noise = "" if row.snr_db is None else f", {row.snr_db:g} dB over noise"
        for side in pair_conversations(row):
            yield Sample(side, f"{row.task} ({row.voice}{noise}): {row.question}")


# Features of a data set, what makes samples of its records, the tasks there are.
_KINDS: Final = (
    ({*TEXTS, *AUDIOS}, _of_row, tuple(TASKS)),
    ({*pair_builder.TEXTS, *pair_builder.AUDIOS, "snr_db"}, _of_pair, PREFERENCE_TASKS),
)


def reader_of(model: Path) -> Reader:
    """Tokenizer, codec and grid of a finished model (WORKDIR/STAGE/model).

    Raises:
      InputError: there is none, or a file of it is damaged.
    """
    file = model / "config.json"
    if not file.is_file():
        raise InputError(f"{model}: no finished model, {file.name} is not there; name WORKDIR/STAGE/model")
    try:
        values: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        special = SpecialIds(**values["special"])
        grid = Grid(
            vocab_size=values["vocab_size"],
            units=min(special.speech_bos, special.speech_eos, special.speech_pad),
            special=special,
            group_size=values["group_size"],
            delay_groups=values["delay_groups"],
            audio=Windows(values["audio"]["n_window"]),
            user_audio=values.get("user_audio", "waveform"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not the config of a finished model ({error}); name WORKDIR/STAGE/model") from error
    tokenizer = Tokenizer.load(model / TOKENIZER_FILE)
    codec = load_codec(model / "codec") if (model / "codec" / CODEC_FILE).is_file() else None
    return Reader(tokenizer, codec, grid, f"Tokenizer, codec and grid of {model}.")


def stand_ins(chosen: Sequence[Sample]) -> Reader:
    """A tokenizer and a codec fitted on the samples themselves, on the release's grid, where no model is named yet.

    Raises:
      InputError: a reply shorter than one speech token; names the row.
    """
    found = [sample.conversation for sample in chosen]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(corpus({"": found}), VOCABULARY, Path(folder) / TOKENIZER_FILE)
    waves: dict[bytes, np.ndarray] = {}  # a reply that comes twice has nothing new for a codec
    known = 0  # ids of replies that bring tokens
    for conversation in found:
        for turn in conversation.turns:
            if turn.speech is not None:
                known = max(known, 1 + int(np.max(turn.speech)))
            elif turn.role == "assistant" and turn.wave is not None:
                speech_tokens(conversation.id, turn)
                waves[turn.wave.tobytes()] = turn.wave
    tokens = sum(len(wave) * TOKEN_RATE // RATE for wave in waves.values())
    fitted = min(UNITS, max(1, tokens // TOKENS_A_UNIT))
    codec = UnitCodec.fit(list(waves.values()), UnitCodecConfig(fitted)) if waves else None
    units = max(fitted, known)
    grid = Grid(tokenizer.vocab_size, units, tokenizer.special_ids(units))
    words = "Tokenizer and codec are stand-ins fitted on these rows; --model names real ones."
    return Reader(tokenizer, codec, grid, words)
