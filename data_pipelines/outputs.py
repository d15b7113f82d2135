"""Checks of where a launcher writes, made before its work."""

import os
import tempfile
from pathlib import Path

from fac_jax.types import InputError


def check_output(option: str, path: str | os.PathLike[str]) -> None:
    """Raises InputError if no file or folder can be written at `path`.

    The nearest folder that exists is tried with a temporary file; nothing is created.

    Args:
      option: name of the command-line option, for the message.
      path: file or folder that will be written, with its parents if they are absent.
    """
    if not os.fspath(path):
        raise InputError(f"{option} is empty: name what to write")
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    if place.is_file() and place != Path(path).absolute():
        raise InputError(f"{option}={path}: {place} is a file, not a folder")
    try:
        tempfile.TemporaryFile(dir=place if place.is_dir() else place.parent).close()
    except OSError as error:
        raise InputError(f"{option}={path}: cannot be written: {error.strerror}") from None


def check_output_file(option: str, path: str | os.PathLike[str], ending: str = "") -> None:
    """As `check_output` for one file: also refuses a folder, and a name without `ending`."""
    check_output(option, path)
    if Path(path).is_dir():
        raise InputError(f"{option}={path}: is a folder; name a file")
    if not str(path).endswith(ending):
        raise InputError(f"{option}={path}: the file is written as {ending}; name one that ends so")
