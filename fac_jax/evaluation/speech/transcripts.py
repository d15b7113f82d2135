"""Scores of written replies: exact match and word error rate, both after Whisper's English normalisation.

The normaliser writes numbers as digits ("three plus four" becomes "3 +4"), lowers case and drops punctuation: spelled
operators stay apart, bare signs "+" and "-" between digits are lost.
"""

import functools
from collections.abc import Sequence

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer


@functools.cache
def _normalizer() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


def normalize(text: str) -> str:
    """`text` as the scores see it."""
    return _normalizer()(text)


def exact_match(reference: str, hypothesis: str) -> bool:
    """Whether both texts are equal after normalisation. An empty hypothesis matches nothing."""
    found = normalize(hypothesis)
    return bool(found) and found == normalize(reference)


def accuracy(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Share of exact matches, in [0, 1].

    Raises:
      ValueError: no pairs, or lists of different length.
    """
    if not references:
        raise ValueError("accuracy of no pairs")
    return sum(exact_match(r, h) for r, h in zip(references, hypotheses, strict=True)) / len(references)


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Edits over reference words, all pairs together; 0 is perfect and more than 1 is possible.

    Raises:
      ValueError: lists of different length, or a reference that is empty after normalisation.
    """
    return jiwer.wer([normalize(r) for r in references], [normalize(h) for h in hypotheses])
