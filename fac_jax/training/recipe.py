"""A recipe, a model and the stages that train it, run in order in a workdir.

WORKDIR/training.lock                held by the process that trains
WORKDIR/STAGE/metrics.jsonl          loss curve; tensorboard/ next to it
WORKDIR/STAGE/evals.jsonl            evaluations (`training/evals.py`); best/ next to it
WORKDIR/STAGE/checkpoints/STEP/      while it runs
WORKDIR/STAGE/adapter/               once a stage that trains one is finished, in PEFT's format
WORKDIR/STAGE/model/                 once it is finished; an adapter is merged
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import jax
from etils import epath
from filelock import FileLock, Timeout
from flax import traverse_util

from fac_jax.checkpoint.adapters.base import base_digest
from fac_jax.checkpoint.export import CHECKPOINTS, MODEL, export_model, is_model, load_config, load_params
from fac_jax.checkpoint.lazy import lazy_params
from fac_jax.checkpoint.release.encoder import in_place_of, whisper_params
from fac_jax.checkpoint.store import AdapterBase, CheckpointStore
from fac_jax.io import absolute, is_local
from fac_jax.models.audio_encoder import FEATURE_PARAMS
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_params, with_beside
from fac_jax.models.lora import detach
from fac_jax.parallel import hosts
from fac_jax.parallel.batches import host_shard
from fac_jax.parallel.chips import peak_flops_of
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import Layout
from fac_jax.training.adapter import attached, merged, write_adapter
from fac_jax.training.base import quantise, quantised, widened
from fac_jax.training.evals import EvalBatches, EvalConfig, Evaluation, Evaluator
from fac_jax.training.flops import Meter, adapter_shares, trainable_paths
from fac_jax.training.loop import train
from fac_jax.training.merge import choose_alphas, merge
from fac_jax.training.mesh_data import Data
from fac_jax.training.optimizer import factors
from fac_jax.training.overview import describe
from fac_jax.training.profile import ProfileWindow
from fac_jax.training.program import abstract_params, shardings, stage_program
from fac_jax.training.rounding import check_master
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import final_params
from fac_jax.training.trackers import DEFAULT
from fac_jax.training.trainable import SEP, split
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


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    Attributes:
      initial: model that the first stage starts from; None for fresh parameters.
      encoder: name of a Whisper whose encoder takes the place of a fresh one; None for none.
      encoder_path: finds its files, when the first stage starts.
      layout: mesh that all stages train on; None for one device.
      attention: that they train with (`parallel/kernels.py`).
      trackers: that their curves go to (`training/trackers.py`).
      evals: evaluation while a stage trains.
    """

    model: ModelConfig
    stages: tuple[StageConfig, ...]
    initial: epath.Path | None = None
    encoder: str | None = None
    encoder_path: Callable[[str], Path] = Path
    layout: Layout | None = None
    attention: Attention = "auto"
    trackers: tuple[str, ...] = DEFAULT
    evals: EvalConfig = EvalConfig()

    def init_params(self, key: jax.Array) -> Params:
        """Returns fresh parameters."""
        return init_params(self.model, key)

    def abstract(self) -> Params:
        """Returns the shapes of all parameters, with their shardings on a mesh."""
        return abstract_params(self.model, self.layout)

    @property
    def names(self) -> list[str]:
        """Returns the names of the stages."""
        return [stage.name for stage in self.stages]


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


def check_starts(stages: Sequence[StageConfig]) -> None:
    """Checks that every stage starts from, and merges with, a stage before it.

    Raises:
      InputError: it does not, or two stages have one name.
    """
    before: list[str] = []
    for stage in stages:
        if stage.name in before:
            raise InputError(f"two stages have the same name, {stage.name}")
        if stage.start_from is not None and stage.start_from not in before:
            raise InputError(f"stage {stage.name} starts from {stage.start_from}, which is no stage before it")
        if stage.merge is not None and stage.merge.start not in before:
            raise InputError(f"stage {stage.name} merges with {stage.merge.start}, which is no stage before it")
        before.append(stage.name)


def check_parameters(model: ModelConfig, stages: Sequence[StageConfig], layout: Layout | None) -> None:
    """Checks what stages, and the mesh, ask of the parameters of a model, from their shapes alone.

    Raises:
      InputError: a pattern of `trainable` or of a merge matches no parameter, an alpha is not in [0, 1], parameters
        cannot train in their dtype, or the mesh does not divide them; names the stage or the parameter.
    """
    paths = list(traverse_util.flatten_dict(abstract_params(model, layout), sep=SEP))
    for stage in stages:
        try:
            if stage.merge is not None:
                choose_alphas(paths, stage.merge.alphas)
            if stage.steps:
                params = quantised(abstract_params(model, layout, stage.lora), stage.base, stage.patterns)
                trainable = split(params, stage.patterns)[0]
                check_master(trainable, stage.optimizer.rounding)
                factors(trainable, stage.optimizer.factors())
                _check_frozen(trainable, stage)
        except InputError as error:
            raise InputError(f"stages.{stage.name}: {error}") from None


def _check_frozen(trainable: Params, stage: StageConfig) -> None:
    paths = traverse_util.flatten_dict(trainable, sep=SEP)
    trained = next((path for path in paths if re.match(FEATURE_PARAMS, path)), None)
    if stage.data.feature_copies and trained:
        raise InputError(
            f"data.feature_copies stores what the encoder gives, and {trained} trains: set trainable to what leaves it "
            f"out, such as (r'(?!{FEATURE_PARAMS})',)"
        )


def start_of(stages: Sequence[StageConfig], stage: StageConfig) -> str | None:
    """Returns the name of the stage that another one starts from; None for the first."""
    names = [one.name for one in stages]
    order = names.index(stage.name)
    return stage.start_from or (names[order - 1] if order else None)


def start_params(recipe: Recipe, stage: StageConfig, workdir: epath.Path) -> Params:
    """Returns the parameters that a stage starts from, merged if it merges.

    Those of a base in fewer bits are read when they are asked for (`checkpoint.lazy`): as they are, they may not fit.

    Raises:
      InputError: they are those of a model that is not there, or that has another shape.
    """
    start = start_of(recipe.stages, stage)
    folder = workdir / start / MODEL if start else recipe.initial
    if folder is not None and stage.base.changes and stage.merge is None:
        params = lazy_params(folder, recipe.abstract())
    elif folder is not None:
        params = _load(folder, recipe)
    else:
        placed = None if recipe.layout is None else shardings(recipe.abstract())
        params = jax.jit(recipe.init_params, out_shardings=placed)(jax.random.key(stage.seed))
        if recipe.encoder is not None:
            given = whisper_params(recipe.encoder_path(recipe.encoder), recipe.model)
            params = in_place_of(params, given)
    if stage.merge is None:
        return params
    return merge(params, _load(workdir / stage.merge.start / MODEL, recipe), stage.merge.alphas)


def _load(folder: epath.Path, recipe: Recipe) -> Params:
    expected = recipe.abstract()
    stored = expected
    if load_config(folder).duplex is None:  # a duplex model can start from a half-duplex one
        stored = {name: part for name, part in expected.items() if name != "beside"}
    found = with_beside(load_params(folder, stored)[0], recipe.model)
    return jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), found, expected)


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
