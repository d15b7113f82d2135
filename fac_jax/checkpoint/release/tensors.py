"""Folders of safetensors, whole or in shards: read and written one tensor at a time."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fac_jax.checkpoint.json_files import Section, read_json, write_json
from fac_jax.types import InputError

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
DTYPES: Final[Mapping[str, str]] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
SHARD_BYTES: Final = 2**30  # so that writing a shard holds about 1 GB, whatever the model's size


class Tensors(Protocol):
    """Tensors by name, with the shapes and dtypes of all of them; `folder` names them in messages."""

    folder: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]

    def __getitem__(self, name: str, /) -> np.ndarray: ...
    def __contains__(self, name: object, /) -> bool: ...


class TensorFolder(Mapping[str, np.ndarray]):
    """The tensors of a folder by name; a tensor is read when it is asked for, its shape and dtype are known at once.

    Dtypes are as numpy names them ("bfloat16" is that of ml_dtypes).
    """

    def __init__(self, folder: Path, single: str = SINGLE) -> None:
        """Reads the index and the headers of all shards.

        Args:
          single: name of the one file of a folder without an index.

        Raises:
          InputError: there is no such folder, it holds no safetensors, or its shards are missing, truncated, disagree
            with the index, repeat a name or hold another dtype than float; all problems in one message.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self._files: dict[str, Any] = {}
        placed, problems = _files(folder, single)
        for file in sorted(set(placed.values())):
            problems += self._open(file, {name for name, where in placed.items() if where == file})
        if problems:
            raise InputError(f"{folder}: {'; '.join(problems)}")

    def _open(self, file: str, expected: set[str]) -> list[str]:
        """Takes in the header of one shard; `expected` is what the index says it holds, empty without an index."""
        path = self.folder / file
        try:
            shard = safe_open(path, framework="np", backend="pread")
        except FileNotFoundError:
            return [f"shard {file} is missing"]
        except (SafetensorError, OSError) as error:
            return [f"{file} is truncated or no safetensors file ({error})"]
        problems = []
        names = set(shard.keys())
        for name in sorted(names):
            if name in self._files:
                problems.append(f"{name} stands twice, in {file} too")
            entry = shard.get_slice(name)
            self._files[name] = shard
            self.shapes[name] = tuple(entry.get_shape())
            dtype = str(entry.get_dtype())
            self.dtypes[name] = DTYPES.get(dtype, "other")
            if dtype not in DTYPES:
                problems.append(f"{name} is {dtype}, which is none of {', '.join(DTYPES)}")
        if expected != {""}:
            problems += [f"{name} is not in {file}, where the index has it" for name in sorted(expected - names)]
            problems += [f"{name} in {file} is not in the index" for name in sorted(names - expected)]
        return problems

    def __getitem__(self, name: str) -> np.ndarray:
        """Reads a tensor."""
        return self._files[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def _files(folder: Path, single: str) -> tuple[dict[str, str], list[str]]:
    """Shard of every name by the index; without an index the one file, under the name ""."""
    index = folder / INDEX
    if not index.exists():
        if not os.path.lexists(folder / single):  # a link to nowhere is a missing shard
            return {}, [f"holds neither {single} nor {INDEX}"]
        return {"": single}, []
    placed = Section(read_json(index), str(index)).section("weight_map")
    return {name: placed.word(name) for name in placed.values}, []


def write_tensors(
    folder: Path,
    sizes: Mapping[str, int],
    read: Callable[[str], np.ndarray],
    shard_bytes: int,
    wrap: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> None:
    """Writes `model-0000i-of-0000n.safetensors` and their index; one shard is `model.safetensors`.

    Shards that exist already are kept, so that an interrupted conversion resumes after them. Shards of another
    plan are removed.

    Args:
      sizes: bytes of every tensor, in the order of writing.
      read: gives a tensor; called once a name.
      shard_bytes: most bytes of a shard; a larger tensor has a shard of its own.
      wrap: of the names while they are worked through, for a progress bar.

    Raises:
      OSError: the folder cannot be written.
    """
    shards = _pack(sizes, shard_bytes)
    count = len(shards)
    files = [SINGLE] if count == 1 else [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    where = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    pending: dict[str, np.ndarray] = {}
    left = {file: len(names) for file, names in zip(files, shards, strict=True)}
    for name in wrap(sizes):
        file = where[name]
        left[file] -= 1
        if (folder / file).exists():
            continue
        pending[name] = np.ascontiguousarray(read(name))
        if not left[file]:
            partial_file = folder / f".{file}.part"
            try:
                save_file(pending, partial_file, metadata={"format": "pt"})
            except SafetensorError as error:  # it tells of the disk in words
                raise OSError(str(error)) from error
            partial_file.chmod(0o644)  # safetensors writes for its user alone
            partial_file.replace(folder / file)
            pending.clear()
    if count > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where}
        write_json(folder / INDEX, index)
    for stray in set(folder.glob("*.safetensors")) - {folder / file for file in files}:
        stray.unlink()


def _pack(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in their order, cut where a shard would exceed `most` bytes."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > most:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards
