"""The file of rejected rows, and the totals of a file."""

import collections
import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from data_pipelines.records.record import Record
from data_pipelines.records.reject import Reason, Rejected
from data_pipelines.records.validate import seconds
from fac_jax.types import InputError


@dataclasses.dataclass
class Account:
    """Totals of the rows read so far.

    Attributes:
      good: rows that can be trained on.
      bad: rejected rows, by reason.
      seconds: seconds of audio in the good rows, heard and spoken.
    """

    good: int = 0
    bad: collections.Counter[Reason] = dataclasses.field(default_factory=collections.Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        """The totals on one line."""
        return account_line(self.good, dict(sorted(self.bad.items())), self.seconds / 3600)


def account_line(good: int, bad: Mapping[str, int], hours: float) -> str:
    """Numbers of good and bad rows, the bad ones by reason, and hours of audio, on one line."""
    return f"{rows_line(good, bad)}, hours {hours:.3f}"


def rows_line(good: int, bad: Mapping[str, int]) -> str:
    """`account_line` without the hours."""
    rejected = sum(bad.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in bad.items())
    return f"rows {good + rejected}, good {good}, bad {rejected}{f' ({reasons})' if bad else ''}"


def entry(bad: Rejected) -> dict[str, str | int | None]:
    """A rejected row as a line of quarantine.jsonl holds it."""
    return {"id": bad.id, "file": bad.file, "line": bad.line, "reason": bad.reason.value, "detail": bad.detail}


def quarantined(
    rows: Iterable[Record | Rejected], file: str | os.PathLike[str] | None, account: Account
) -> Iterator[Record | Rejected]:
    """Passes rows through, counts them, and writes the bad ones into a file, which appears when all have passed.

    Args:
      rows: what `validate` yields.
      file: JSONL, one object for each bad row (`entry`); replaced if it exists. None only counts.
      account: updated with every row.

    Raises:
      InputError: the file cannot be written.
    """
    with contextlib.nullcontext() if file is None else _lines(Path(file)) as out:
        for row in rows:
            if isinstance(row, Rejected):
                account.bad[row.reason] += 1
                if out is not None:
                    out.write(json.dumps(entry(row), ensure_ascii=False) + "\n")
            else:
                account.good += 1
                account.seconds += seconds(row)
            yield row


@contextlib.contextmanager
def _lines(file: Path) -> Iterator[IO[str]]:
    """A text file to write, which takes its name when the context is left without an exception."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        out = temporary.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    try:
        with out:
            yield out
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
