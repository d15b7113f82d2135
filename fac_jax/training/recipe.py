"""A recipe, a model and the stages that train it, run in order in a workdir.

WORKDIR/config.json                  what was asked for (`lock_config`)
WORKDIR/training.lock                held by the process that trains
WORKDIR/STAGE/metrics.jsonl          loss curve; tensorboard/ beside it
WORKDIR/STAGE/checkpoints/STEP/      while it runs
WORKDIR/STAGE/model/                 once it is finished
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from filelock import FileLock, Timeout

from fac_jax import axes
from fac_jax.checkpoint.export import CHECKPOINTS, MODEL, export_model, load_params
from fac_jax.checkpoint.store import CheckpointStore
from fac_jax.io import write_text
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.parallel import hosts
from fac_jax.parallel.chips import peak_flops_of
from fac_jax.parallel.kernels import Attention, training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.training.flops import Meter, trainable_paths
from fac_jax.training.interfaces import Data
from fac_jax.training.loop import train
from fac_jax.training.merge import merge
from fac_jax.training.mesh_data import MeshData
from fac_jax.training.objectives import make_objective
from fac_jax.training.optimizer import averaged, make_optimizer, make_schedule
from fac_jax.training.profile import ProfileWindow
from fac_jax.training.sharding import abstract_params, abstract_state, shardings
from fac_jax.training.stage import StageConfig
from fac_jax.training.state import TrainState, init_state
from fac_jax.training.step import make_step
from fac_jax.training.trackers import DEFAULT
from fac_jax.training.trainable import join, split
from fac_jax.types import InputError, Params

# Batches of a stage from their beginning, from the parameters that it starts from and its folder.
MakeData: TypeAlias = Callable[[StageConfig, Params, Path], Data]
# StageSource of a run to train a stage in its folder, entered with whether the folder has got it from elsewhere.
StageSource: TypeAlias = Callable[[StageConfig, Path], contextlib.AbstractContextManager[bool]]

# Config keys that say how and where a run computes, not what: a workdir may be resumed with others.
KEYS = ("mesh", "rules", "attention", "trackers", "stages_dir")
SHOWN = 3  # differing keys that an error names
FREE = ("workers", "threads", "buffer", "device_buffer", "processes")  # keys that change no result, only the time


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    Attributes:
      model: the model of all stages.
      stages: in order.
      initial: model that the first stage starts from; None for fresh parameters.
      layout: mesh that all stages train on; None for one device.
      attention: that they train with (`parallel/kernels.py`).
      trackers: that their curves go to (`training/trackers.py`).
    """

    model: ModelConfig
    stages: tuple[StageConfig, ...]
    initial: Path | None = None
    layout: Layout | None = None
    attention: Attention = "einsum"
    trackers: tuple[str, ...] = DEFAULT

    @property
    def names(self) -> list[str]:
        """Of the stages."""
        return [stage.name for stage in self.stages]


def trained_here(stage: StageConfig, directory: Path) -> contextlib.AbstractContextManager[bool]:
    """The source of a run that gets no stage from elsewhere."""
    return contextlib.nullcontext(False)


def run_recipe(
    recipe: Recipe,
    workdir: Path,
    make_data: MakeData,
    assets: Mapping[str, Path],
    finished: Callable[[StageConfig], None] = lambda stage: None,
    peak: float | None = None,
    source: StageSource = trained_here,
    profile: ProfileWindow | None = None,
) -> Path:
    """Runs the stages that are not finished, the first of them from its newest checkpoint.

    Args:
      recipe: what to train.
      workdir: made if absent.
      make_data: see `MakeData`.
      assets: files and folders that go into every finished model (tokenizer, codec), by name.
      finished: called after every stage that was not there.
      peak: FLOP/s of one device, for the MFU; None for that of the table, if the device is in it (`parallel/chips.py`).
      source: see `StageSource`.
      profile: steps of every stage that are traced (`training/profile.py`).

    Returns:
      folder of the last stage's model.

    Raises:
      InputError: a stage names a start that is not before it, or a model there has another shape; another process
        trains in the workdir; or see `train`.
    """
    starts = start_folders(recipe, workdir)
    with _alone(workdir):
        for order, stage in enumerate(recipe.stages):
            hosts.wait(f"stage {stage.name}")
            directory = workdir / stage.name
            if (directory / MODEL).is_dir():
                continue
            with source(stage, directory) as there:
                if not there:
                    params = _merged(recipe, stage, _start_params(recipe, stage, starts[order]), workdir)
                    if stage.steps:
                        with contextlib.closing(make_data(stage, params, directory)) as data:
                            params = _trained(recipe, stage, params, directory, data, peak, profile)
                    origin = {"stage": stage.name, "order": order, "steps": stage.steps}
                    export_model(directory / MODEL, params, recipe.model, origin, assets)
                    hosts.wait(f"model {stage.name}")
            finished(stage)
    return workdir / recipe.stages[-1].name / MODEL


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """Holds the workdir, the first of several hosts for all; the lock goes with the process, however that ends.

    Raises:
      InputError: another process holds it.
    """
    if not hosts.is_first():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workdir / "training.lock", blocking=False):
            yield
    except Timeout:
        raise InputError(f"{workdir}: another process trains there; wait for it or take another --workdir") from None


