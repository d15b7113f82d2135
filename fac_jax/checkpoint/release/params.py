"""Parameters from and to torch names and shapes, by the table of `names.py`."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from flax import traverse_util

from fac_jax.checkpoint.release.names import RELEASE, Entry, Source, relaid, release_entries, tied_heads
from fac_jax.checkpoint.release.tensors import TensorFolder, Tensors
from fac_jax.checkpoint.store import shapes_of
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_shapes
from fac_jax.types import Array, InputError, Params

Read = Callable[[str], np.ndarray]  # gives a tensor by its name


def match(shapes: Mapping[str, tuple[int, ...]], source: Source, config: ModelConfig) -> list[Entry]:
    """The parameters that a checkpoint fills, with its own names; `shapes` are those of all of its tensors.

    Raises:
      InputError: names that are missing or unknown, shapes that are not the model's; all of them in one message.
    """
    entries, problems = place(shapes, source, config)
    refuse_unfit(problems, source.title)
    return entries


def refuse_unfit(problems: Mapping[str, str], title: str) -> None:
    """Raises an InputError with what is wrong with tensors by their names, if anything is."""
    if problems:
        reported = "; ".join(f"{name} {problem}" for name, problem in problems.items())
        raise InputError(f"{len(problems)} problems in the tensors of {title}: {reported}")


def place(
    shapes: Mapping[str, tuple[int, ...]], source: Source, config: ModelConfig
) -> tuple[list[Entry], dict[str, str]]:
    """As `match`, but returns what is wrong by the names of tensors, and raises nothing."""
    ours = param_shapes(config)
    tied = {source.own_name(name) for name, _ in tied_heads(config)}
    found: list[Entry] = []
    for entry in release_entries(config):
        names = [source.own_name(name) for name in entry.names.ravel().tolist()]
        if None not in names:
            found.append(dataclasses.replace(entry, names=np.array(names).reshape(entry.names.shape)))
    used, problems = unfit(found, ours, shapes)
    strangers = [name for name in shapes if name not in used and name not in tied and not source.is_ignored(name)]
    return found, problems | dict.fromkeys(strangers, "is unknown")


def unfit(
    entries: Iterable[Entry],
    ours: Mapping[tuple[str, ...], tuple[int, ...]],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[set[str], dict[str, str]]:
    """Names of tensors that entries use, and what is wrong with those that are missing or of another shape.

    `ours` has the shape of every parameter by its path, `shapes` that of every tensor that there is.
    """
    problems: dict[str, str] = {}
    used: set[str] = set()
    for entry in entries:
        expected = torch_shape(entry, ours[entry.path])
        for name in entry.names.ravel().tolist():
            used.add(name)
            if name not in shapes:
                problems[name] = "is missing"
            elif shapes[name] != expected:
                problems[name] = f"is {list(shapes[name])}, by the configuration {list(expected)}"
    return used, problems


def one_dtype(tensors: Tensors, source: Source) -> str:
    """The dtype that all tensors have, those left out that the source ignores.

    Raises:
      InputError: two differ; names both.
    """
    dtypes = {name: dtype for name, dtype in tensors.dtypes.items() if not source.is_ignored(name)}
    names = {dtype: name for name, dtype in sorted(dtypes.items(), reverse=True)}
    if len(names) > 1:
        reported = ", ".join(f"{name} is {dtype}" for dtype, name in sorted(names.items()))
        raise InputError(f"{tensors.folder}: tensors of different dtypes: {reported}; write them in one")
    return next(iter(names))


def check_tied(tensors: Mapping[str, np.ndarray] | Tensors, source: Source, config: ModelConfig) -> None:
    """Compares the tensors that repeat another one with it.

    Raises:
      InputError: one differs from the tensor to which it is tied.
    """
    for name, original in tied_heads(config):
        repeated, read = source.own_name(name), source.own_name(original)
        if repeated is None or read is None:
            continue
        if repeated in tensors and read in tensors and not np.array_equal(tensors[repeated], tensors[read]):
            raise InputError(f"{repeated} differs from {read}, to which it is tied")


def param_shapes(config: ModelConfig) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shape of every parameter (scanned layers) by its path; nothing is allocated."""
    return shapes_of(init_shapes(config))


def torch_shape(entry: Entry, ours: Sequence[int]) -> tuple[int, ...]:
    """Shape of each torch tensor of an entry whose parameter has the shape `ours`."""
    one = tuple(ours[entry.names.ndim :])
    return one if entry.layout == "same" else one[::-1]


def pieces(entry: Entry, read: Read) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """The tensors of an entry one by one, in our layout, each with its place in the leading axes of the parameter."""
    for index in np.ndindex(entry.names.shape):
        yield index, relaid(read(str(entry.names[index])), entry.layout)


def from_release(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> Params:
    """Our parameters (scanned layers) from all tensors of a released checkpoint.

    Raises:
      InputError: see `match` and `check_tied`.
    """
    known = tensors.shapes if isinstance(tensors, TensorFolder) else {name: tensors[name].shape for name in tensors}
    entries = match(known, RELEASE, config)
    check_tied(tensors, RELEASE, config)
    return filled(entries, tensors)


def filled(entries: Iterable[Entry], tensors: Mapping[str, np.ndarray] | Tensors) -> Params:
    """The parameters of entries from their tensors, all of which are there."""
    params = {}
    for entry in entries:
        stacked = np.stack([piece for _, piece in pieces(entry, tensors.__getitem__)])
        params[entry.path] = stacked.reshape(*entry.names.shape, *stacked.shape[1:])
    return traverse_util.unflatten_dict(params)


def to_release(params: Params, config: ModelConfig) -> dict[str, Array]:
    """Inverse of `from_release`; also carries gradients or any tree of that structure. Tied heads are not repeated."""
    out, leaves = {}, traverse_util.flatten_dict(params)
    for entry in release_entries(config):
        value = np.asarray(leaves[entry.path])
        flat = value.reshape(-1, *value.shape[entry.names.ndim :])
        for name, tensor in zip(entry.names.ravel().tolist(), flat, strict=True):
            out[name] = relaid(tensor, entry.layout)
    return out
