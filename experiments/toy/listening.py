"""What an open recogniser writes down of spoken replies, word by word, and how good they sound (DNSMOS)."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jiwer
import numpy as np

from data_pipelines.worlds.arithmetic import NUMBERS
from fac_jax.audio.io import RATE

Recogniser: TypeAlias = Callable[[np.ndarray], str]  # float32 `[N]` at 16 kHz -> text
Judge: TypeAlias = Callable[[np.ndarray], float]
SILENCE = np.zeros(int(0.3 * RATE), np.float32)  # around a reply: a recogniser of recordings expects some
SIGNS = {"+": " plus ", "-": " minus ", "−": " minus ", "=": " is "}


@dataclasses.dataclass(frozen=True)
class Listened:
    """What was heard of some replies.

    Attributes:
      word_error_rate: edits over words.
      words: share of the replies in which the word at each place was heard.
      mos: mean DNSMOS (1 to 5); None where it was not asked for.
    """

    word_error_rate: float
    words: tuple[float, ...]
    mos: float | None = None


def listen(
    waves: Sequence[np.ndarray], texts: Sequence[str], recogniser: Recogniser, judge: Judge | None = None
) -> Listened:
    """Compares what a recogniser writes down of waves at 16 kHz with what they say.

    The places of words are counted in the replies that have the most frequent number of words.

    Raises:
      ValueError: there are no waves.
    """
    padded = [np.concatenate([SILENCE, wave, SILENCE]).astype(np.float32) for wave in waves]
    said = [as_words(text) for text in texts]
    found = jiwer.process_words(said, [as_words(recogniser(wave)) for wave in padded])
    count = int(np.bincount([len(words.split()) for words in said]).argmax())
    heard = [
        {place for one in alignment if one.type == "equal" for place in range(one.ref_start_idx, one.ref_end_idx)}
        for alignment, words in zip(found.alignments, said, strict=True)
        if len(words.split()) == count
    ]
    shares = tuple(float(np.mean([place in places for places in heard])) for place in range(count))
    mos = None if judge is None else float(np.mean([judge(wave) for wave in padded]))
    return Listened(found.wer, shares, mos)


def as_words(text: str) -> str:
    """Returns a text in lower case without punctuation, its numbers and signs as the words of the toy world."""
    for sign, word in SIGNS.items():
        text = text.replace(sign, word)
    text = re.sub(r"\d+", lambda found: f" {_number(found[0])} ", text.lower())
    return " ".join(re.findall(r"[a-z0-9']+", text))


def _number(digits: str) -> str:
    return NUMBERS[int(digits)] if int(digits) < len(NUMBERS) else digits
