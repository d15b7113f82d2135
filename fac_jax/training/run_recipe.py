"""Runs the stages of a recipe in order in a workdir.

WORKDIR/training.lock                held by the process that trains
WORKDIR/STAGE/metrics.jsonl          loss curve; tensorboard/ next to it
WORKDIR/STAGE/evals.jsonl            evaluations (`training/evals.py`); best/ next to it
WORKDIR/STAGE/checkpoints/STEP/      while it runs
WORKDIR/STAGE/adapter/               once a stage that trains one is finished, in PEFT's format
WORKDIR/STAGE/model/                 once it is finished; an adapter is merged
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import jax
from etils import epath
from filelock import FileLock, Timeout

from fac_jax.checkpoint.adapters.base import base_digest
from fac_jax.checkpoint.export import CHECKPOINTS, MODEL, export_model, is_model
from fac_jax.checkpoint.store import AdapterBase, CheckpointStore
from fac_jax.io import absolute, is_local
from fac_jax.models.lora import detach
from fac_jax.parallel import hosts
from fac_jax.parallel.batches import host_shard
from fac_jax.parallel.chips import peak_flops_of
from fac_jax.training.adapter import attached, merged, write_adapter
from fac_jax.training.base import quantise, widened
from fac_jax.training.evals import EvalBatches, Evaluation, Evaluator
from fac_jax.training.flops import Meter, adapter_shares, trainable_paths
from fac_jax.training.loop import train
from fac_jax.training.mesh_data import Data
from fac_jax.training.overview import describe
from fac_jax.training.profile import ProfileWindow
from fac_jax.training.program import stage_program
from fac_jax.training.recipe import Recipe, check_initial, check_starts, start_of, start_params
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import final_params
from fac_jax.types import InputError, Params


class RunData(Protocol):
    """The batches of every stage of a run, placed on its mesh."""

    def train_data(self, stage: StageConfig, params: Params, directory: epath.Path) -> Data:
        """Returns the batches of a stage, which starts from `params`, from their beginning."""
        ...

    def eval_data(self, stage: StageConfig, params: Params, directory: epath.Path) -> Mapping[str, EvalBatches]:
        """Returns the held-out batches of a stage by the name of their set; empty for none."""
        ...


# Entered before a stage is trained in its folder; gives whether the folder has got the stage from elsewhere.
StageSource: TypeAlias = Callable[[StageConfig, epath.Path], contextlib.AbstractContextManager[bool]]


def trained_here(stage: StageConfig, directory: epath.Path) -> contextlib.AbstractContextManager[bool]:
    """The source of a run that gets no stage from elsewhere."""
    return contextlib.nullcontext(False)


def run_recipe(
    recipe: Recipe,
    workdir: epath.PathLike,
    data: RunData,
    assets: Mapping[str, epath.PathLike],
    finished: Callable[[StageConfig], None] = lambda stage: None,
    peak_flops: float | None = None,
    source: StageSource = trained_here,
    profile: ProfileWindow | None = None,
) -> epath.Path:
    """Runs the stages that are not finished, the first of them from its newest checkpoint.

    Args:
      workdir: folder of the run; made if absent.
      assets: files and folders that go into every finished model (tokenizer, codec), by name.
      finished: called after every stage that was trained or taken from elsewhere.
      peak_flops: FLOP/s of one device, for the MFU; None for that of the table (`parallel/chips.py`).
      source: see `StageSource`.
      profile: steps of every stage that are traced (`training/profile.py`).

    Returns:
      folder of the last stage's model.

    Raises:
      InputError: a stage names a start that is not before it, or a model there has another shape; another process
        trains in the workdir; or see `train`.
    """
    workdir = epath.Path(workdir)
    check_starts(recipe.stages)
    check_initial(recipe.stages, recipe.initial)
    with _locked(workdir):
        for order, stage in enumerate(recipe.stages):
            hosts.wait(f"stage {stage.name}")
            directory = workdir / stage.name
            if is_model(directory / MODEL):
                continue
            with source(stage, directory) as taken:
                if not taken:
                    params = start_params(recipe, stage, workdir)
                    origin = {"stage": stage.name, "order": order, "steps": stage.steps}
                    again = functools.partial(start_params, recipe, stage, workdir) if stage.base.changes else None
                    export = functools.partial(_export, recipe=recipe, origin=origin, assets=assets, start=again)
                    if stage.steps:
                        params = _trained(recipe, stage, params, directory, data, peak_flops, profile, export)
                    export(directory / MODEL, params)
                    hosts.wait(f"model {stage.name}")
            finished(stage)
    return workdir / recipe.stages[-1].name / MODEL


def _export(
    folder: epath.Path,
    params: Params,
    recipe: Recipe,
    origin: dict[str, Any],
    assets: Mapping[str, epath.PathLike],
    start: Callable[[], Params] | None,
) -> None:
    """Writes a model; an adapter is merged into the parameters that `start` gives, or into its base if that is None."""
    params = params if start is None else widened(params, start())
    export_model(folder, merged(params, recipe.model, recipe.layout), recipe.model, origin, assets)


@contextlib.contextmanager
def _locked(workdir: epath.Path) -> Iterator[None]:
    """Holds the lock of the workdir, the first of several hosts for all; it ends with the process.

    A cloud store has no locks: there two runs in one workdir are not noticed.

    Raises:
      InputError: another process holds it.
    """
    if not hosts.is_first() or not is_local(workdir):
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workdir / "training.lock", blocking=False):
            yield
    except Timeout:
        raise InputError(f"{workdir}: another process trains there; wait for it or take another --workdir") from None


def _trained(
    recipe: Recipe,
    stage: StageConfig,
    params: Params,
    directory: epath.Path,
    data: RunData,
    peak_flops: float | None,
    profile: ProfileWindow | None,
    export: Callable[[epath.Path, Params], None],
) -> Params:
    """Returns the parameters after a stage's steps, or their average where the optimizer keeps one.

    `params` must not be used afterwards.
    """
    model, layout, base = recipe.model, recipe.layout, None
    program = stage_program(model, stage, layout, recipe.attention)
    if stage.lora is not None:
        base = _base_of(recipe, stage, params)
        if stage.base.changes:
            params = quantise(params, detach(program.state.params))
        params = attached(params, program.state.params, model, stage, base.digest)
    devices = list(layout.mesh.devices.flat) if layout else jax.local_devices()[:1]
    sharing = host_shard(layout).hosts if layout else 1
    peak, paths = peak_flops_of(devices, peak_flops), trainable_paths(params, stage.patterns)
    meter = Meter(model, stage, paths, peak, sharing, adapter_shares(params))
    rows, length = stage.data.batch_rows, stage.data.seq_len
    hosts.log(f"stage {stage.name}\n" + describe(params, stage.patterns, model, program.kernels, layout, rows, length))
    batches = data.train_data(stage, params, directory)
    held_out = data.eval_data(stage, params, directory) if recipe.evals.every else {}
    if recipe.evals.every and not held_out:
        hosts.log(f"stage {stage.name}: none of its sets has rows to evaluate on, so evals.every does nothing")
    state = program.start(params)
    evaluator = Evaluator(program.objective, held_out, recipe.evals.batches) if held_out else None
    with (
        contextlib.closing(batches),
        contextlib.closing(CheckpointStore(directory / CHECKPOINTS, model, stage.keep, base)) as store,
    ):
        evaluate = None if evaluator is None else Evaluation(recipe.evals, evaluator, directory, export)
        state = train(stage, program.step, state, batches, store, directory, meter, recipe.trackers, evaluate, profile)
    trained = final_params(state, stage.patterns)
    if base is not None:
        write_adapter(directory, trained, model, stage, base.digest)
    return trained


def _base_of(recipe: Recipe, stage: StageConfig, params: Params) -> AdapterBase:
    """Returns what identifies the model that a stage starts from, and that its adapter belongs to."""
    start, folder = start_of(recipe.stages, stage), None
    if stage.merge is None:
        folder = f"{start}/{MODEL}" if start else recipe.initial and str(absolute(recipe.initial))
    return AdapterBase(base_digest(params, recipe.model), folder)
