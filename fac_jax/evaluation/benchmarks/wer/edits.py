"""Edit distances between token lists, and the error rate of a corpus."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from rapidfuzz.distance import Levenshtein

Tokenizer: TypeAlias = Callable[[str], list[str]]


@dataclasses.dataclass(frozen=True)
class RowErrors:
    """How a hypothesis differs from its reference.

    The split into substitutions, deletions and insertions is not kept, as alignments of the same cost differ in it.

    Attributes:
      reference: tokens of the reference.
      hypothesis: tokens of the hypothesis.
      errors: least number of tokens to substitute, delete or insert, each at a cost of one.
    """

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    errors: int


@dataclasses.dataclass(frozen=True)
class ErrorRate:
    """Errors of a corpus.

    Attributes:
      errors: edits of all rows.
      reference_tokens: reference tokens of all rows.
      sentence_errors: number of rows with an error; as in compute-wer, none whose reference is empty.
      sentences: number of rows.
    """

    errors: int
    reference_tokens: int
    sentence_errors: int
    sentences: int

    @property
    def percent(self) -> float | None:
        """Errors in % of the reference tokens, above 100 if there are many insertions; None without such tokens."""
        return 100 * self.errors / self.reference_tokens if self.reference_tokens else None


def compare(reference: str, hypothesis: str, tokenizer: Tokenizer) -> RowErrors:
    """Returns how a hypothesis differs from its reference, both split by a tokenizer."""
    left, right = tokenizer(reference), tokenizer(hypothesis)
    return RowErrors(tuple(left), tuple(right), edit_distance(left, right))


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Returns the Levenshtein distance between two token lists, with unit costs."""
    return Levenshtein.distance(reference, hypothesis)


def corpus_error_rate(rows: Iterable[RowErrors]) -> ErrorRate:
    """Adds the rows of a corpus; a row whose reference is empty adds its insertions."""
    rows = list(rows)
    return ErrorRate(
        errors=sum(row.errors for row in rows),
        reference_tokens=sum(len(row.reference) for row in rows),
        sentence_errors=sum(row.errors > 0 and len(row.reference) > 0 for row in rows),
        sentences=len(rows),
    )
