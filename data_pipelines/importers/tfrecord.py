"""TFRecord files, read one after the other without TensorFlow."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fac_jax.types import InputError

HEAD: Final = struct.Struct("<QI")  # length of what follows, checksum of the length
FOOT: Final = 4  # bytes of a checksum


def records(file: Path) -> Iterator[bytes]:
    """Yields the records of a file. Checksums are ignored: a damaged record fails to parse as `tf.train.Example`.

    Raises:
      InputError: the file cannot be read, or ends within a record.
    """
    try:
        with file.open("rb") as opened:
            while head := opened.read(HEAD.size):
                size = HEAD.unpack(head)[0] if len(head) == HEAD.size else 0
                data = opened.read(size + FOOT)
                if len(head) < HEAD.size or len(data) < size + FOOT:
                    raise InputError(f"{file}: ends within a record; copy it again")
                yield data[:size]
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
