"""Reads files of `torch.save` without PyTorch and without running code: only tensors in dicts and lists.

Since PyTorch 1.6 such a file is a zip of a pickle and of one binary file for each storage.
"""

import collections
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import jax.numpy as jnp
import numpy as np

from fac_jax.types import InputError

DTYPES: Final[Mapping[str, Any]] = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}

# What a damaged or foreign file raises while it is read.
DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError, OSError,
    LookupError, ValueError, TypeError, AttributeError,
)  # fmt: skip


def read_torch(file: Path) -> Any:
    """Reads a file of `torch.save`, with numpy arrays in place of tensors.

    Raises:
      InputError: the file is missing, truncated, of another kind, or names anything but tensors and containers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (pickled,) = (name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
            base = pickled.removesuffix("data.pkl")
            order = archive.read(f"{base}byteorder") if f"{base}byteorder" in archive.namelist() else b"little"
            if order != b"little":
                raise InputError(f"{file}: stored as {order.decode()}-endian; save it on another machine")
            with archive.open(pickled) as stream:
                return _Reader(stream, lambda key: archive.read(f"{base}data/{key}")).load()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file} is truncated, or no file of torch.save that holds only tensors ({reason})") from error


class _Reader(pickle.Unpickler):
    """Reads the pickles of `torch.save`, and refuses every name that tensors and containers do not need."""

    def __init__(self, stream: IO[bytes], read: Callable[[str], bytes]) -> None:
        super().__init__(stream)
        self._read, self._storages = read, dict[str, np.ndarray]()

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }
        if module == "torch" and name in DTYPES:
            return name  # a string, which a pickle can neither call nor change
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, storage, key, *_ = pid
        if kind != "storage" or storage not in DTYPES:
            raise pickle.UnpicklingError(f"it refers to a {kind}")
        if key not in self._storages:
            self._storages[key] = np.frombuffer(self._read(key), DTYPES[storage])
        return self._storages[key]


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    if offset < 0 or min(strides, default=0) < 0 or last >= len(storage):
        raise pickle.UnpicklingError("a tensor lies outside its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
