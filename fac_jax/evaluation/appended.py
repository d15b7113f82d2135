"""Files of JSON lines that grow while a run works, and that a run killed in the middle of a line leaves usable."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        """Reads a file and opens it for appending; the file and its folder are made if absent.

        Raises:
          InputError: as `read_lines`.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = read_lines(path) if path.exists() else []
        self._file = path.open("ab")
        self._lock = threading.Lock()
        if self._file.tell():
            self._end_last_line(path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one line and hands it to the system, so that it outlives this process."""
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", errors="surrogatepass") + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _end_last_line(self, path: Path) -> None:
        """Gives a whole last line its end, and cuts off half a line, so that the next line stands alone."""
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole == len(data):
            return
        if _object(data[whole:]) is None:
            self._file.truncate(whole)
        else:
            self._file.write(b"\n")
            self._file.flush()


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
