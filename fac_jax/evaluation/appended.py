"""Files of JSON lines that grow while a run works, and that a run killed in the middle of a line leaves usable."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from fac_jax.types import InputError


def read_lines(path: Path) -> list[dict[str, Any]]:
    r"""Reads a file of one JSON object a line, split at "\n" only.

    The end of a file that a killed run left in the middle of a line is ignored.

    Raises:
      InputError: another line is not a JSON object; names file and line.
    """
    *lines, last = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        row = _object(line)
        if row is None:
            raise InputError(f"{path}, line {number}: not a JSON object; repair or remove the line")
        rows.append(row)
    whole = _object(last)
    return rows if whole is None else [*rows, whole]


class AppendedLines:
    """A file of JSON lines to which one process at a time appends; threads may append at once.

    Attributes:
      rows: what the file held when it was opened; empty for a new file.
    """

    def __init__(self, path: Path) -> None:
        """Reads a file; it is opened, and with its folder made if absent, when the first line is appended.

        Raises:
          InputError: as `read_lines`.
        """
        self.rows = read_lines(path) if path.exists() else []
        self._path = path
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one line and hands it to the system, so that it outlives this process."""
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", errors="surrogatepass") + b"\n"
        with self._lock:
            if self._file is None:
                self._file = _opened(self._path)
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def _opened(path: Path) -> BinaryIO:
    """Opens a file for appending, after giving a whole last line its end and cutting off half a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    file = path.open("ab")
    if whole < len(data) and _object(data[whole:]) is None:
        file.truncate(whole)
    elif whole < len(data):
        file.write(b"\n")
    return file


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
