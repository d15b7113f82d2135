"""Training without a model: a loss on three small arrays that ignores the model, whose step compiles in a moment.

As a program, `python tests/support/stub_training.py --workdir DIR`, it runs a two-stage recipe like any launcher, so
that a test can kill it or see how it exits.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from etils import epath
from toy_training import MODEL, ToyData, ToyRun

from fac_jax import cli
from fac_jax.batching.batch_stats import BatchStats
from fac_jax.batching.loaded import Loaded
from fac_jax.losses.base import Counts, Loss, Metrics, Reference
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.recipe import Recipe
from fac_jax.training.run_recipe import run_recipe
from fac_jax.training.stage import StageConfig
from fac_jax.types import Params

ROWS = 3
NOTHING = BatchStats(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), 0, 0, 0, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Distance(Loss):
    """Mean squared distance between a line through points and their values.

    With a reference, it adds the squared distance of the parameters from it.
    """

    kind: ClassVar[str] = "distance"
    pairs: ClassVar[bool] = False

    needs_reference: Reference | None = None

    def counts(self, batch: Any, config: Any) -> Counts:
        return {"rows": jnp.float32(len(batch["y"]))}

    def __call__(
        self, model: Any, params: Params, batch: Any, counts: Counts | None = None, reference: Params | None = None
    ) -> tuple[jax.Array, Metrics]:
        rows = (self.counts(batch, None) if counts is None else counts)["rows"]
        line = batch["x"] @ params["encoder"]["kernel"] @ params["backbone"]["kernel"] + params["head"]["bias"]
        loss = jnp.sum((line - batch["y"]) ** 2) / rows
        metrics = {"distance": loss}
        if reference is not None:
            moved = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, reference)
            metrics["moved"] = sum(jax.tree.leaves(moved), start=jnp.zeros(())) * len(batch["y"]) / rows
            loss += metrics["moved"]
        return loss, metrics

    def blocks(self, config: Any, stats: BatchStats) -> Sequence[Any]:
        return []

    def check(self, config: Any, segments: int | None, where: str) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class StubRecipe(Recipe):
    """A recipe whose parameters are three small arrays."""

    def init_params(self, key: jax.Array) -> Params:
        shapes = {"encoder": {"kernel": (3, 2)}, "backbone": {"kernel": (2, 2)}, "head": {"bias": (2,)}}
        leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
        keys = jax.random.split(key, len(leaves))
        return jax.tree.unflatten(tree, [jax.random.normal(*one) for one in zip(keys, leaves, strict=True)])

    def abstract(self) -> Params:
        return jax.eval_shape(self.init_params, jax.random.key(0))


def points(number: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Points and their values on a line that the parameters can be."""
    x = np.random.default_rng(number).standard_normal((rows, 3)).astype(np.float32)
    return {"x": x, "y": x[:, :2] - x[:, 1:] + np.float32(1)}


def loaded(batch: dict[str, np.ndarray], number: int = 0) -> Loaded:
    """A batch of points as data give it."""
    names = [f"stub/{number}/{row}" for row in range(len(batch["y"]))]
    return Loaded(cast(Any, batch), names, 1.5, len(batch["y"]), NOTHING)


class StubData(ToyData):
    """Four batches, over and over; `poisoned` is the number of a batch that holds a NaN."""

    def __init__(self, poisoned: int = -1, pause: float = 0.0) -> None:
        super().__init__()
        self._poisoned, self._pause = poisoned, pause

    def make(self, number: int) -> Loaded:
        batch = points(number % 4)
        if number == self._poisoned:
            batch["x"][0, 0] = np.nan
        time.sleep(self._pause)
        return loaded(batch, number)


class Stopped(Exception):
    """Stands for a crash."""


class Stopping(StubData):
    """Crashes, or is interrupted, when a batch is asked for."""

    def __init__(self, at: int, error: type[BaseException] = Stopped) -> None:
        super().__init__()
        self._at, self._error = at, error

    def make(self, number: int) -> Loaded:
        if number == self._at:
            raise self._error
        return super().make(number)


def stub_stage(name: str = "joint", **changes: Any) -> StageConfig:
    """A stage that trains all three arrays."""
    optimizer = OptimizerConfig(peak=3e-2, floor=1e-3, warmup=0.1)
    plain: dict[str, Any] = {"steps": 20, "optimizer": optimizer, "loss": Distance(), "checkpoint_every": 7}
    return StageConfig(name, **(plain | changes))


def stub_warmup(name: str = "warmup", **changes: Any) -> StageConfig:
    """A stage that trains one of them."""
    return stub_stage(name, **({"trainable": ("encoder/",), "steps": 9, "checkpoint_every": 4} | changes))


def stub_recipe(*stages: StageConfig, **changes: Any) -> StubRecipe:
    """A recipe of stages; of two if none is given."""
    return StubRecipe(MODEL, stages or (stub_warmup(), stub_stage()), **changes)


def main() -> None:
    options: Any = flags.FLAGS
    joint = {"poisoned": options.poisoned, "pause": options.pause}
    data = ToyRun(lambda stage: StubData(**joint if stage.name == "joint" else {}))
    run_recipe(stub_recipe(), epath.Path(options.workdir), data, {})


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_integer("poisoned", -1, "Batch of the second stage that holds a NaN.")
    flags.DEFINE_float("pause", 0.0, "Seconds that a batch of the second stage takes.")
    cli.run(main, cli.RESUMES)
