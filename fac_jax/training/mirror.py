"""Local files that end up in a folder which may lie in a cloud store."""

import tempfile
from pathlib import Path

from etils import epath

from fac_jax.io import is_local


class LocalMirror:
    """A local folder for tools that write local files only: the folder itself, or a temporary one that is copied to it.

    Attributes:
      folder: the local folder to write to.
    """

    def __init__(self, target: epath.Path) -> None:
        self._target = epath.Path(target)
        self._temporary = None if is_local(target) else tempfile.TemporaryDirectory()
        self.folder = Path(self._target if self._temporary is None else self._temporary.name)
        self.folder.mkdir(parents=True, exist_ok=True)

    def copy(self) -> None:
        """Copies all files to their place in the cloud store; does nothing for a folder of this machine."""
        if self._temporary is None:
            return
        for file in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            to = self._target / file.relative_to(self.folder).as_posix()
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(file.read_bytes())

    def close(self) -> None:
        """Copies all files and removes the temporary folder."""
        self.copy()
        if self._temporary is not None:
            self._temporary.cleanup()