def start_folders(recipe: Recipe, workdir: Path) -> list[Path | None]:
    """For every stage the model it starts from, `recipe.initial` where none is before it; None for fresh parameters.

    Raises:
      InputError: two stages of one name, or a `start_from` or a merge that names no earlier stage.
    """
    names = recipe.names
    folders: list[Path | None] = []
    for order, stage in enumerate(recipe.stages):
        before = names[:order]
        if stage.name in before:
            raise InputError(f"stages {before.index(stage.name)} and {order} have the same name, {stage.name}")
        start = stage.start_from or (before[-1] if before else None)
        if start is not None and start not in before:
            raise InputError(f"stage {stage.name} starts from {start}, which is no stage before it")
        if stage.merge is not None and stage.merge.start not in before:
            raise InputError(f"stage {stage.name} merges with {stage.merge.start}, which is no stage before it")
        folders.append(workdir / start / MODEL if start else recipe.initial)
    return folders


def _start_params(recipe: Recipe, stage: StageConfig, start: Path | None) -> Params:
    def init(seed: int) -> Params:
        return init_params(recipe.model, jax.random.key(seed))

    if start is not None:
        return _load(start, recipe)
    if recipe.layout is None:
        return jax.jit(init)(stage.seed)
    return jax.jit(init, out_shardings=shardings(abstract_params(recipe.model, recipe.layout)))(stage.seed)


def _load(folder: Path, recipe: Recipe) -> Params:
    expected = abstract_params(recipe.model, recipe.layout)
    found = load_params(folder, expected)[0]
    return jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), found, expected)


def _merged(recipe: Recipe, stage: StageConfig, params: Params, workdir: Path) -> Params:
    if stage.merge is None:
        return params
    return merge(params, _load(workdir / stage.merge.start / MODEL, recipe), stage.merge.alphas)


def _trained(
    recipe: Recipe,
    stage: StageConfig,
    params: Params,
    directory: Path,
    data: Data,
    peak: float | None,
    profile: ProfileWindow | None,
) -> Params:
    """Parameters after a stage's steps; `params` are not to be used afterwards."""
    model, layout = recipe.model, recipe.layout
    schedule = make_schedule(stage.optimizer, stage.steps)
    optimizer = make_optimizer(stage.optimizer, schedule)
    objective = make_objective(stage, FunAudioChat(model, training_kernels(layout, recipe.attention)), layout)
    frozen = stage.loss == "preference" and stage.preference.reference == "frozen"
    reference = jax.tree.map(jnp.copy, params) if frozen else None
    devices = layout.mesh.local_devices if layout else jax.local_devices()[:1]
    meter = Meter(model, stage, trainable_paths(params, stage.trainable), peak_flops_of(devices, peak))

    def start(params: Params, reference: Params | None) -> TrainState:
        return init_state(params, optimizer, stage.trainable, reference)

    if layout is None:
        placed, state = None, start(params, reference)
    else:
        check_rows(stage, layout)
        data = MeshData(data, layout)
        placed = shardings(abstract_state(abstract_params(model, layout), optimizer, stage.trainable, frozen))
        state = jax.jit(start, out_shardings=placed, donate_argnums=(0, 1))(params, reference)
    step = make_step(objective, optimizer, schedule, stage.trainable, stage.micro_batches, placed)
    with contextlib.closing(CheckpointStore(directory / CHECKPOINTS, model, stage.keep)) as store:
        state = train(stage, step, state, data, store, directory, meter, recipe.trackers, profile)
    trainable, rest = split(state.params, stage.trainable)
    return join(averaged(state.opt_state, trainable), rest)


def check_rows(stage: StageConfig, layout: Layout) -> None:
    """Whether a mesh divides the rows that the refined head is run on.

    Raises:
      InputError: it does not.
    """
    shards = layout.shards(axes.BATCH)
    if stage.spoken_rows is not None and stage.spoken_rows % shards:
        raise InputError(
            f"stage {stage.name}: {stage.spoken_rows} rows of a batch have spoken replies, which the mesh cuts into "
            f"{shards} parts; change the counts of its tasks"
        )


def lock_config(workdir: Path, config: Mapping[str, Any]) -> None:
    """Writes `config` to `workdir/config.json`, or checks that it is what stands there, but for how and where it runs.

    Raises:
      InputError: another config stands there; names the first keys that differ.
    """
    path = workdir / "config.json"
    text = json.dumps(config, indent=2) + "\n"
    if not path.exists():
        write_text(path, text)
        return
    told = different(json.loads(path.read_text()), json.loads(text))
    if told:
        raise InputError(f"{workdir}: holds another config: {told}; take another --workdir")


def different(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Says by which keys two configs differ, but for how and where they run; "" if by none."""
    there, here = (_leaves(json.loads(json.dumps(_what(config)))) for config in (theirs, ours))
    bound = [key for key in there | here if key.rpartition(".")[2] not in FREE]
    wrong = [key for key in bound if there.get(key) != here.get(key)]
    told = [f"{key} is {there.get(key, 'absent')} there, {here.get(key, 'absent')} here" for key in wrong[:SHOWN]]
    return "; ".join(told) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")


def _what(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in KEYS}


def _leaves(tree: Any, where: str = "") -> dict[str, str]:
    """JSON values by dotted path; an empty container counts as a value."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    flat: dict[str, str] = {}
    for key, value in children:
        flat |= _leaves(value, f"{where}.{key}" if where else str(key))
    return flat or {where: json.dumps(tree)}
