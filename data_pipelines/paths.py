"""Paths of data: local ones as `pathlib.Path`, URLs such as gs:// and s3:// as `etils.epath.Path`."""

import os
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
    """The path as `pathlib.Path`.

    Args:
      path: any path.
      why: what needs a local file, for the message.

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
