"""Scores of written replies: exact match and word error rate, both after Whisper's English normalisation.

The normaliser writes numbers as digits ("three plus four" becomes "3 +4"), converts to lower case and removes
punctuation. Operators in words are kept; the bare signs "+" and "-" between digits are lost.
"""

import functools
from collections.abc import Sequence

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer


@functools.cache
def _normalizer() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


def normalize(text: str) -> str:
    """Returns `text` after Whisper's English normalisation, which all scores apply."""
    return _normalizer()(text)


def exact_match(reference: str, hypothesis: str) -> bool:
    """Returns whether both texts are equal after normalisation. An empty hypothesis matches nothing."""
    found = normalize(hypothesis)
    return bool(found) and found == normalize(reference)


def accuracy(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Returns the share of exact matches, in [0, 1].

    Raises:
      ValueError: there are no pairs, or the lists have different lengths.
    """
    if not references:
        raise ValueError("accuracy of no pairs")
    return sum(exact_match(r, h) for r, h in zip(references, hypotheses, strict=True)) / len(references)


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Returns the edits of all pairs divided by the words of all references; 0 is perfect, and it may exceed 1.

    Raises:
      ValueError: the lists have different lengths, or a reference is empty after normalisation.
    """
    return jiwer.wer([normalize(r) for r in references], [normalize(h) for h in hypotheses])
