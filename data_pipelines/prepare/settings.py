"""Settings of a preparation, which are sent to every process, and the tools that a process loads from them.

One of these judges synthesised speech by the word error rate of a recogniser.
"""

import dataclasses
import hashlib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import jiwer
import numpy as np
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from data_pipelines.records.validate import S3_UNITS, EstimatedText, Limits
from fac_jax.codec.base import Codec, load_codec
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError, UserAudio

# Returns the text of each wave, float32 `[N]` at 16 kHz.
Recogniser: TypeAlias = Callable[[Sequence[np.ndarray]], Sequence[str]]
SCORINGS: Final[Mapping[str, Callable[[], Callable[[str], str]]]] = {
    "english": EnglishTextNormalizer,
    "words": BasicTextNormalizer,
    "letters": lambda: BasicTextNormalizer(split_letters=True),  # languages without blanks
}
SPLIT: Final = re.compile(r"([a-z][a-z0-9_]*)(?:=([0-9]{1,9}))?")
ROWS_PER_SHARD: Final = 512  # of 15 s each about 130 MB


@dataclasses.dataclass(frozen=True)
class WordFilter:
    """Settings of the filter.

    Attributes:
      recogniser: `module:function`, a `Recogniser`.
      most: word error rate above which a row is rejected.
      speakers: roles whose speech was synthesised.
      scoring: key of `SCORINGS`: how texts are normalised and cut into words.
    """

    recogniser: str
    most: float
    speakers: tuple[str, ...] = ("user", "assistant")
    scoring: str = "english"


class Judge:
    """A filter with its recogniser loaded."""

    def __init__(self, words: WordFilter) -> None:
        """Imports the recogniser.

        Raises:
          InputError: the recogniser cannot be imported, or the scoring is unknown.
        """
        if words.scoring not in SCORINGS:
            raise InputError(f"unknown scoring {words.scoring!r}; known: {', '.join(SCORINGS)}")
        self.words = words
        self._clean = SCORINGS[words.scoring]()
        module, _, function = words.recogniser.partition(":")
        try:
            self._hear: Recogniser = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            name = words.recogniser
            raise InputError(f"recogniser {name!r} cannot be imported ({error}); write module:function") from None

    def rates(self, waves: Sequence[np.ndarray], texts: Sequence[str]) -> list[float]:
        """Word error rate of every wave against its text; `can_judge` must hold for the texts.

        Raises:
          InputError: the recogniser gives another number of texts.
        """
        order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
        heard = list(self._hear([waves[i] for i in order]))
        if len(heard) != len(waves):
            name = self.words.recogniser
            raise InputError(f"recogniser {name} heard {len(heard)} texts in {len(waves)} waves; it must give one each")
        by_wave = dict(zip(order, heard, strict=True))
        return [jiwer.wer(self._clean(text), self._clean(by_wave[i])) for i, text in enumerate(texts)]

    def can_judge(self, text: str) -> bool:
        """Whether a text has words after normalisation."""
        return bool(self._clean(text).strip())


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows to be prepared.

    Attributes:
      path: file or folder.
      format: key of `importers.registry.FORMATS`.
      root: folder of relative audio paths; None for the importer's choice.
      view: one of `importers.registry.VIEWS[format]`.
      split: split of a folder with several; None for all.
    """

    path: str
    format: str
    root: str | None = None
    view: str = "asr"
    split: str | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that a preparation depends on besides the rows.

    Attributes:
      splits: names of splits with their weights.
      rows_per_shard: rows read for a shard; a shard with rejected rows is smaller.
      context: most LLM positions of a conversation.
      units: ids of the codec if `codec` is None.
      group_size: G.
      codec: folder of the codec that encodes speech without tokens; None for no codec.
      user_audio: what the model hears: with "waveform" only replies need tokens, with "tokens" user audio does too.
      tokenizer: `tokenizer.json` or its folder; None estimates lengths.
      words: keeps rows whose speech a recogniser understands; None keeps all rows.
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
    """The tools that settings name, loaded."""

    limits: Limits
    codec: Codec | None
    judge: Judge | None
    user_audio: UserAudio = "waveform"


def splits(words: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Parses split names and weights, as `train=98`.

    Raises:
      InputError: a name or weight is invalid, or a name occurs twice.
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
      InputError: one of them does not exist.
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
