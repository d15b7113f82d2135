"""What the viewer shows: samples, and the tokenizer, codec and grid that they are laid out with."""

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from data_pipelines.importers.registry import SPLIT, format_of, read
from data_pipelines.records.record import Record, to_example
from data_pipelines.records.reject import Rejected
from data_pipelines.records.validate import Limits, validate
from fac_jax.audio.io import RATE
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.features import speech_tokens
from fac_jax.checkpoint.export import load_config, resolve
from fac_jax.codec.base import FILE as CODEC_FILE
from fac_jax.codec.base import TOKEN_RATE, Codec, load_codec
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.models.config import ModelConfig
from fac_jax.models.presets import preset
from fac_jax.text.tokenizer import FILE as TOKENIZER_FILE
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.types import PREFERENCE_TASKS, InputError

VOCABULARY, UNITS = 512, 128  # of stand-ins, at most
TOKENS_A_UNIT: Final = 4  # at least, so that units are not the tokens themselves
ENDLESS = int(np.iinfo(np.int32).max)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A row to show, a note on it, and the id that decides the draws of augmentation (None: the conversation's)."""

    conversation: Conversation
    note: str = ""
    row: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """What conversations are encoded with, and words for it on the page."""

    tokenizer: Tokenizer
    codec: Codec | None
    grid: ModelConfig
    words: str


def reader_of(path: Path) -> Reader:
    """Loads tokenizer, codec and grid of a finished model, or of the last one in a workdir.

    Raises:
      InputError: there is no model, or one of its files is damaged.
    """
    model = Path(resolve(path))
    tokenizer = Tokenizer.load(model / TOKENIZER_FILE)
    codec = load_codec(model / "codec") if (model / "codec" / CODEC_FILE).is_file() else None
    return Reader(tokenizer, codec, load_config(model), f"Tokenizer, codec and grid of {model}.")


def stand_ins(chosen: Sequence[Sample]) -> Reader:
    """Fits a tokenizer and a codec on the samples, on the release's grid, for data without a model.

    Raises:
      InputError: a reply is shorter than one speech token; names the row.
    """
    found = [sample.conversation for sample in chosen]
    with tempfile.TemporaryDirectory() as folder:
        texts = (turn.text for conversation in found for turn in conversation.turns if turn.text)
        tokenizer = train_tokenizer(texts, VOCABULARY, Path(folder) / TOKENIZER_FILE)
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
    grid = preset("8b", vocab_size=tokenizer.vocab_size, special=tokenizer.special_ids(units))
    words = "Tokenizer and codec are stand-ins fitted on these rows; --model names real ones."
    return Reader(tokenizer, codec, grid, words)


def record_samples(
    path: Path,
    rows: int,
    task: str = "",
    format: str | None = None,
    root: str | None = None,
    view: str = "asr",
    split: str | None = None,
    reader: Reader | None = None,
) -> tuple[list[Sample], list[Rejected]]:
    """The first good rows of a path in order, a pair as two samples, and the rejected rows before the last of them.

    Raises:
      InputError: the path cannot be read, or holds no such rows.
    """
    if task not in ("", *PREFERENCE_TASKS):
        raise InputError(f"unknown task {task!r} of {path}; known: {', '.join(PREFERENCE_TASKS)}")
    chosen: list[Sample] = []
    refused: list[Rejected] = []
    for row in checked_rows(path, format, root, view, split, reader):
        if isinstance(row, Rejected):
            refused.append(row)
            continue
        chosen += _samples(row, task)
        if len(chosen) >= rows:
            break
    if not chosen:
        name = format_of(path, format)
        of = _split(name, split)
        where = f" of the split {of!r}" if name in SPLIT and of else ""
        bad = f"; {len(refused)} cannot be trained on, the first: {refused[0].detail}" if refused else ""
        raise InputError(f"{path}: no row{where} to look at" + (f" has the task {task!r}" if task else "") + bad)
    return chosen[:rows], refused


def checked_rows(
    path: Path,
    format: str | None = None,
    root: str | None = None,
    view: str = "asr",
    split: str | None = None,
    reader: Reader | None = None,
) -> Iterator[Record | Rejected]:
    """The checked rows of a path, those of "train" of a prepared folder; raises as `importers.registry.read`."""
    name = format_of(path, format)
    units = ENDLESS if reader is None else reader.grid.units
    rows = read(path, name, root, view, _split(name, split))
    return validate(rows, Limits(context=ENDLESS, units=units))


def _split(format: str, split: str | None) -> str | None:
    return "train" if format == "prepared" and split is None else split


def _samples(record: Record, task: str) -> Iterator[Sample]:
    where = f"{Path(record.file).name}:{record.line}"
    heard = [f'"{audio.transcript}"' for audio in record.audios if audio.transcript]
    if record.timing is not None:
        return
    example = to_example(record)
    if isinstance(example, Conversation):
        if not task:
            yield Sample(example, ", ".join([where, *heard]), record.id)
    elif task in ("", example.task):
        for side in (example.chosen, example.rejected):
            yield Sample(side, ", ".join([example.task, where, *heard]), record.id)
