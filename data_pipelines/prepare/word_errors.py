"""Filter of synthesised speech by the word error rate of a recogniser."""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import jiwer
import numpy as np
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from fac_jax.types import InputError

SCORINGS: Final[Mapping[str, Callable[[], Callable[[str], str]]]] = {
    "english": EnglishTextNormalizer,
    "words": BasicTextNormalizer,
    "letters": lambda: BasicTextNormalizer(split_letters=True),  # languages without blanks
}


class Recogniser(Protocol):
    """A function that recognises speech."""

    def __call__(self, waves: Sequence[np.ndarray]) -> Sequence[str]:
        """Returns the text of each wave, float32 `[N]` at 16 kHz."""
        ...


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
        self._hear = recogniser(words.recogniser)

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
        clean = _normalizer(self.words.scoring)
        return [jiwer.wer(clean(text), clean(by_wave[i])) for i, text in enumerate(texts)]

    def can_judge(self, text: str) -> bool:
        """Whether a text has words after normalisation."""
        return bool(_normalizer(self.words.scoring)(text).strip())


def recogniser(name: str) -> Recogniser:
    """Imports the function that `module:function` names.

    Raises:
      InputError: it cannot be imported.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"recogniser {name!r} cannot be imported ({error}); write module:function") from None


@functools.cache
def _normalizer(scoring: str) -> Callable[[str], str]:
    return SCORINGS[scoring]()
