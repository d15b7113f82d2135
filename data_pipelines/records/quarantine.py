"""The file of refused rows, and the account of a file's rows."""

import collections
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from data_pipelines.records.record import Record
from data_pipelines.records.reject import Reason, Rejected
from data_pipelines.records.validate import seconds
from fac_jax.types import InputError


@dataclasses.dataclass
class Account:
    """What became of the rows so far.

    Attributes:
      good: rows that can be trained on.
      bad: the others, by reason.
      seconds: of audio in the good rows, heard and spoken.
    """

    good: int = 0
    bad: collections.Counter[Reason] = dataclasses.field(default_factory=collections.Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        """The account on one line."""
        return account_line(self.good, dict(sorted(self.bad.items())), self.seconds / 3600)


def account_line(good: int, bad: Mapping[str, int], hours: float) -> str:
    """What became of rows, the bad ones by reason, on one line."""
    return f"{rows_line(good, bad)}, hours {hours:.3f}"


def rows_line(good: int, bad: Mapping[str, int]) -> str:
    """`account_line` without the hours."""
    refused = sum(bad.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in bad.items())
    return f"rows {good + refused}, good {good}, bad {refused}{f' ({reasons})' if bad else ''}"


def entry(bad: Rejected) -> dict[str, str | int | None]:
    """A refused row as a line of quarantine.jsonl holds it."""
    return {"id": bad.id, "file": bad.file, "line": bad.line, "reason": bad.reason.value, "detail": bad.detail}


def quarantined(
    rows: Iterable[Record | Rejected], file: str | os.PathLike[str], account: Account
) -> Iterator[Record | Rejected]:
    """Passes the rows on, counts them, and writes the bad ones into a file, which appears when all have passed.

    Args:
      rows: of `validate`.
      file: JSONL, one object a bad row (`entry`); replaced if it exists.
      account: is kept up to date.

    Raises:
      InputError: the file cannot be written.
    """
    file = Path(file)
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        out = beside.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    try:
        with out:
            for row in rows:
                if isinstance(row, Rejected):
                    account.bad[row.reason] += 1
                    out.write(json.dumps(entry(row), ensure_ascii=False) + "\n")
                else:
                    account.good += 1
                    account.seconds += seconds(row)
                yield row
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
