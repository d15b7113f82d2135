"""What all scorers share: rule sets, and what a scorer says about one reply."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

Row: TypeAlias = Mapping[str, Any]
Rules: TypeAlias = Literal["official", "evalkit", "ultraeval", "strict"]
RULES: Final = ("official", "evalkit", "ultraeval", "strict")


class RowRefusedError(ValueError):
    """The official code stops at this row; here the row is refused, and all others are scored."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a scorer says about one reply.

    Attributes:
      points: points in the unit of the benchmark's value; None for a row that is not scored.
      cause: why the row is not scored, in one or two words such as "unparsed"; None for a scored row.
      detail: what the report shows of the row, such as the letter that was read.
    """

    points: float | None
    cause: str | None = None
    detail: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        assert (self.points is None) == (self.cause is not None), "a row is scored, or has a cause why it is not"
