"""Checkpoints of a running stage, by orbax: written beside and committed whole, in the background."""

from pathlib import Path
from typing import Any, cast

import jax
import orbax.checkpoint as ocp

from fac_jax.models import config as model_config
from fac_jax.models.config import ModelConfig
from fac_jax.types import InputError, Params

SHOWN = 3  # differing parameters that an error names


class CheckpointStore:
    """Numbered checkpoints `directory/STEP/{params,optimizer,data,config}`."""

    def __init__(self, directory: Path, config: ModelConfig, keep: int) -> None:
        self._directory = directory.absolute()
        self._config = model_config.to_dict(config)
        self._manager = ocp.CheckpointManager(
            self._directory, options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        )

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint."""
        self._manager.wait_until_finished()
        return self._manager.latest_step()

    def path(self, step: int) -> Path:
        """Folder of a checkpoint."""
        return self._directory / str(step)

    def save(self, step: int, params: Params, opt_state: Any, data_state: dict[str, Any]) -> None:
        """Copies the arrays, so that they may be donated, and writes them in the background."""
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
        """Parameters, optimizer state (both with shapes and shardings of those given) and data state of a checkpoint.

        Raises:
          InputError: the checkpoint holds parameters of other names or shapes.
        """
        check_shapes(stored(self.path(step) / "params"), params, self.path(step))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(_abstract(params)),
                optimizer=ocp.args.StandardRestore(_abstract(opt_state)),
                data=ocp.args.JsonRestore(),
            ),
        )
        return restored["params"], restored["optimizer"], restored["data"]

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.close()


def stored(params: Path) -> Params:
    """Tree of what a `params` folder holds: leaves with `shape` and `dtype`, nothing read."""
    handler = ocp.StandardCheckpointHandler()
    found = handler.metadata(params.absolute())  # pyright: ignore[reportArgumentType]  (it takes any path)
    return cast(Params, found.tree)


def check_shapes(found: Params, expected: Params, where: Path) -> None:
    """Compares two trees of anything with a `shape`, the one in a checkpoint at `where` and the model's.

    Raises:
      InputError: they differ; names the first parameters that do, with both shapes.
    """
    theirs, ours = _shapes(found), _shapes(expected)
    wrong = [path for path in sorted(theirs | ours) if theirs.get(path) != ours.get(path)]
    if wrong:
        told = [f"{p} is {theirs.get(p, 'absent')} there, {ours.get(p, 'absent')} in the model" for p in wrong[:SHOWN]]
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InputError(f"{where}: checkpoint of another shape: {'; '.join(told)}{more}")


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _abstract(tree: Any) -> Any:
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
