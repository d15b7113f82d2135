"""A cloud store on this machine: `gs://` paths whose objects lie in a folder, with what a real store cannot do refused.

etils, orbax and tensorstore take their own code for `gs://`; only the connection is replaced.
"""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from etils.epath import backend
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils

SCHEME: Final = "gs://"


class Bucket(DirFileSystem):
    """Files of a folder under names as `gs://bucket/name`: none is appended to, none is renamed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(path=str(folder), fs=LocalFileSystem(auto_mkdir=True))

    def _join(self, path: Any) -> Any:
        if isinstance(path, str):
            return super()._join(path.removeprefix(SCHEME))
        return super()._join(path)

    def open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        if mode.strip("bt") not in ("r", "w"):
            raise io.UnsupportedOperation(f"{path}: a cloud store cannot append")
        return super().open(path, mode, *args, **kwargs)

    def rename(self, path1: str, path2: str, **kwargs: Any) -> None:
        raise io.UnsupportedOperation(f"{path1}: a cloud store cannot rename")


def make_bucket(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes `gs://` paths of this process objects in a folder."""
    bucket, local = Bucket(folder), LocalFileSystem()
    patch.setattr(
        type(backend.fsspec_backend), "_get_filesystem", lambda self, name: bucket if name == "gcs" else local
    )
    patch.setattr(gcs_utils, "get_bucket", lambda name: SimpleNamespace(hierarchical_namespace_enabled=False))
    patch.setattr(
        gcs_utils,
        "get_kvstore_for_gcs",
        lambda path: {"driver": "file", "path": str(folder / path.removeprefix(SCHEME))},
    )
