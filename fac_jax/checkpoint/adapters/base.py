"""The model that an adapter belongs to: its configuration and a digest of its values, in a file beside PEFT's own."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from fac_jax.checkpoint.adapters.names import shapes_in
from fac_jax.checkpoint.json_files import Section, read_json, write_json
from fac_jax.checkpoint.store import mixed
from fac_jax.config import from_tree
from fac_jax.models.config import ModelConfig
from fac_jax.models.limits import check
from fac_jax.types import Array, InputError, Params

FILE: Final = "base.json"  # PEFT reads none of this
BLOCK: Final = 2**18  # values


@dataclasses.dataclass(frozen=True)
class Base:
    """A base: its configuration, and `base_digest` of it if that is known."""

    model: ModelConfig
    digest: str | None


def write_base(folder: epath.PathLike, base: Base) -> None:
    """Writes what an adapter belongs to into its folder."""
    write_json(epath.Path(folder) / FILE, dataclasses.asdict(base))


def read_base(folder: epath.PathLike) -> Base | None:
    """Returns what an adapter belongs to; None where nobody noted it.

    Raises:
      InputError: the file is damaged.
    """
    file = epath.Path(folder) / FILE
    if not file.exists():
        return None
    whole = Section(read_json(file), str(file))
    try:
        model = from_tree(ModelConfig, dict(whole.section("model").values))
        check(model)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    return Base(model, whole.word("digest", None))


def base_digest(params: Params, model: ModelConfig) -> str:
    """Returns 16 hexadecimal digits that change when a value of a base, or the name or shape of a parameter, does.

    They do not depend on the dtype in which values are held, nor on how they lie on devices. One layer is read at a
    time.

    Args:
      params: nested dict of arrays, or of leaves that are read when they are asked for; leaves of adapters are ignored.
    """
    flat: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(params)
    found = hashlib.sha256()
    for path, shape in sorted(shapes_in(model).items()):
        numbers = [number_of(piece) for piece in _pieces(flat[path], layers_of(path, shape))]
        found.update(f"{'/'.join(path)} {shape} {numbers}\n".encode())
    return found.hexdigest()[:16]


def layers_of(path: tuple[str, ...], shape: tuple[int, ...]) -> int:
    """Returns the number of layers of a parameter that is a stack of them, which can be read one by one; 0 for none."""
    return shape[0] if any(name.startswith("layers") for name in path) else 0


def _pieces(leaf: Any, layers: int) -> Iterator[Any]:
    if not layers:
        yield leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    for layer in range(layers):
        yield leaf[layer]


def number_of(piece: Array) -> int:
    """Returns `store.mixed` of an array in float32; one of the host is read in blocks, which compile once for all."""
    if isinstance(piece, jax.Array):
        return int(_mixed(piece))
    flat, total = np.ravel(piece), 0
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK].astype(np.float32)
        total += int(_mixed_from(np.pad(block, (0, BLOCK - block.size)), start % 2**32))
    return total % 2**32


@jax.jit
def _mixed(piece: jax.Array) -> jax.Array:
    return mixed(piece.astype(jnp.float32))


@jax.jit
def _mixed_from(block: jax.Array, start: jax.Array) -> jax.Array:
    return mixed(block, start)


def check_base(expected: str, digest: str, where: epath.PathLike) -> None:
    """Compares the digest of the base that an adapter names with that of another one.

    Raises:
      InputError: the adapter was made for another base.
    """
    if digest != expected:
        raise InputError(
            f"{where}: the adapter belongs to a base with the digest {expected}, this one has {digest}; "
            "give that base, or --any_base to go on"
        )
