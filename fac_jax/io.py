"""Paths of folders that may lie in a cloud store (`gs://..`), and small files that are never seen half-written."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from etils import epath

PathLike = epath.PathLike


def is_local(path: PathLike) -> bool:
    """Returns whether a path lies on a file system of this machine."""
    return "://" not in os.fspath(path)


def write_text(path: PathLike, text: str) -> None:
    """Writes a UTF-8 file, which appears complete; its folder is made if absent.

    Names of files that are not UTF-8 are written as the bytes they are (`surrogateescape`).
    """
    with replacing(path) as part:
        part.write_bytes(text.encode("utf-8", errors="surrogateescape"))


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[epath.Path]:
    """Gives a path to write a file to, which takes the place of `path` when the block ends without an error.

    A local file is written under another name and renamed. In a cloud store a file appears complete by itself.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        yield path
        return
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def absolute(path: PathLike) -> epath.Path:
    """Returns a path that does not depend on the working directory; one in a cloud store is returned as it is."""
    return epath.Path(os.path.abspath(os.fspath(path)) if is_local(path) else path)


def copy(source: PathLike, target: PathLike) -> None:
    """Copies a file, or a folder with all that is in it, over what is at `target`; either may lie in a cloud store."""
    source, target = epath.Path(source), epath.Path(target)
    if not source.is_dir():
        source.copy(target, overwrite=True)
        return
    target.mkdir(parents=True, exist_ok=True)
    for child in source.iterdir():
        copy(child, target / child.name)


class LocalMirror:
    """A local folder for tools that write local files only: the folder itself, or a temporary one that is copied to it.

    Attributes:
      folder: the local folder to write to.
    """

    def __init__(self, target: epath.Path) -> None:
        self._target = target
        self._temporary = None if is_local(target) else tempfile.TemporaryDirectory()
        self.folder = Path(target if self._temporary is None else self._temporary.name)
        self.folder.mkdir(parents=True, exist_ok=True)

    def copy(self) -> None:
        """Copies all files to their place in the cloud store; does nothing for a folder of this machine."""
        if self._temporary is not None:
            copy(self.folder, self._target)

    def close(self) -> None:
        """Copies all files and removes the temporary folder."""
        self.copy()
        if self._temporary is not None:
            self._temporary.cleanup()
