"""What preparation does to a row: data that travels to every process, and what is loaded from it there."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data_pipelines.prepare.word_errors import Judge, WordFilter
from data_pipelines.records.validate import S3_UNITS, EstimatedText, Limits
from fac_jax.codec.base import Codec, load_codec
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError, UserAudio

SPLIT: Final = re.compile(r"([a-z][a-z0-9_]*)(?:=([0-9]{1,9}))?")
ROWS_PER_SHARD: Final = 512  # of 15 s each about 130 MB


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows to be prepared.

    Attributes:
      path: file or folder.
      format: key of `importers.registry.FORMATS`.
      root: where audio paths that are not absolute start; None for the importer's choice.
      view: one of `importers.registry.VIEWS[format]`.
      split: of a folder of several; None for all.
    """

    path: str
    format: str
    root: str | None = None
    view: str = "asr"
    split: str | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """What preparation depends on besides the rows.

    Attributes:
      splits: names with the weights of their shares of the rows.
      rows_per_shard: rows read for a shard; those refused leave it smaller.
      context: most LLM positions of a conversation.
      units: ids of the codec, where no codec is given.
      group_size: G.
      codec: folder of the codec that encodes speech without tokens; None if there is none.
      user_audio: of the model: replies alone need tokens, or what users say as well.
      tokenizer: `tokenizer.json` or its folder; None estimates lengths.
      words: keeps rows whose speech a recogniser understands; None keeps all.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 1),)
    rows_per_shard: int = ROWS_PER_SHARD
    context: int = 2048
    units: int = S3_UNITS
    group_size: int = 5
    codec: str | None = None
    user_audio: UserAudio = "waveform"
    tokenizer: str | None = None
    words: WordFilter | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Tools:
    """Settings, loaded.

    Attributes:
      limits: of rows.
      codec: None if there is none.
      judge: None if all words are kept.
      user_audio: of the settings.
    """

    limits: Limits
    codec: Codec | None
    judge: Judge | None
    user_audio: UserAudio = "waveform"


def splits(words: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Names and weights out of `train=98`.

    Raises:
      InputError: a name or a weight is none, or a name comes twice.
    """
    found = [SPLIT.fullmatch(word) for word in words]
    named = tuple((match[1], int(match[2] or 1)) for match in found if match)
    names = {name for name, weight in named if weight and name != "all"}
    if not words or len(names) < len(words):
        raise InputError(f"--split={','.join(words)}: write names with weights above 0, as train=98,dev=2; not all")
    return named


def load(settings: Settings) -> Tools:
    """Loads the codec, the tokenizer and the recogniser.

    Raises:
      InputError: one of them is not there.
    """
    codec = None if settings.codec is None else load_codec(settings.codec)
    limits = Limits(
        context=settings.context,
        units=settings.units if codec is None else codec.units,
        group_size=settings.group_size,
        tokenizer=EstimatedText() if settings.tokenizer is None else Tokenizer.load(settings.tokenizer),
    )
    judge = None if settings.words is None else Judge(settings.words)
    return Tools(limits, codec, judge, settings.user_audio)


def digest(path: str | None) -> str | None:
    """A checksum of a file, or of the names and contents of a folder's files; None for None."""
    if path is None:
        return None
    whole = hashlib.sha256()
    base = Path(path)
    files = [base] if base.is_file() else sorted(file for file in base.rglob("*") if file.is_file())
    for file in files:
        with file.open("rb") as opened:
            whole.update(f"{file.relative_to(base)} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:16]
