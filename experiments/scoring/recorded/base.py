"""What says how a recorded folder is scored anew."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Context:
    """Where a recorded scorer finds what it needs besides its cases.

    Attributes:
      folder: the recorded folder itself.
      assets: folder of phrases.json and judge_prompts.json; None if there is none.
    """

    folder: Path
    assets: Path | None


@dataclasses.dataclass(frozen=True)
class Recorded:
    """How one recorded scorer is scored anew.

    Attributes:
      name: name of the scorer, as in `totals.json`.
      score: computes the outcomes of all cases, in their order, with the fields of `expected.jsonl` but "id".
      totals: computes from cases and their outcomes the compared keys of `totals.json`.
      info: fields of an outcome, and keys of the totals at any depth, that are not compared.
      info_of: fields of one expected outcome that are not compared.
      tolerance: greatest difference of floats, relative or absolute.
    """

    name: str
    score: Callable[[Sequence[Row], Context], Sequence[Row]]
    totals: Callable[[Sequence[Row], Sequence[Row]], Mapping[str, Any]] = lambda cases, outcomes: {}
    info: frozenset[str] = frozenset()
    info_of: Callable[[Row], frozenset[str]] = lambda expected: frozenset()
    tolerance: float = 1e-9
