"""The file `judgements.jsonl`: every reply of a judge, written as it comes, so that none is paid twice."""

import collections
import dataclasses
import datetime
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fac_jax.evaluation.appended import AppendedLines
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Asked:
    """What makes two questions to a judge the same.

    Attributes:
      template: name of the prompt template.
      request_sha256: of template, fields, decoding and audio (`Request.sha256`).
      prompt_sha256: of the template's text.
      system_sha256: of the system prompt; None if there was none, or the record does not say.
      model: name of the judge at its host.
      base_url_host: host of the endpoint.
    """

    template: str
    request_sha256: str
    prompt_sha256: str
    system_sha256: str | None
    model: str
    base_url_host: str


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens that an endpoint counted: of questions, and of replies."""

    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out)


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of the file: replies that came together, and their tokens if the endpoint counted them."""

    asked: Asked
    replies: tuple[str, ...]
    usage: Usage | None = None

    @classmethod
    def parse(cls, row: Mapping[str, Any], where: str) -> "Record":
        """Reads a line.

        Raises:
          InputError: a key is missing or of another type; begins with `where`.
        """
        names = ("template", "request_sha256", "prompt_sha256", "model", "base_url_host")
        replies = row.get("replies")
        wrong = [name for name in names if not isinstance(row.get(name), str)]
        if not isinstance(replies, list) or not all(isinstance(one, str) for one in replies):
            wrong.append("replies")
        if wrong:
            raise InputError(f"{where}: no judgement: {wrong[0]} is missing or of another type")
        asked = Asked(**{name: row[name] for name in names}, system_sha256=row.get("system_sha256"))
        usage = row.get("usage")
        return cls(asked, tuple(row["replies"]), None if usage is None else Usage(**usage))

    def as_row(self) -> dict[str, Any]:
        """Returns the line, with the present time."""
        usage = None if self.usage is None else dataclasses.asdict(self.usage)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return {**dataclasses.asdict(self.asked), "replies": list(self.replies), "usage": usage, "time": now}


class Store:
    """Replies of an endpoint by what was asked, kept in a file; threads may use it at once."""

    def __init__(self, path: Path) -> None:
        """Opens `judgements.jsonl`, or makes it; half a line at its end, which a killed run leaves, is cut off.

        Raises:
          InputError: a line is no judgement; names file and line.
        """
        self._lines = AppendedLines(path)
        self._lock = threading.Lock()
        self._replies: dict[Asked, list[str]] = collections.defaultdict(list)
        self._usage: dict[tuple[str, str], Usage] = collections.defaultdict(Usage)
        for record in parsed(self._lines.rows, path):
            self._take(record)

    def replies(self, asked: Asked) -> tuple[str, ...]:
        """Returns all replies to a question, in the order in which they came."""
        with self._lock:
            return tuple(self._replies.get(asked, ()))

    def usage(self, model: str, host: str) -> Usage:
        """Returns the tokens of all replies of a judge that the file holds."""
        with self._lock:
            return self._usage.get((model, host), Usage())

    def add(self, record: Record) -> None:
        """Writes replies to the file, and gives them from now on."""
        self._lines.append(record.as_row())
        with self._lock:
            self._take(record)

    def _take(self, record: Record) -> None:
        self._replies[record.asked].extend(record.replies)
        if record.usage is not None:
            self._usage[record.asked.model, record.asked.base_url_host] += record.usage


def parsed(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Record]:
    """Reads the lines of a file of judgements; errors name file and line."""
    return [Record.parse(row, f"{path}, line {number}") for number, row in enumerate(rows, 1)]


def sets_of(replies: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Cuts the replies to one question into as many whole sets as they make; a rest is left out."""
    return [tuple(replies[i : i + size]) for i in range(0, len(replies) - size + 1, size)]
