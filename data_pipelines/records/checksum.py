"""A checksum of rows that does not depend on the files that hold them."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def rows_checksum(splits: Mapping[str, Sequence[Any]]) -> str:
    """16 hexadecimal digits from every field of every row, in the order of the splits' names and of their rows.

    Args:
      splits: rows by split; a row is a dataclass of strings, numbers, arrays and None.
    """
    whole = hashlib.sha256()
    for split in sorted(splits):
        whole.update(f"{split} {len(splits[split])}\n".encode())
        for row in splits[split]:
            for field in dataclasses.fields(row):
                value = getattr(row, field.name)
                if isinstance(value, np.ndarray):
                    whole.update(f"{field.name} {value.dtype} {value.shape}\n".encode())
                    whole.update(np.ascontiguousarray(value).data)
                else:
                    whole.update(f"{field.name} {value!r}\n".encode())
    return whole.hexdigest()[:16]
