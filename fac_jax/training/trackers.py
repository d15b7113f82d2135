"""Tools that also get the curves of a stage, by a config's `trackers`; the list may be empty.

Every tracker is made from the stage's directory and the step that it starts after. `log` receives the values of a step,
`flush` stores what was logged before a checkpoint is written, and `close` stores everything.
"""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from etils import epath
from tensorboardX import SummaryWriter

from fac_jax.io import LocalMirror, is_local
from fac_jax.types import InputError

DEFAULT: Final = ("tensorboard",)


class TensorBoard:
    """Event files in `tensorboard/` under the stage's directory; TensorBoard ignores steps after the one given."""

    def __init__(self, directory: epath.Path, step: int) -> None:
        self._mirror = LocalMirror(directory / "tensorboard")
        self._writer = SummaryWriter(str(self._mirror.folder), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()
        self._mirror.copy()

    def close(self) -> None:
        self._writer.close()
        self._mirror.close()


class WeightsAndBiases:
    """A run of wandb for a stage, in a group for its workdir; a resumed stage is the same run.

    wandb itself reads account, project and mode: WANDB_PROJECT, WANDB_MODE=offline, ..
    """

    def __init__(self, directory: epath.Path, step: int) -> None:
        wandb: Any = importlib.import_module("wandb")
        place = Path(directory).absolute() if is_local(directory) else directory
        name = hashlib.sha256(str(place).encode()).hexdigest()[:16]
        folder = str(directory) if is_local(directory) else None  # wandb chooses one of this machine
        self._run = wandb.init(
            dir=folder, id=name, resume="allow", name=place.name, group=place.parent.name, reinit="create_new"
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """Does nothing: wandb sends what it gets by itself."""

    def close(self) -> None:
        self._run.finish()


Tracker: TypeAlias = TensorBoard | WeightsAndBiases
TRACKERS: Final[Mapping[str, type[Tracker]]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def check_trackers(names: Sequence[str]) -> None:
    """Checks that a config's trackers are known and installed.

    Raises:
      InputError: one is not known, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"trackers has {name!r}; known: {', '.join(TRACKERS)}; () for none")
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise InputError("trackers has 'wandb', which is not installed: pip install -e '.[wandb]'")
