"""Reads and writes the `params` folders of orbax piece by piece, for models that do not fit into memory.

orbax saves a tree in one call that takes all of its leaves, and cannot add one leaf, or a part of one, to a folder that
it has saved. Here orbax therefore writes the folder once, full of zeros that take no memory, and tensorstore, the
library that orbax writes with, fills the arrays in place. Any orbax call reads the result.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from flax import traverse_util

from fac_jax.io import absolute
from fac_jax.types import InputError

SMALL = 2**20  # bytes; pieces below it share a chunk
LARGE = 2**26  # bytes; pieces above it are cut into chunks, written one after the other


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parameter to be written: its shape, its dtype, and how many leading axes count its pieces."""

    shape: tuple[int, ...]
    dtype: str
    lead: int


def create_params(folder: epath.PathLike, specs: Mapping[tuple[str, ...], Spec]) -> None:
    """Writes a `params` folder full of zeros, without ever holding them, to be filled by `StoredArray.write`.

    The folder must not exist; `specs` gives every parameter by its path.

    Raises:
      OSError: the folder cannot be written.
    """
    handler = ocp.type_handlers.NumpyHandler(deepcopy_host_arrays=False)
    # orbax warns of a registry that does not know jax.Array, though there is none here.
    known = ((np.ndarray, handler), (jax.Array, ocp.type_handlers.ArrayHandler()))
    registry = ocp.type_handlers.create_type_handler_registry(*known)
    zeros, options = {}, {}
    for path, spec in specs.items():
        dtype = jnp.dtype(spec.dtype)
        zeros[path] = np.broadcast_to(np.zeros((), dtype), spec.shape)
        piece_bytes = math.prod(spec.shape[spec.lead :]) * dtype.itemsize
        size = min(max(piece_bytes, SMALL), LARGE)
        options[path] = ocp.SaveArgs(chunk_byte_size=size, shard_axes=tuple(range(spec.lead)))
    saver = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(type_handler_registry=registry))
    args = ocp.args.PyTreeSave(traverse_util.unflatten_dict(zeros), save_args=traverse_util.unflatten_dict(options))
    with _as_os_error(), saver as checkpointer:
        checkpointer.save(absolute(folder), args)


class StoredArray:
    """One parameter of a `params` folder."""

    def __init__(self, folder: epath.PathLike, path: Iterable[str]) -> None:
        """Opens it.

        Raises:
          InputError: it is not there, or damaged.
        """
        self._name = f"{folder}: {'/'.join(path)}"
        kvstore = {"driver": "ocdbt", "base": absolute(folder).as_uri() + "/", "path": ".".join(path) + "/"}
        with readable(self._name):
            self._array = ts.open({"driver": "zarr", "kvstore": kvstore}, open=True).result()

    @property
    def apart(self) -> bool:
        """Whether no chunk on disk holds more than one piece of the first axis."""
        chunk = self._array.chunk_layout.read_chunk.shape
        return bool(chunk) and chunk[0] == 1

    def write(self, index: tuple[int, ...], piece: np.ndarray) -> None:
        """Writes the piece at `index` of the leading axes, and waits until it is on disk.

        Raises:
          OSError: it cannot be written.
        """
        place = self._array[index]
        # Whole rows of chunks: what is encoded at a time is a few chunks, not another copy of the piece.
        rows = int((place.chunk_layout.read_chunk.shape or piece.shape)[0] or len(piece)) if piece.nbytes > LARGE else 0
        with _as_os_error():
            if not rows:
                place.write(piece).result()
                return
            for start in range(0, len(piece), rows):
                place[start : start + rows].write(piece[start : start + rows]).result()

    def read(self, index: tuple[int, ...]) -> np.ndarray:
        """Reads the piece at `index` of the leading axes.

        Raises:
          InputError: it is damaged.
        """
        with readable(self._name):
            return np.asarray(self._array[index].read().result())


@contextlib.contextmanager
def readable(name: epath.PathLike) -> Iterator[None]:
    """Raises an `InputError` that names a file, folder or array which the libraries cannot read."""
    try:
        yield
    except Exception as error:  # orbax raises a bare Exception for a damaged array
        reported = " ".join(str(error).split())[:200]
        raise InputError(f"{name}: cannot be read, it is damaged or incomplete ({reported})") from error


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """A disk that is full or gone is an OSError; tensorstore raises a ValueError for it."""
    try:
        yield
    except ValueError as error:
        raise OSError(str(error)) from error
