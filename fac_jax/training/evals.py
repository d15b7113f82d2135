"""Evaluation while a stage trains: the loss and its metrics on held-out rows, and the best model by one of them.

STAGE/evals.jsonl    a line for each evaluation: step, and every metric as SET/NAME
STAGE/best/          the model with the best value of `EvalConfig.best`
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import jax
import optax
from etils import epath

from fac_jax.batching.loaded import Loaded
from fac_jax.io import is_local, write_text
from fac_jax.losses.base import Counts, Metrics
from fac_jax.parallel import hosts
from fac_jax.precision import products
from fac_jax.training.step import Objective
from fac_jax.types import InputError, Params

FILE: Final = "evals.jsonl"
BEST: Final = "best"
LABELS: Final = "_labels"  # end of the name of a metric that counts the labels of a stream
OVERALL: Final = "loss"  # mean of the sets' losses
# Batches of a held-out set from its beginning, placed as training batches are.
EvalBatches: TypeAlias = Callable[[], Iterable[Loaded]]


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """When a stage is evaluated, and on what.

    Attributes:
      every: steps between two evaluations, of which one follows the last step; 0 for no evaluation.
      batches: most batches of a set; None for all its rows.
      sets: names of the evaluated sets; empty for those of the stage's mixture that have rows to evaluate on.
      best: metric by which the best model is kept in STAGE/best: "loss", or "SET/NAME"; None keeps none.
      mode: whether a lower ("min") or a higher ("max") value of that metric is better.
    """

    every: int = 0
    batches: int | None = None
    sets: tuple[str, ...] = ()
    best: str | None = None
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        if self.every < 0 or (self.batches is not None and self.batches < 1):
            raise InputError(f"evals.every is {self.every} and evals.batches {self.batches}: give 0 or more, 1 or more")


class Evaluator:
    """Evaluates parameters on held-out sets, one jitted program for all of them."""

    def __init__(self, objective: Objective, sets: Mapping[str, EvalBatches], batches: int | None = None) -> None:
        """Takes the objective of a stage, and held-out sets by name; of each at most `batches` are read."""
        self._sets, self._most = sets, batches
        self._count = jax.jit(objective.counts)

        def loss(params: Params, batch: Any, counts: Counts, reference: Params | None) -> tuple[jax.Array, Metrics]:
            with products(objective.precision):
                return objective.loss(params, batch, counts, reference)

        self._loss = jax.jit(loss)
        self._counts: dict[str, Any] = {}

    def __call__(self, params: Params, reference: Params | None = None) -> dict[str, float]:
        """Returns the loss and the metrics of every set as "SET/NAME", and "loss", the mean of the sets' losses.

        They are means over all labels of a set, as if it were one batch; a stream without labels has none. `reference`
        has the parameters of the reference of a preference loss.
        """
        found: dict[str, float] = {}
        for name, batches in self._sets.items():
            if name not in self._counts:
                counts = (self._count(one.batch) for one in itertools.islice(batches(), self._most))
                self._counts[name] = functools.reduce(optax.tree.add, counts)
            some = itertools.islice(batches(), self._most)
            parts = (self._loss(params, one.batch, self._counts[name], reference) for one in some)
            loss, metrics = jax.device_get(functools.reduce(optax.tree.add, parts))
            found |= {f"{name}/{key}": value for key, value in {"loss": float(loss), **_measured(metrics)}.items()}
        losses = [found[f"{name}/loss"] for name in self._sets]
        return {OVERALL: sum(losses) / len(losses), **found}


def _measured(metrics: Metrics) -> dict[str, float]:
    """Returns the metrics without those of a stream (text, speech) that has no label."""
    streams = [key.removesuffix(LABELS) for key, value in metrics.items() if key.endswith(LABELS) and not value]
    return {key: float(value) for key, value in metrics.items() if key.rpartition("_")[0] not in streams}


class Evaluation:
    """The evaluations of a running stage: when they are due, what they gave, and which model was the best."""

    def __init__(
        self,
        config: EvalConfig,
        evaluator: Evaluator,
        directory: epath.Path,
        export: Callable[[epath.Path, Params], None],
    ) -> None:
        """Takes the folder of the stage, and `export`, which writes a model into a folder that does not exist."""
        self._config, self._evaluator, self._directory, self._export = config, evaluator, directory, export
        self._lines = read_evals(directory)

    def resume(self, step: int) -> None:
        """Forgets the evaluations after the step that the stage resumes from."""
        self._lines = [line for line in self._lines if line["step"] <= step]

    def due(self, step: int, last: int) -> bool:
        """Returns whether the stage is to be evaluated after a step, and was not yet; `last` is its last one."""
        wanted = step > 0 and (step % self._config.every == 0 or step == last)
        return wanted and all(line["step"] != step for line in self._lines)

    def __call__(self, step: int, params: Params, reference: Params | None) -> dict[str, float]:
        """Evaluates parameters, writes the metrics down, keeps the model if it is the best, and returns the metrics.

        Raises:
          InputError: `EvalConfig.best` is none of the metrics.
        """
        metrics = self._evaluator(params, reference)
        name = self._config.best
        if name is not None and name not in metrics:
            raise InputError(f"evals.best is {name!r}; the metrics are {', '.join(metrics)}")
        sign = 1 if self._config.mode == "min" else -1
        before = [line[name] for line in self._lines if name in line]  # another metric may have been kept by
        better = name is not None and all(sign * metrics[name] < sign * value for value in before)
        if better:  # kept before the line is written: a run that is killed in between evaluates the step again
            self._keep(params)
        self._lines.append({"step": step, **metrics})
        if hosts.is_first():
            write_text(self._directory / FILE, "".join(json.dumps(line) + "\n" for line in self._lines))
        return metrics

    def _keep(self, params: Params) -> None:
        """Writes the best model; on a local disk the one before it is removed when the new one is complete."""
        best, before = self._directory / BEST, self._directory / f"{BEST}.before"
        if hosts.is_first() and is_local(best) and best.exists():
            before.rmtree(missing_ok=True)
            best.rename(before)
        hosts.wait("best model")
        self._export(best, params)
        if hosts.is_first() and is_local(best):
            before.rmtree(missing_ok=True)


def read_evals(directory: epath.Path) -> list[dict[str, float]]:
    """Returns the evaluations in a stage's folder, in their order."""
    file = directory / FILE
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
