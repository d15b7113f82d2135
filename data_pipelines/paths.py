"""Paths of data: local ones as `pathlib.Path`, URLs (gs://, s3://) as `etils.epath.Path`; checks of outputs."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, TypeAlias, cast

from etils import epath

from fac_jax.types import InputError

AnyPath: TypeAlias = str | os.PathLike[str]


def data_path(path: AnyPath) -> Path:
    """The path as an object with the methods of `pathlib.Path`, which work on URLs too.

    Raises:
      InputError: the path is a URL, and the package that reads it is not installed.
    """
    if not is_remote(path):
        return Path(path)
    remote = cast(Path, epath.Path(path))  # epath's own type is not a pathlib.Path, but has its methods
    try:
        remote.exists()
    except ImportError as error:
        raise InputError(f"{path}: cannot be read here: {' '.join(str(error).split())}") from None
    except Exception as error:  # every storage raises its own errors for wrong names and missing rights
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from None
    return remote


def local_path(path: AnyPath, why: str) -> Path:
    """The path as `pathlib.Path`; `why` tells users what needs a local file.

    Raises:
      InputError: the path is a URL.
    """
    if is_remote(path):
        raise InputError(f"{path}: {why}: copy it to a disk, or mount the bucket and name the folder of the mount")
    return Path(path)


def joined(root: AnyPath, named: str) -> str:
    """A path that a row names, taken from `root` unless it is absolute or a URL."""
    if is_remote(named) or Path(named).is_absolute():
        return named
    return str(epath.Path(root) / named) if is_remote(root) else str(Path(root) / named)


def is_remote(path: AnyPath) -> bool:
    """Whether a path is a URL."""
    return "://" in os.fspath(path)


def file_size(path: AnyPath) -> int:
    """Bytes of a file; raises OSError if it does not exist."""
    found: Any = (epath.Path(path) if is_remote(path) else Path(path)).stat()
    return found.length if is_remote(path) else found.st_size


def check_output(option: str, path: str | os.PathLike[str]) -> None:
    """Raises InputError if no file or folder can be written at `path`.

    The nearest folder that exists is tried with a temporary file; nothing is created.
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


def stored_columns(folder: Path) -> set[str]:
    """Names of the columns of a data set that tensorflow-datasets stored in a folder; none if there is none."""
    try:
        described = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        return set(described["featuresDict"]["features"]) if (folder / "dataset_info.json").is_file() else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()
