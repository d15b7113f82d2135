"""Plug-ins that tests name: as a command (`python plugin_commands.py NAME LOG`) and as entries."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Rows = Iterable[Mapping[str, Any]]


def sizes(rows: Rows, unit: int = 1) -> Iterator[dict[str, Any]]:
    """Scores a file by its bytes, in units of so many, the last file first."""
    for row in reversed(list(rows)):
        yield {"id": row["id"], "score": Path(row["audio"]).stat().st_size / unit}


def lengths(rows: Rows) -> Iterator[dict[str, Any]]:
    """Gives each text a vector: its length, and 1."""
    return ({"id": row["id"], "vector": [len(row["text"]), 1]} for row in rows)


def _answers(name: str, rows: Rows) -> Iterator[dict[str, Any]]:
    for i, row in enumerate(rows):
        if name == "breaks" and i == 1:
            sys.exit("out of memory\nmodel lost")
        if name != "forgets" or i != 1:
            yield {"id": row["id"] if name != "strange" else "x", "text": None if name == "mute" else f"heard {i}"}
        if name == "babbles":
            print("loading model ..")


if __name__ == "__main__":
    _, name, log = sys.argv
    questions = (json.loads(line) for line in sys.stdin)
    with open(log, "a") as file:
        for one in _answers(name, questions):
            file.write(f"{one['id']}\n")
            print(json.dumps(one), flush=True)
