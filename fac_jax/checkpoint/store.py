"""Checkpoints of a running stage, by orbax: written in the background and committed whole; a digest of parameters."""

import dataclasses
import functools
import hashlib
from typing import Any, Final, cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from fac_jax.checkpoint.json_files import Section, read_json, write_json
from fac_jax.io import absolute
from fac_jax.models.config import ModelConfig
from fac_jax.models.lora import adapter_of
from fac_jax.types import InputError, Params

SHOWN = 3  # differing parameters that an error names
FROZEN = "frozen"  # folder of the parameters that no checkpoint of a stage changes
BASE: Final = "base.json"  # which model the adapters of a stage's checkpoints belong to


@dataclasses.dataclass(frozen=True)
class AdapterBase:
    """The model that the adapter of a running stage belongs to.

    Attributes:
      digest: of its values (`checkpoint.adapters.base.base_digest`).
      folder: of the model, absolute or in the workdir; None if it was never written.
    """

    digest: str
    folder: str | None


class CheckpointStore:
    """Numbered checkpoints `directory/STEP/{params,optimizer,data,config}` of what trains.

    Frozen parameters are written once, to `directory/frozen`. Those of the base of an adapter are not written:
    `directory/base.json` says which model it is.
    """

    def __init__(
        self, directory: epath.PathLike, config: ModelConfig, keep: int, base: AdapterBase | None = None
    ) -> None:
        """Takes the base of the adapter that trains; None without one."""
        self._directory, self._base = absolute(directory), base
        self._frozen_written = (self._directory / FROZEN).is_dir()
        self._config = dataclasses.asdict(config)
        self._manager = ocp.CheckpointManager(
            self._directory, options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        )

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        self._manager.wait_until_finished()
        return self._manager.latest_step()

    def path(self, step: int) -> epath.Path:
        """Folder of a checkpoint."""
        return self._directory / str(step)

    def save(
        self, step: int, params: Params, opt_state: Any, data_state: dict[str, Any], frozen: Params | None = None
    ) -> None:
        """Copies what trains, so that it may be donated, and writes it in the background; `data_state` is JSON-able.

        The first save of a stage writes all other parameters, `frozen`, before its checkpoint.
        """
        if frozen and self._base is not None:
            frozen = adapter_of(frozen)
        if frozen and not self._frozen_written:
            if self._base is not None and jax.process_index() == 0:
                write_json(self._directory / BASE, dataclasses.asdict(self._base))
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(self._directory / FROZEN, frozen)
            self._frozen_written = True
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(params),
                optimizer=ocp.args.StandardSave(opt_state),
                data=ocp.args.JsonSave(data_state),
                config=ocp.args.JsonSave(self._config),
            ),
        )

    def restore(self, step: int, params: Params, opt_state: Any) -> tuple[Params, Any, dict[str, Any]]:
        """Trainable parameters, optimizer state (both with the shapes and shardings of those given) and data state.

        Raises:
          InputError: the checkpoint holds parameters of other names or shapes, or an adapter of another base.
        """
        theirs = adapter_base(self.path(step))
        if self._base is not None and theirs is not None and theirs.digest != self._base.digest:
            raise InputError(
                f"{self.path(step)}: an adapter of a base with the digest {theirs.digest}, but the stage starts from "
                f"one with {self._base.digest}: give it that base, or remove the checkpoints"
            )
        check_shapes(stored(self.path(step) / "params"), params, self.path(step))
        params, opt_state = jax.tree.map(ocp.utils.to_shape_dtype_struct, (params, opt_state))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(params),
                optimizer=ocp.args.StandardRestore(opt_state),
                data=ocp.args.JsonRestore(),
            ),
        )
        return restored["params"], restored["optimizer"], restored["data"]

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.close()


def adapter_base(checkpoint: epath.PathLike) -> AdapterBase | None:
    """Returns the base of the adapter in a running checkpoint; None for a checkpoint, or a model, that is whole."""
    checkpoint = epath.Path(checkpoint)
    file = checkpoint.parent / BASE
    if not checkpoint.name.isdigit() or not file.exists():
        return None
    found = Section(read_json(file), str(file))
    return AdapterBase(found.word("digest"), found.word("folder", None))


def parameter_folders(checkpoint: epath.PathLike) -> list[epath.Path]:
    """The folders that together hold all parameters of a finished model or of a running checkpoint, but for a base's.

    A running checkpoint holds those that train; the frozen ones lie next to it, for all checkpoints of its stage.
    """
    checkpoint = epath.Path(checkpoint)
    frozen = checkpoint.parent / FROZEN
    return [checkpoint / "params", *([frozen] if checkpoint.name.isdigit() and frozen.is_dir() else [])]


def folder_of(checkpoint: epath.PathLike, path: tuple[str, ...]) -> epath.Path:
    """The folder of `parameter_folders` that holds the parameter at a path."""
    first, *others = parameter_folders(checkpoint)
    return next((folder for folder in others if path in _paths(folder)), first)


@functools.lru_cache(maxsize=8)  # a conversion asks for every parameter, and a folder is written once
def _paths(folder: epath.Path) -> frozenset[tuple[str, ...]]:
    return frozenset(traverse_util.flatten_dict(stored(folder)))


def stored(params: epath.PathLike) -> Params:
    """Tree of the parameters in an orbax folder: leaves with `shape` and `dtype`; no array is read."""
    return cast(Params, ocp.StandardCheckpointHandler().metadata(absolute(params)).tree)


def check_shapes(found: Params, expected: Params, where: epath.PathLike) -> None:
    """Compares the shapes in a checkpoint at `where` with the model's.

    Raises:
      InputError: they differ; names the first parameters that do, with both shapes.
    """
    theirs, ours = shapes_of(found), shapes_of(expected)
    wrong = [path for path in sorted(theirs | ours) if theirs.get(path) != ours.get(path)]
    if wrong:
        both = {"/".join(path): (theirs.get(path, "absent"), ours.get(path, "absent")) for path in wrong[:SHOWN]}
        listed = [f"{name} is {there} there, {here} in the model" for name, (there, here) in both.items()]
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InputError(f"{where}: checkpoint of another shape: {'; '.join(listed)}{more}")


def shapes_of(params: Params) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shape of every leaf of a nested dict by its path."""
    leaves: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(params)
    return {path: tuple(leaf.shape) for path, leaf in leaves.items()}


def params_digest(params: Params) -> str:
    """Returns 16 hexadecimal digits that change when a parameter, its name, shape or dtype does.

    They do not depend on how the parameters lie on devices and hosts.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    sums = jax.device_get(jax.jit(lambda tree: [mixed(leaf) for leaf in jax.tree.leaves(tree)])(params))
    found = hashlib.sha256()
    for (path, leaf), number in zip(leaves, sums, strict=True):
        found.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype} {int(number)}\n".encode())
    return found.hexdigest()[:16]


def mixed(leaf: jax.Array, start: jax.Array | int = 0) -> jax.Array:
    """Sum of a leaf's bits, each times an odd number of its place, modulo 2^32: exact in any order.

    Places count from `start`, that of the leaf in an array whose parts are summed one by one.
    """
    unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[leaf.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
    place = jnp.zeros(leaf.shape, jnp.uint32)
    for axis, size in enumerate(leaf.shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    place = place + jnp.uint32(start)
    factor = (place * jnp.uint32(2654435761)) ^ (place >> 7)
    return jnp.sum(bits * (factor | jnp.uint32(1)), dtype=jnp.uint32)
