"""Small files that are never seen half-written."""

import os
from pathlib import Path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 beside `path` and renames it; its folder is made if absent.

    Names of files that are no UTF-8 come through as the bytes they are (`surrogateescape`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.write_text(text, encoding="utf-8", errors="surrogateescape")
    beside.replace(path)
