"""Where the curves of a stage also go, by a config's `trackers`: none is needed, all of them may be left out."""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from etils import epath
from tensorboardX import SummaryWriter

from fac_jax.io import LocalCopy, absolute
from fac_jax.types import InputError

DEFAULT: Final = ("tensorboard",)


class Tracker(Protocol):
    """What hears of every step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values of a step."""
        ...

    def flush(self) -> None:
        """Writes out what was logged; called before every checkpoint."""
        ...

    def close(self) -> None:
        """Nothing comes after."""
        ...


class TensorBoard:
    """Files in `tensorboard/` under the stage's directory; steps after the one it starts from are forgotten."""

    def __init__(self, directory: epath.PathLike, step: int) -> None:
        self._files = LocalCopy(epath.Path(directory) / "tensorboard")
        self._writer = SummaryWriter(str(self._files.path), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()
        self._files.send()

    def close(self) -> None:
        self._writer.close()
        self._files.close()


class WeightsAndBiases:
    """A run of wandb for a stage, in a group for its workdir; a stage that goes on is the same run.

    Account, project and mode are those that wandb reads itself: WANDB_PROJECT, WANDB_MODE=offline, ..
    """

    def __init__(self, directory: epath.PathLike, step: int) -> None:
        wandb: Any = importlib.import_module("wandb")
        place = absolute(directory)
        self._files = LocalCopy(directory)
        name = hashlib.sha256(str(place).encode()).hexdigest()[:16]
        self._run = wandb.init(
            dir=str(self._files.path),
            id=name,
            resume="allow",
            name=place.name,
            group=place.parent.name,
            reinit="create_new",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        pass  # wandb sends lines by itself

    def close(self) -> None:
        self._run.finish()
        self._files.close()


TRACKERS: Final[Mapping[str, Callable[[epath.PathLike, int], Tracker]]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def check_trackers(names: Sequence[str]) -> None:
    """Whether a config's trackers can be had.

    Raises:
      InputError: one is not known, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"trackers has {name!r}; known: {', '.join(TRACKERS)}; () for none")
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise InputError("trackers has 'wandb', which is not installed: pip install 'fac_jax[wandb]'")


def open_tracker(name: str, directory: epath.PathLike, step: int) -> Tracker:
    """The tracker of a stage that starts from a step."""
    return TRACKERS[name](directory, step)
